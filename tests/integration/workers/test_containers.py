"""Containers of workers through their client: found by their labels, removed, and nobody else's touched."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from roost.engines.types import Container, Endpoint, EngineTraits, LaunchPlan, ProofGrade, ProofKind, TcpEndpoint
from roost.errors import WorkerFailed
from roost.host.this import this_host
from roost.testing.stand_in import declared_spec
from roost.workers.containers import Client, make_room, remove_all
from roost.workers.proof import Mismatch, Proof, prove
from roost.workers.reap import LEFT, LONGEST_LEFT_S, ContainerTrace, WorkerRecord, read_record, reap_orphans
from tests.container_clients import ContainerClient, stand_in_client

OWNER = "owner-1"


@pytest.fixture
def docker(short_path: Path) -> Iterator[ContainerClient]:
    folder = short_path / "engine"
    folder.mkdir()
    with stand_in_client(folder) as client:
        yield client


@pytest.fixture
def client(docker: ContainerClient) -> Client:
    return Client((docker.program,), {"PATH": os.environ["PATH"]})


def container(client: Client, folder: Path, name: str | None = "n", **more: object) -> Container:
    made = Container("docker", client.command, name, "nonce-now", OWNER, folder / "id")
    return replace(made, **more)  # type: ignore[arg-type]


def start(docker: ContainerClient, name: str, nonce: str, owner: str = OWNER) -> str:
    marks = ("--label", f"roost.worker={nonce}", "--label", f"roost.owner={owner}", "--label", "roost.model=m")
    return docker.start(name, *marks)


def test_before_a_start_what_no_living_start_has_is_removed_by_its_label_alone(
    docker: ContainerClient, client: Client, tmp_path: Path
) -> None:
    start(docker, "n", "nonce-gone")
    start(docker, "beside", "nonce-living")
    start(docker, "another-roosts", "nonce-gone", "owner-2")
    docker.start("nobodys")
    told = make_room("m", container(client, tmp_path), client, {"nonce-living", "nonce-now"})
    assert len(told) == 1 and "m" in told[0]
    assert set(docker.containers()) == {"beside", "another-roosts", "nobodys"}


@pytest.mark.parametrize(
    ("nonce", "owner", "said"), [("x", "owner-2", "not one of this roost's"), ("nonce-living", OWNER, "of its own")]
)
def test_a_taken_name_is_an_error_and_the_container_lives(
    docker: ContainerClient, client: Client, tmp_path: Path, nonce: str, owner: str, said: str
) -> None:
    taken = start(docker, "n", nonce, owner)
    with pytest.raises(WorkerFailed, match=said) as caught:
        make_room("m", container(client, tmp_path), client, {"nonce-living"})
    assert taken[:12] in caught.value.message and docker.containers()["n"] == taken
    # A part of a name is no name.
    assert make_room("m", container(client, tmp_path, "n2"), client, {"nonce-living"}) == []


def test_a_command_that_replaces_its_namesake_is_let(docker: ContainerClient, client: Client, tmp_path: Path) -> None:
    docker.start("n")
    assert make_room("m", container(client, tmp_path, replaces_namesake=True), client, ()) == []


def test_an_engine_that_does_not_answer_is_said(tmp_path: Path) -> None:
    client = Client(("/nowhere/docker",), {})
    with pytest.raises(WorkerFailed, match="docker ps"):
        make_room("m", container(client, tmp_path), client, ())


def test_an_id_file_of_the_last_start_goes_unless_its_container_is_there(
    docker: ContainerClient, client: Client, tmp_path: Path
) -> None:
    made = container(client, tmp_path)
    made.id_file.write_text("0" * 64)
    make_room("m", made, client, ())
    assert not made.id_file.exists()
    made.id_file.write_text(docker.start("nobodys"))
    make_room("m", made, client, ())
    assert made.id_file.exists()


def test_one_start_is_removed_and_a_second_removal_finds_nothing(docker: ContainerClient, client: Client) -> None:
    mine = start(docker, "a", "nonce-1")
    other = start(docker, "b", "nonce-2")
    assert remove_all(client, "nonce-1", volumes=True) == [mine]
    assert remove_all(client, "nonce-1", volumes=True) == [] and docker.containers() == {"b": other}


def record(client: Client, folder: Path, nonce: str = "nonce-1") -> WorkerRecord:
    home = folder / f"w-{nonce}"
    home.mkdir(parents=True, exist_ok=True)
    return WorkerRecord(nonce, "m", None, str(home), str(folder / "s"), ContainerTrace(client, volumes=False))


def test_a_record_names_the_client_again_and_older_ones_are_read_too(client: Client, tmp_path: Path) -> None:
    written = record(client, tmp_path)
    assert read_record(written.write(tmp_path / "workers")) == written
    plain = {key: value for key, value in asdict(written).items() if key != "container"}
    (tmp_path / "old.json").write_text(json.dumps(plain))
    assert read_record(tmp_path / "old.json") == replace(written, container=None)


def test_reaping_tries_a_client_that_is_away_again_but_not_for_ever(
    docker: ContainerClient, client: Client, tmp_path: Path
) -> None:
    folder, mine = tmp_path / "workers", start(docker, "a", "nonce-1")
    record(client, tmp_path).write(folder)
    away = Path(docker.program).rename(tmp_path / "away")
    for _ in range(2):
        assert "cannot look" in reap_orphans(this_host(), folder, tmp_path)[0]
        assert [path.parent.name for path in folder.rglob("*.json")] == [LEFT]
    away.rename(docker.program)
    assert mine[:12] in reap_orphans(this_host(), folder, tmp_path)[0]
    assert not docker.containers() and not list(folder.rglob("*.json"))
    old = record(Client(("/nowhere/docker",), {}), tmp_path, "nonce-2").write(folder / LEFT)
    os.utime(old, (time.time() - LONGEST_LEFT_S - 60,) * 2)
    reap_orphans(this_host(), folder, tmp_path)
    assert not old.exists()


def test_nobody_answers_for_a_container_that_does_not_exist_yet(client: Client, tmp_path: Path) -> None:
    made, spec = container(client, tmp_path), declared_spec("m")
    endpoint: Endpoint = TcpEndpoint("127.0.0.1", 1)
    traits = EngineTraits(cancels_non_stream=True, context_check="none", surfaces=frozenset({"chat"}))
    plan = LaunchPlan((), {}, endpoint, "m", ProofKind.CLAIMED, traits, None, 1, container=made)
    assert isinstance(prove(this_host(), plan, spec, None), Mismatch)
    made.id_file.write_text("ab" * 32 + "\n")
    proof = prove(this_host(), plan, spec, None)
    assert isinstance(proof, Proof) and proof.grade is ProofGrade.CLAIMED and "abababababab" in proof.text
