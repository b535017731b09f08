"""Settings changed while it runs: what they concern changes, everything else goes on."""

from __future__ import annotations

from collections.abc import Callable

import httpx2 as httpx

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost
from tests.acceptance.test_faults import ask, streaming, worker_pid

MakeRoost = Callable[..., Roost]


def worker_port(roost: Roost) -> int:
    command = roost.worker("a")["command"]
    return int(command[command.index("--port") + 1])


def test_a_knob_of_another_model_touches_no_running_stream(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    pid = worker_pid(roost)
    settings = (roost.home / "roost.toml").read_text()
    with streaming(roost, tokens=30, token_delay_s=0.05) as lines:
        next(lines)
        roost.settings(settings + '[models."b".engine]\nidle_ttl_s = 600\n')
        until_sync(lambda: any(line["event"] == "settings taken" for line in roost.journal()), timeout_s=20)
        assert list(lines)[-1] == "data: [DONE]"
    assert worker_pid(roost) == pid


def test_a_knob_of_the_resident_restarts_it_once_its_stream_is_over(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    pid = worker_pid(roost)
    settings = (roost.home / "roost.toml").read_text()
    with streaming(roost, tokens=40, hold_after_tokens=2) as lines:
        next(lines)
        roost.settings(settings + '[models."a".engine]\nenv = { COLOUR = "blue" }\n')
        until_sync(lambda: roost.worker("a")["state"] == "draining", timeout_s=30)
        httpx.post(f"http://127.0.0.1:{worker_port(roost)}/stand-in/release")
        assert list(lines)[-1] == "data: [DONE]"
    until_sync(lambda: roost.worker("a")["state"] == "ready" and worker_pid(roost) != pid, timeout_s=10)
    assert ask(roost).status_code == 200


def test_a_broken_file_leaves_the_old_settings_in_force_and_is_told(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    pid = worker_pid(roost)
    settings = (roost.home / "roost.toml").read_text()
    roost.settings(settings + "[gateway]\nprot = 1\n")
    until_sync(lambda: roost.status()["settings_problem"], timeout_s=20)
    assert 'unknown key "prot" in [gateway]' in roost.status()["settings_problem"]
    assert ask(roost).status_code == 200 and worker_pid(roost) == pid
    assert roost.cli("config", "check", check=False).returncode == 78
    roost.settings(settings)
    until_sync(lambda: not roost.status()["settings_problem"], timeout_s=20)


def test_settings_load_nothing_that_a_person_put_away(stand_in: MakeRoost) -> None:
    """Nor do they put away what a person loaded: the default is loaded once, not whenever a file changes."""
    roost = stand_in('[rotation]\npolicy = "never"\n').start()
    settings = (roost.home / "roost.toml").read_text()
    roost.cli("load", "b")
    pid = roost.worker("b")["pid"]
    roost.settings(settings + "[gateway]\nheartbeat_s = 11.0\n")
    until_sync(lambda: times_taken(roost) == 1, timeout_s=20)
    assert ask(roost, model="b").status_code == 200
    roost.cli("unload", "b")
    roost.settings(settings)
    until_sync(lambda: times_taken(roost) == 2, timeout_s=20)
    roost.cli("load", "b")
    started = [line["model"] for line in roost.journal() if line["event"] == "worker" and line["fact"] == "start"]
    assert started == ["a", "b", "b"] and roost.worker("b")["pid"] != pid


def test_a_default_that_failed_is_tried_again_with_other_settings(stand_in: MakeRoost) -> None:
    roost = stand_in(a="--load-fails broken")
    settings = (roost.home / "roost.toml").read_text()
    roost.launch()
    until_sync(lambda: roost.status()["problems"], timeout_s=20)
    roost.settings(settings.replace("--load-fails broken", ""))
    until_sync(lambda: roost.worker("a")["state"] == "ready", timeout_s=20)


def times_taken(roost: Roost) -> int:
    return sum(line["event"] == "settings taken" for line in roost.journal())
