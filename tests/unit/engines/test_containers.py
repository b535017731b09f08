from __future__ import annotations

from pathlib import Path

import pytest

from roost.config.settings import CommandWorker, Knobs, ModelSettings
from roost.engines.command import Command
from roost.engines.containers import parse_run
from roost.engines.types import LaunchPlan, ProofKind
from roost.errors import BadConfiguration
from tests.unit.engines.specs import PATHS, PLACE, declared

ENVIRON = {"PATH": "/bin", "HOME": "/me", "DOCKER_HOST": "unix:///d.sock", "HF_TOKEN": "canary"}


def plan(cmd: str, knobs: Knobs | None = None, **more: str | None) -> LaunchPlan:
    worker = CommandWorker.model_validate({"cmd": cmd, **more})
    return Command(PATHS, ENVIRON).launch(declared(), knobs or Knobs(), ModelSettings(command=worker), PLACE)


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("docker run image", ("docker",)),
        ("/usr/local/bin/podman container run image", ("/usr/local/bin/podman",)),
        ("nerdctl --namespace k8s.io run image", ("nerdctl", "--namespace", "k8s.io")),
        (
            "docker --context far -D --log-level=error run image",
            ("docker", "--context", "far", "-D", "--log-level=error"),
        ),
        ("docker -H tcp://10.0.0.2:2376 --tlsverify run image", ("docker", "-H", "tcp://10.0.0.2:2376", "--tlsverify")),
        ("podman -r --root /r run image", ("podman", "-r", "--root", "/r")),
    ],
)
def test_the_client_is_the_program_with_its_own_options(line: str, client: tuple[str, ...]) -> None:
    run = parse_run(tuple(line.split()))
    assert run is not None and run.client == client


@pytest.mark.parametrize(
    "line",
    [
        "",
        "docker",
        "docker start x",
        "docker compose run x",
        "docker --context run ps",
        "sudo docker run image",
        "docker-proxy run x",
        "llama-server --port 1",
        "podman --root",
    ],
)
def test_another_command_is_none(line: str) -> None:
    assert parse_run(tuple(line.split())) is None


def test_options_are_found_however_they_are_written_and_what_is_behind_the_image_is_not_read() -> None:
    words = (
        "docker run -dit --rm=true --name=first --name second -p8080:80 -p 127.0.0.1:9:9 --publish=[::1]:7:7 -l a=b "
        "--label c=d --gpus all --init -e A=-d --cidfile f --pull never -uroot --security-opt label=x image -d "
        "--name inside -p 1:1 --rm=false"
    )
    run = parse_run(tuple(words.split()))
    assert run is not None
    assert (run.name, run.id_file, run.labels) == ("second", "f", ("a=b", "c=d"))
    assert run.says("detach") and run.says("rm") and run.says("tty") and not run.says("privileged")
    assert run.published == ("8080:80", "127.0.0.1:9:9", "[::1]:7:7") and run.open_ports() == ("8080:80",)


@pytest.mark.parametrize(
    ("flags", "detached"),
    [
        ("-d", True),
        ("--detach", True),
        ("-d=false", False),
        ("--detach=false", False),
        ("-it", False),
        ("-itd", True),
        ("-e d", False),
        ("-w d", False),
        ("--name -d", False),
        ("-d --detach=0", False),
        ("", False),
    ],
)
def test_it_is_known_whether_the_client_leaves_at_once(flags: str, detached: bool) -> None:
    run = parse_run(("docker", "run", *flags.split(), "image"))
    assert run is not None and run.says("detach") is detached


def test_a_container_is_marked_and_its_id_written_into_the_private_home() -> None:
    made = plan("docker --context c run -d --rm --name n -p ${PORT}:80 image serve --port 80")
    assert made.container is not None and made.proof is ProofKind.CLAIMED
    home, container = PLACE.home, made.container
    assert container.id_file == home / "container.id"
    assert (container.name, container.program, container.client) == ("n", "docker", ("docker", "--context", "c"))
    assert (container.takes_volumes_along, container.open_ports) == (True, ("4711:80",))
    owner = container.owner
    assert made.shown == (
        *(
            "docker",
            "--context",
            "c",
            "run",
            "--label",
            f"roost.worker={PLACE.nonce}",
            "--label",
            f"roost.owner={owner}",
        ),
        *("--label", "roost.model=mine", "--cidfile", str(container.id_file)),
        *("-d", "--rm", "--name", "n", "-p", "4711:80", "image", "serve", "--port", "80"),
    )
    assert made.argv[-len(made.shown) :] == made.shown and made.argv[-len(made.shown) - 2] == "3"


def test_extra_arguments_go_to_the_server_inside() -> None:
    assert plan("docker run image", Knobs(extra_args=("--fast",))).argv[-2:] == ("image", "--fast")


def test_an_id_file_of_the_users_own_is_kept(tmp_path: Path) -> None:
    made = plan("docker run --cidfile x.id image", cwd=str(tmp_path))
    assert made.container is not None and made.shown is not None
    assert made.container.id_file == tmp_path / "x.id"
    assert made.shown.count("--cidfile") == 1


def test_labels_of_roosts_own_are_refused() -> None:
    with pytest.raises(BadConfiguration, match=r"roost\.worker"):
        plan("docker run --label roost.worker=x image")


def test_the_client_gets_its_users_configuration_and_no_more() -> None:
    env = plan("docker run image", Knobs(env={"MINE": "1"})).env
    assert (env["HOME"], env["DOCKER_HOST"], env["MINE"], env["TMPDIR"]) == ("/me", "unix:///d.sock", "1", "/var/tmp")
    assert "HF_TOKEN" not in env
    assert plan("server").env["HOME"] == str(PLACE.home)


def test_another_roost_on_this_machine_has_another_mark() -> None:
    first = plan("docker run image").container
    worker = CommandWorker(cmd="docker run image")
    elsewhere = type(PLACE)(PLACE.socket_path, Path("/other/run/w"), 1, "k", "n")
    second = Command(PATHS, ENVIRON).launch(declared(), Knobs(), ModelSettings(command=worker), elsewhere).container
    assert first is not None and second is not None and first.owner != second.owner
