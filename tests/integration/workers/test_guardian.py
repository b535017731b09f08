"""No worker outlives its daemon, however the daemon goes; and only our own are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from roost.host.this import this_host
from roost.testing.wait import until, until_sync
from roost.workers.process import reader_of
from roost.workers.reap import WorkerRecord, read_record, reap_orphans

#: A daemon in little: it starts one worker that forks a child and a grandchild in a session of its own, tells their
#: pids, and waits.
DAEMON = """
import asyncio, os, sys
from roost.engines.types import EngineTraits, LaunchPlan, ProofKind, UnixEndpoint
from roost.host.this import this_host
from roost.workers.process import drain, spawn
from pathlib import Path

WORKER = '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("pids", os.getppid(), os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(600)
print("pids", os.getpid(), flush=True)
time.sleep(600)
'''

async def main():
    plan = LaunchPlan(
        argv=(sys.executable, "-c", WORKER), env={"PATH": os.environ["PATH"], "ROOST_WORKER_NONCE": sys.argv[1]},
        endpoint=UnixEndpoint(Path("/nowhere")), served_name="x", proof=ProofKind.CLAIMED,
        traits=EngineTraits(True, "none", frozenset()), context_length=None, concurrency=1)
    process, status, output = await spawn(plan, this_host(), high_priority=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(process.watch(status))
        group.create_task(drain(output, lambda chunk: os.write(1, chunk)))
        await process.identified.wait()
        print("guardian", process.guardian_pid, flush=True)

asyncio.run(main())
"""


class Daemon:
    def __init__(self, nonce: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", DAEMON, nonce], stdout=subprocess.PIPE, text=True)
        self.guardian = 0
        self.workers: list[int] = []
        assert self.process.stdout is not None
        while not self.guardian or len(self.workers) < 3:
            word, *pids = self.process.stdout.readline().split()
            if word == "guardian":
                self.guardian = int(pids[0])
            else:
                self.workers += [int(pid) for pid in pids]

    def all_gone(self) -> bool:
        return not any(lives(pid) for pid in (self.guardian, *self.workers))


def lives(pid: int) -> bool:
    """A zombie whose parent is gone is nobody's process any more."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    started = Daemon("nonce-of-this-test")
    yield started
    started.process.kill()
    started.process.wait()
    assert started.process.stdout is not None
    started.process.stdout.close()
    until_sync(started.all_gone)


def test_the_whole_tree_dies_when_the_daemon_is_killed(daemon: Daemon) -> None:
    daemon.process.kill()
    until_sync(daemon.all_gone, timeout_s=2.0)


def test_the_worker_dies_when_its_guardian_is_killed(daemon: Daemon) -> None:
    os.kill(daemon.guardian, signal.SIGKILL)
    until_sync(lambda: not lives(daemon.workers[0]), timeout_s=2.0)
    for pid in daemon.workers:  # what it forked away is found by its nonce at the next start
        if lives(pid):
            assert pid in this_host().with_nonce("nonce-of-this-test")
            os.kill(pid, signal.SIGKILL)


def test_a_group_signal_to_the_daemon_does_not_reach_the_worker(daemon: Daemon) -> None:
    assert os.getpgid(daemon.workers[0]) != os.getpgid(daemon.process.pid)
    assert os.getsid(daemon.workers[0]) not in (os.getsid(daemon.process.pid), os.getsid(daemon.guardian))


def test_what_is_left_of_a_killed_daemon_is_ended_and_a_decoy_lives(short_path: Path) -> None:
    folder = short_path / "workers"
    home = short_path / "w-1"
    home.mkdir()
    ours = sleeper({"ROOST_WORKER_NONCE": "left-behind"})
    decoy = sleeper({"ROOST_WORKER_NONCE": "another"})
    try:
        WorkerRecord("left-behind", "a", None, str(home), str(short_path / "1.s")).write(folder)
        (folder / "broken.json").write_text("{")
        told = reap_orphans(this_host(), folder, short_path)
        assert ours.wait(5) == -signal.SIGKILL
        assert decoy.poll() is None
        assert len(told) == 1 and "a" in told[0]
        assert list(folder.iterdir()) == [] and not home.exists()
    finally:
        for process in (ours, decoy):
            process.kill()
            process.wait()


def test_what_a_daemon_left_that_was_killed_before_its_record_was_whole_is_removed(short_path: Path) -> None:
    folder, kept = short_path / "workers", short_path / "w-mine"
    (short_path / "w-0123abcd" / "saved").mkdir(parents=True)
    kept.mkdir()
    folder.mkdir()
    (folder / "0123abcd.tmp").write_text('{"nonce"')
    assert reap_orphans(this_host(), folder, short_path) == []
    assert sorted(path.name for path in short_path.rglob("*")) == ["w-mine", "workers"]


def test_a_record_that_points_outside_the_run_folder_removes_nothing(short_path: Path) -> None:
    precious = short_path / "precious"
    precious.mkdir()
    run = short_path / "run"
    WorkerRecord("n", "a", None, str(precious), str(precious)).write(run / "workers")
    reap_orphans(this_host(), run / "workers", run)
    assert precious.is_dir()


def test_a_record_survives_its_round_trip(short_path: Path) -> None:
    record = WorkerRecord("n", "a", this_host().identity(os.getpid()), "/h", "/s")
    assert read_record(record.write(short_path)) == record


def sleeper(env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, **env})


async def test_a_pipe_is_closed_at_its_end() -> None:
    """Each start reads two of them: one that stays open is one descriptor a start."""
    ours, theirs = os.pipe()
    reader = await reader_of(ours)
    os.write(theirs, b"said")
    os.close(theirs)
    assert await reader.read() == b"said"
    await until(lambda: not is_open(ours), timeout_s=5, what="the pipe is closed")


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
