"""Workers in containers: `docker run` and `podman run` as a model's command.

Each test runs against the stand-in container engine; against docker and podman with `make test-containers`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost
from tests.acceptance.test_faults import ask, streaming
from tests.container_clients import ContainerClient, Unusable, real_client, stand_in_client
from tests.helpers import process_lives

#: Names that these tests give; containers with them are removed before and after.
NAMES = ("roost-t-a", "roost-t-b", "roost-t-decoy", "roost-t-other")
A, B, DECOY, OTHER = NAMES
Contained = Callable[..., Roost]


@pytest.fixture(
    params=[
        "stand-in",
        pytest.param("docker", marks=pytest.mark.containers),
        pytest.param("podman", marks=pytest.mark.containers),
    ]
)
def client(request: pytest.FixtureRequest, short_path: Path) -> Iterator[ContainerClient]:
    if request.param == "stand-in":
        folder = short_path / "engine"
        folder.mkdir()
        with stand_in_client(folder) as found:
            yield found
        return
    try:
        found = real_client(request.param, short_path)
    except Unusable as reason:
        pytest.skip(str(reason))
    found.clear(*NAMES)
    yield found
    found.clear(*NAMES)


@pytest.fixture
def contained(roost: Roost, client: ContainerClient) -> Contained:
    """A roost whose models run in containers: `a` and, if wanted, `b`, each by its command line."""
    roost.environ |= client.environ

    def make(settings: str = "", stop: str = "", **commands: str) -> Roost:
        more = f"cmd_stop = {json.dumps(stop)}\n" if stop else ""
        tables = [f'[models."{name}".command]\ncmd = {json.dumps(cmd)}\n{more}' for name, cmd in commands.items()]
        roost.settings("\n".join([settings, *tables]))
        roost.registry(default="a")
        return roost

    return make


def container_of(client: ContainerClient, name: str = A) -> str:
    return client.containers()[name]


def labels(client: ContainerClient, container_id: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(client.ask("container", "inspect", container_id))[0]["Config"]["Labels"]
    return found


def main_pid(client: ContainerClient, container_id: str) -> int:
    return int(json.loads(client.ask("container", "inspect", container_id))[0]["State"]["Pid"])


@pytest.mark.containers
def test_there_is_a_container_engine_to_test_with(short_path: Path) -> None:
    reasons = []
    for program in ("docker", "podman"):
        try:
            real_client(program, short_path)
        except Unusable as reason:
            reasons.append(str(reason))
    if len(reasons) == 2 and not os.environ.get("ROOST_TEST_CONTAINERS"):
        pytest.skip("; ".join(reasons))
    assert len(reasons) < 2, reasons


@pytest.mark.parametrize(
    "flags", ["", "--rm", "-d", "-d --rm"], ids=["attached", "attached-rm", "detached", "detached-rm"]
)
def test_a_model_in_a_container_is_served_claimed_with_its_id_and_gone_after_down(
    client: ContainerClient, contained: Contained, flags: str
) -> None:
    roost = contained(a=client.command(A, flags)).start()
    assert ask(roost).status_code == 200
    container_id, worker = container_of(client), roost.worker("a")
    assert (worker["grade"], worker["state"]) == ("claimed", "ready")
    assert container_id[:12] in worker["proof"] and A in worker["proof"]
    assert container_id[:12] in roost.cli("status").stdout
    marks = labels(client, container_id)
    assert marks["roost.model"] == "a" and marks["roost.worker"] and marks["roost.owner"]
    log = roost.cli("logs", "a").stdout
    assert log.count("stand-in loaded") == 1
    assert roost.stop() == 0
    assert A not in client.containers()


def test_a_killed_daemon_leaves_no_container_behind_its_next_start_and_harms_nobodys(
    client: ContainerClient, contained: Contained
) -> None:
    roost = contained(a=client.command(A, "-d")).start()
    first = container_of(client)
    client.start(DECOY)
    client.start(OTHER, "--label", "roost.worker=0123456789abcdef", "--label", "roost.owner=0123456789abcdef")
    assert roost.process
    roost.process.kill()
    roost.process.wait()
    roost.start()
    assert ask(roost).status_code == 200
    now = client.containers()
    assert now[A] != first and {DECOY, OTHER} <= set(now)
    assert any("removed container" in str(line.get("what")) for line in roost.journal())
    assert list((roost.home / "state/run/workers").rglob("*.json")) == [
        roost.home / f"state/run/workers/{labels(client, now[A])['roost.worker']}.json"
    ]


@pytest.mark.thorough
def test_a_daemon_killed_while_its_container_starts_leaves_none_either(
    client: ContainerClient, contained: Contained
) -> None:
    roost = contained(a=client.command(A, "--rm", worker="--load-s 600"))
    roost.launch()
    until_sync(lambda: A in client.containers(), what="the container")
    assert roost.process
    roost.process.kill()
    roost.process.wait()
    contained(a=client.command(B, "--rm")).start()
    assert A not in client.containers() and B in client.containers()


@pytest.mark.thorough
def test_a_client_that_cannot_be_asked_after_a_crash_is_asked_again_at_the_start_after(
    client: ContainerClient, contained: Contained, short_path: Path
) -> None:
    if not Path(client.program).is_absolute():
        pytest.skip("the stand-in can be taken away, a real one cannot")
    roost = contained(a=client.command(A, "-d")).start()
    first = container_of(client)
    assert roost.process
    roost.process.kill()
    roost.process.wait()
    away = Path(client.program).rename(short_path / "away")
    roost.launch()
    assert roost.stop() == 0
    away.rename(client.program)
    assert container_of(client) == first
    contained(a=client.command(B, "-d")).start()
    assert A not in client.containers()


def test_a_container_that_dies_is_an_exit_of_its_worker_and_the_next_request_starts_another(
    client: ContainerClient, contained: Contained
) -> None:
    roost = contained(a=client.command(A, "-d")).start()
    first = container_of(client)
    client.ask("kill", A)
    until_sync(lambda: roost.worker("a")["state"] == "stopped", timeout_s=10)
    assert ask(roost).status_code == 200
    assert container_of(client) != first
    assert any("137" in str(line.get("why")) for line in roost.journal() if line["event"] == "worker lost")


@pytest.mark.thorough
@pytest.mark.parametrize("flags", ["", "-d"], ids=["attached", "detached"])
def test_a_client_that_dies_is_no_exit_while_its_container_lives(
    client: ContainerClient, contained: Contained, flags: str
) -> None:
    roost = contained(a=client.command(A, flags)).start()
    first, keeper = container_of(client), psutil.Process(roost.worker("a")["pid"])
    before = keeper.children()
    for child in before:
        child.kill()
    until_sync(lambda: keeper.children() and not set(before) & set(keeper.children()), what="another client")
    assert ask(roost).status_code == 200
    assert (container_of(client), roost.worker("a")["pid"]) == (first, keeper.pid)
    assert roost.stop() == 0 and A not in client.containers()


@pytest.mark.thorough
def test_a_container_that_fails_is_told_with_its_code_and_its_last_line(
    client: ContainerClient, contained: Contained
) -> None:
    failing = client.command(B, "--rm -d", model="b", worker="--load-fails 'bad magic' --exit-code 7")
    roost = contained('[rotation]\npolicy = "always"\n', a=client.command(A), b=failing).start()
    response = ask(roost, "b")
    assert response.status_code == 503 and "bad magic" in response.text and "code 7" in response.text
    assert B not in client.containers()


@pytest.mark.thorough
def test_a_client_that_refuses_is_told_in_its_own_words(client: ContainerClient, contained: Contained) -> None:
    bad = f"{client.program} run --no-such-option {A} x y"
    roost = contained('[rotation]\npolicy = "always"\n', a=client.command(A), b=bad).start()
    response = ask(roost, "b")
    assert response.status_code == 503 and "no-such-option" in response.json()["error"]["message"]


def test_a_name_that_somebody_else_has_is_said_with_the_mend_and_the_container_lives(
    client: ContainerClient, contained: Contained
) -> None:
    foreign = client.start(B)
    commands = {"a": client.command(A), "b": client.command(B, model="b")}
    roost = contained('[rotation]\npolicy = "always"\n', **commands).start()
    message = ask(roost, "b").json()["error"]["message"]
    assert f'"{B}" ({foreign[:12]})' in message and f"rm -f {foreign[:12]}" in message
    assert container_of(client, B) == foreign and main_pid(client, foreign)
    client.clear(B)
    until_sync(lambda: ask(roost, "b").status_code == 200, timeout_s=30, what="the name is free")


@pytest.mark.thorough
def test_two_models_with_one_name_do_not_take_each_others_container(
    client: ContainerClient, contained: Contained
) -> None:
    commands = {"a": client.command(A, "-d"), "b": client.command(A, "-d", model="b")}
    roost = contained("[residency]\nmax_resident = 2\n", **commands).start()
    first = container_of(client)
    message = ask(roost, "b").json()["error"]["message"]
    assert "a runs" in message and first[:12] in message
    assert container_of(client) == first and ask(roost).status_code == 200


@pytest.mark.thorough
def test_a_stop_command_is_used_first(client: ContainerClient, contained: Contained, tmp_path: Path) -> None:
    said, script = tmp_path / "said", tmp_path / "stop"
    script.write_text(f"#!/bin/sh\necho $1 > {said}\nexec {client.program} stop {A}\n")
    script.chmod(0o755)
    roost = contained(stop=f"{script} ${{PID}}", a=client.command(A, "-d")).start()
    pid = roost.worker("a")["pid"]
    roost.cli("unload", "a")
    assert said.read_text().strip() == str(pid) and A not in client.containers()


@pytest.mark.thorough
def test_a_stop_command_that_does_nothing_stops_nobody_from_stopping(
    client: ContainerClient, contained: Contained
) -> None:
    roost = contained(stop="true", a=client.command(A, "-d")).start()
    roost.cli("unload", "a")
    assert A not in client.containers()


@pytest.mark.thorough
def test_a_container_that_ignores_being_told_is_killed(client: ContainerClient, contained: Contained) -> None:
    roost = contained(a=client.command(A, "-d", worker="--ignore-term")).start()
    began = time.monotonic()
    assert roost.stop() == 0
    assert time.monotonic() - began < 25 and A not in client.containers()


def test_a_restart_uses_the_same_name_again(client: ContainerClient, contained: Contained) -> None:
    roost = contained(a=client.command(A, "-d --rm")).start()
    first = container_of(client)
    roost.cli("restart", "a")
    assert ask(roost).status_code == 200 and container_of(client) != first


@pytest.mark.thorough
def test_an_id_file_of_the_users_own_is_used_and_does_not_block_the_next_start(
    client: ContainerClient, contained: Contained, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.id"
    roost = contained(a=client.command(A, f"-d --cidfile {mine}")).start()
    assert mine.read_text().strip() == container_of(client)
    roost.cli("restart", "a")
    assert ask(roost).status_code == 200 and mine.read_text().strip() == container_of(client)


@pytest.mark.thorough
def test_a_container_that_hangs_is_noticed_and_replaced(client: ContainerClient, contained: Contained) -> None:
    roost = contained("[engine]\nstall_s = 1\n", a=client.command(A, "-d")).start()
    first = container_of(client)
    with streaming(roost, tokens=1000, token_delay_s=0.05) as lines:
        next(lines)
        os.kill(main_pid(client, first), signal.SIGSTOP)
        last = list(lines)[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_stalled"
    assert ask(roost).status_code == 200 and container_of(client) != first


@pytest.mark.thorough
def test_a_container_that_works_in_silence_is_left_alone(client: ContainerClient, contained: Contained) -> None:
    roost = contained("[engine]\nstall_s = 1\n", a=client.command(A, "-d")).start()
    first = container_of(client)
    assert ask(roost, x_stand_in={"busy_s": 6}).status_code == 200
    assert container_of(client) == first


def test_the_client_gets_its_users_settings_and_no_secret(
    client: ContainerClient, contained: Contained, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    roost = contained(a=client.command(A, "-d"))
    roost.environ |= {"DOCKER_CONFIG": str(tmp_path), "HF_TOKEN": "canary"}
    roost.start()
    seen = psutil.Process(roost.worker("a")["pid"]).environ()
    assert (seen["DOCKER_CONFIG"], seen["HOME"]) == (str(tmp_path), roost.environ["HOME"])
    assert "HF_TOKEN" not in seen and "CANARY_SECRET" not in seen
    inside: dict[str, Any] = roost.get("/upstream/a/stand-in/info")
    assert not {name for name in inside["environment"] if name.startswith(("ROOST_", "DOCKER_"))}
    assert process_lives(main_pid(client, container_of(client)))


def test_an_imported_llama_swap_configuration_serves_from_containers(
    client: ContainerClient, contained: Contained, tmp_path: Path
) -> None:
    roost = contained()
    command = client.command("${MODEL_ID}", "--rm", model="${MODEL_ID}")
    file = tmp_path / "config.yaml"
    file.write_text(f"models:\n  {A}:\n    cmd: |\n      {command}\n    cmdStop: {client.program} stop ${{MODEL_ID}}\n")
    roost.cli("import", "llama-swap", str(file), "--force")
    roost.start()
    assert ask(roost, A).status_code == 200 and A in client.containers()
    roost.cli("unload", A)
    assert A not in client.containers()
