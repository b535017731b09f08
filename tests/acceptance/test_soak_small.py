"""Storms, kills and plain bad luck, small enough for every run: what must be as before once they are over."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import ROOST, Roost, wait_for_no_worker, workers_of

MakeRoost = Callable[..., Roost]
#: Faults come from a fixed seed, so that a red run can be run again.
SEED = 20_261_122
TWO = "[residency]\nmax_resident = 2\n"


def ask(roost: Roost, model: str = "a", **extra: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **extra}
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, timeout=30)


def daemon_of(roost: Roost) -> psutil.Process:
    assert roost.process
    return psutil.Process(roost.process.pid)


def worker_and_guardian(roost: Roost, model: str = "a") -> tuple[psutil.Process, psutil.Process]:
    worker = psutil.Process(int(roost.worker(model)["pid"]))
    guardian = worker.parent()
    assert guardian
    return worker, guardian


@contextmanager
def asking_all_the_time(roost: Roost) -> Iterator[list[int]]:
    """The statuses of requests made one after another while the block runs."""
    statuses: list[int] = []
    over = threading.Event()

    def go() -> None:
        while not over.is_set():
            statuses.append(ask(roost).status_code)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join(30)


def longer_than(statuses: list[int], seen: int) -> bool:
    return len(statuses) > seen


def is_idle(roost: Roost, model: str) -> bool:
    worker = roost.worker(model)
    return (worker["running"], worker["queued"]) == (0, 0)


# Clients.


async def come_and_go(port: int, seed: random.Random) -> None:
    """One client that leaves somewhere: in its head, its body, the queue, the stream; closing or aborting."""
    model, streams = seed.choice("aab"), seed.random() < 0.6
    message = {"model": model, "stream": streams, "messages": [], "x_stand_in": {"tokens": 50, "token_delay_s": 0.05}}
    body = json.dumps(message).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data[: seed.choice([len(data)] * 4 + [seed.randrange(len(data))])])
    await asyncio.sleep(seed.expovariate(10))
    if seed.random() < 0.5:
        writer.transport.abort()
    else:
        writer.close()


async def storm(port: int, clients: int) -> None:
    seed = random.Random(SEED)
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(come_and_go(port, seed))
            await asyncio.sleep(0.003)


def test_a_storm_of_clients_that_leave_leaves_nothing(stand_in: MakeRoost) -> None:
    roost = stand_in(TWO).start()
    assert ask(roost, "b").status_code == 200
    process = daemon_of(roost)
    before = process.num_fds()
    asyncio.run(storm(roost.port, 1000))
    for model in ("a", "b"):
        until_sync(partial(is_idle, roost, model), timeout_s=20, what=f"nothing of {model} runs or waits")
        assert ask(roost, model).status_code == 200
    until_sync(lambda: process.num_fds() <= before + 5, timeout_s=20, what="the descriptors are free again")
    assert process.memory_info().rss < 200 * 2**20
    assert not [line for line in roost.journal() if line["event"] == "defect"]


def test_idle_connections_beyond_the_descriptors_stop_nobody_else_and_kill_no_worker(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    process, pid = daemon_of(roost), roost.worker("a")["pid"]
    with httpx.Client() as early, ExitStack() as idle:
        url = f"{roost.url}/v1/chat/completions"
        assert early.post(url, json={"model": "a", "messages": []}, timeout=20).status_code == 200
        process.rlimit(psutil.RLIMIT_NOFILE, (64, 64))
        for _ in range(100):
            idle.enter_context(socket.create_connection(("127.0.0.1", roost.port), 5))
        until_sync(lambda: process.num_fds() >= 64, timeout_s=20, what="no descriptor is free")
        until_sync(
            lambda: any(line["event"] == "connections wait" for line in roost.journal()),
            timeout_s=20,
            what="it is told",
        )
        (roost.home / "registry.json").touch()
        assert psutil.Process(pid).is_running()
        size = (roost.home / "state/logs/daemon.log").stat().st_size
        answers = [early.post(url, json={"model": "a", "messages": []}, timeout=20) for _ in range(10)]
        assert {answer.status_code for answer in answers} <= {200, 502}
        assert (roost.home / "state/logs/daemon.log").stat().st_size - size < 64 * 2**10
    until_sync(lambda: process.num_fds() < 40, timeout_s=20, what="it recovers")
    until_sync(lambda: ask(roost).status_code == 200, timeout_s=10)
    assert roost.worker("a")["pid"] == pid


# Workers.


def test_a_held_guardian_keeps_neither_a_dead_worker_ready_nor_a_living_one_loaded(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    worker, guardian = worker_and_guardian(roost)
    guardian.suspend()
    worker.kill()
    until_sync(lambda: ask(roost).status_code == 200, timeout_s=15, what="another worker serves")
    worker, guardian = worker_and_guardian(roost)
    guardian.suspend()
    roost.cli("unload", "a")
    until_sync(lambda: not workers_of(roost), timeout_s=20, what="the unloaded worker and its guardian are gone")


def test_a_worker_that_writes_as_fast_as_it_can_slows_nobody_and_keeps_its_cap(stand_in: MakeRoost) -> None:
    roost = stand_in(TWO + "[log]\nworker_cap_bytes = 4_194_304\n", b=f"--log-flood {200 * 2**20}").start()
    assert ask(roost, "b").status_code == 200
    times = []
    for _ in range(20):
        start = time.monotonic()
        assert ask(roost).status_code == 200
        times.append(time.monotonic() - start)
    assert sorted(times)[10] < 1.0
    logs = roost.home / "state/logs"
    assert sum(path.stat().st_size for path in logs.glob("b.*")) < 5 * 2**20
    assert daemon_of(roost).memory_info().rss < 200 * 2**20


# Kills.


def test_rounds_of_sigkill_to_worker_and_daemon_leave_no_process_and_lose_no_name(stand_in: MakeRoost) -> None:
    roost = stand_in()
    registry = (roost.home / "registry.json").read_bytes()
    for number in range(3):
        roost.start()
        assert ask(roost).status_code == 200
        if number:
            worker_and_guardian(roost)[number - 1].kill()
        assert roost.process
        roost.process.kill()
        wait_for_no_worker(roost, 4.0)
    roost.start()
    assert ask(roost, "default").json()["model"] == "a"
    assert (roost.home / "registry.json").read_bytes() == registry
    assert len(list((roost.home / "state/run/workers").glob("*.json"))) == 1


def test_of_many_daemons_started_at_once_one_serves_and_the_others_name_it(roost: Roost, stand_in: MakeRoost) -> None:
    stand_in()
    command = [str(ROOST), "up", "--port", "0"]
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    racers = [subprocess.Popen(command, env=roost.environ, text=True, **pipes) for _ in range(8)]
    try:
        until_sync(lambda: sum(one.poll() is None for one in racers) == 1, timeout_s=120, what="one is left")
        winner = next(one for one in racers if one.poll() is None)
        losers = [one for one in racers if one is not winner]
        assert [one.returncode for one in losers] == [1] * 7
        # The winner's pid stands in the lock a moment after it holds the lock.
        assert all("already running" in one.communicate()[1] for one in losers)
        assert winner.stdout and winner.stdout.readline().startswith("roost ready ")
        winner.send_signal(signal.SIGTERM)
        assert winner.wait(30) == 0
    finally:
        for one in racers:
            one.kill()
            one.communicate()


# Files.


def put(path: Path, content: bytes) -> None:
    """In one step: half a file of settings can be a valid one."""
    temporary = path.with_name("new")
    temporary.write_bytes(content)
    temporary.replace(path)


def test_registry_and_settings_broken_again_and_again_under_load_disturb_nobody(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    seed, pid = random.Random(SEED), roost.worker("a")["pid"]
    files = {path: path.read_bytes() for path in (roost.home / "registry.json", roost.home / "roost.toml")}
    with asking_all_the_time(roost) as statuses:
        for _ in range(100):
            path, good = seed.choice(list(files.items()))
            at = seed.randrange(1, len(good))
            # No JSON and no TOML holds a NUL, and JSON that is cut short is none; all else might be valid.
            cut = path.suffix == ".json" and seed.random() < 0.5
            put(path, good[:at] if cut else good[:at] + b"\0" + good[at:])
            until_sync(partial(longer_than, statuses, len(statuses)), timeout_s=10)
            put(path, good)
        until_sync(lambda: not roost.status()["problems"], timeout_s=10, what="all is well again")
    assert set(statuses) == {200}
    assert ask(roost).status_code == 200 and roost.worker("a")["pid"] == pid
    assert not [line for line in roost.journal() if line["event"] == "defect"]


@pytest.mark.parametrize("when", ["loaded", "not loaded"])
def test_weights_replaced_by_others_of_the_same_size_are_not_served_under_the_old_name(roost: Roost, when: str) -> None:
    folder = roost.home / "mine"
    folder.mkdir()
    path = folder / "mine.gguf"
    path.write_bytes(Path(roost.environ["ROOST_EMBEDDED_GGUF"]).read_bytes())
    roost.cli("models", "add", str(path))
    listed = json.loads(roost.cli("models", "list", "--json").stdout)
    model = next(entry["id"] for entry in listed if entry["path"] == str(path))
    roost.cli("use", "default", model)
    roost.start()
    assert ask(roost, model, max_tokens=1).json()["model"] == model
    if when == "not loaded":
        roost.cli("unload", model)
    other = bytearray(path.read_bytes())
    for at in range(len(other) // 2, len(other), 4096):
        other[at] ^= 0xFF
    temporary = folder / "new"
    temporary.write_bytes(other)
    os.utime(temporary, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    temporary.replace(path)
    if when == "loaded":
        # What is mapped stays what was proven; only a start reads the new file.
        assert ask(roost, model, max_tokens=1).status_code == 200
        roost.cli("unload", model)
    refused = ask(roost, model, max_tokens=1)
    assert refused.status_code == 503 and "roost models" in refused.text
