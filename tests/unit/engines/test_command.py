from __future__ import annotations

import pytest

from roost.config.settings import CommandWorker, Knobs, ModelSettings
from roost.engines.command import Command
from roost.engines.types import LaunchPlan, ProofKind, TcpEndpoint, UrlEndpoint
from roost.errors import BadConfiguration
from tests.unit.engines.specs import PATHS, PLACE, declared, gguf

COMMAND = Command(PATHS, {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "canary"})


def plan(cmd: str, knobs: Knobs | None = None, **more: str | None) -> LaunchPlan:
    worker = CommandWorker.model_validate({"cmd": cmd, **more})
    return COMMAND.launch(declared(), knobs or Knobs(), ModelSettings(command=worker, context_length=4096), PLACE)


def test_placeholders_are_filled_in_word_by_word_without_a_shell() -> None:
    argv = plan('server --port ${PORT} --name "${MODEL_ID}" --say "$(id); a b"').argv
    assert argv == ("server", "--port", "4711", "--name", "mine", "--say", "$(id); a b")


def test_a_command_over_several_lines_with_comments_is_one_command() -> None:
    assert plan("server \\\n  --port ${PORT} # its port\n").argv == ("server", "--port", "4711")


def test_extra_arguments_are_appended() -> None:
    assert plan("server", Knobs(extra_args=("--fast",))).argv == ("server", "--fast")


def test_its_proof_is_the_command_line_and_a_foreign_listener_is_accepted() -> None:
    made = plan("server --port ${PORT}")
    assert made.proof is ProofKind.COMMAND_LINE
    assert made.foreign_listener
    assert made.context_length == 4096


def test_a_loopback_address_keeps_its_port_so_that_the_owner_can_be_found() -> None:
    assert plan("s").endpoint == TcpEndpoint("127.0.0.1", 4711, health_path="/health")
    assert plan("s", proxy="http://localhost:9/v1").endpoint == TcpEndpoint("localhost", 9, health_path="/health")
    remote = plan("s", proxy="http://10.0.0.2:${PORT}", check_endpoint="/ready").endpoint
    assert remote == UrlEndpoint("http://10.0.0.2:4711", health_path="/ready")


def test_the_pid_of_the_stop_command_is_left_to_the_one_who_knows_it() -> None:
    assert plan("s", cmd_stop="docker stop x-${PORT} ${PID}").stop_argv == ("docker", "stop", "x-4711", "${PID}")
    assert plan("s").stop_argv is None


def test_nothing_of_the_daemons_environment_comes_along() -> None:
    env = plan("s", Knobs(env={"MINE": "1"})).env
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert (env["MINE"], env["PATH"], env["HOME"]) == ("1", "/bin", "/roost/run/w")
    assert "HF_HUB_OFFLINE" not in env


@pytest.mark.parametrize("cmd", ["server 'open", "", "# nothing"])
def test_a_command_that_is_no_command_is_refused(cmd: str) -> None:
    with pytest.raises(BadConfiguration, match=r"command\.cmd"):
        plan(cmd)


@pytest.mark.parametrize("proxy", ["127.0.0.1:${PORT}", "ftp://127.0.0.1:1", "http://"])
def test_an_address_that_is_none_is_refused(proxy: str) -> None:
    with pytest.raises(BadConfiguration, match=r"command\.proxy"):
        plan("s", proxy=proxy)


def test_tuning_that_roost_cannot_hand_over_is_named() -> None:
    with pytest.raises(BadConfiguration, match="command: gpu_layers"):
        plan("s", Knobs(gpu_layers=3))
    assert COMMAND.problems(None, Knobs(generation_cap=5, max_sequences=2, idle_ttl_s=9)) == []


def test_only_declared_models_are_served() -> None:
    assert COMMAND.refusal(declared()) is None
    assert "org/a" in (COMMAND.refusal(gguf()) or "")
