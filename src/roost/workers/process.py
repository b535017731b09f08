"""Starting one worker under its guardian, and ending it: the only place that spawns and signals engines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import roost.host.guardian
from roost.engines.types import LaunchPlan, StandbyPlan
from roost.host.types import Host, ProcessIdentity
from roost.memory.lines import Beyond, Lines

HIGH_PRIORITY_NICE = -5
#: How often the guardian is looked after, and how long it may take over an end that is due.
LOOK_PERIOD_S = 1.0
GUARDIAN_GRACE_S = 4.0


class StartFailed(Exception):
    """The worker's program could not even be started."""


class WorkerProcess:
    """One running worker. `exit_code` is set once it is gone with all that it forked."""

    def __init__(self, popen: subprocess.Popen[bytes], life: int, host: Host) -> None:
        self._guardian = popen
        self._life: int | None = life
        self._host = host
        self.identity: ProcessIdentity | None = None
        self.guardian_pid = popen.pid
        self.exit_code: int | None = None
        #: What it had when its guardian ended it for its memory.
        self.beyond: Beyond | None = None
        #: What a spare was told to become.
        self.told: bytes | None = None
        #: Set once the guardian has told the worker's pid.
        self.identified = asyncio.Event()
        self.gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self.identity.pid if self.identity else None

    def tree(self) -> tuple[int, ...]:
        """The worker's processes, the guardian not counted."""
        return self._host.tree(self.pid) if self.pid and self._lives() else ()

    def itself(self) -> tuple[int, ...]:
        """The worker's own process alone."""
        return (self.pid,) if self.pid and self._lives() else ()

    def terminate(self) -> None:
        """SIGTERM to the worker itself: it may save what it wants to save."""
        if self._lives():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.identity.pid, signal.SIGTERM)  # type: ignore[union-attr]

    async def tell(self, raw: bytes) -> bool:
        """Writes to the standard input of a spare, and closes it. False when it is gone, or was told before."""
        pipe = self._guardian.stdin
        if pipe is None or not await asyncio.to_thread(_write_all, pipe, raw):
            return False
        self.told = raw
        return True

    def kill(self) -> None:
        """The end, for the whole tree: the guardian does it when the pipe of life closes."""
        if self._life is not None:
            os.close(self._life)
            self._life = None

    def hold_to(self, lines: Lines) -> None:
        """From now on its guardian ends it beyond these."""
        if self._life is not None:
            sizes = (lines.limit_bytes, lines.promise_bytes, lines.floor_bytes, lines.data_bytes)
            told = (lines.period_ms, *sizes, lines.group or "-")
            with contextlib.suppress(BrokenPipeError, BlockingIOError):  # it is gone, or held
                os.write(self._life, f"memory {' '.join(str(word) for word in told)}\n".encode())

    def _lives(self) -> bool | None:
        """Signals go only to the very process that we started, never to a later owner of its pid. None: the machine
        cannot tell now."""
        try:
            return self.identity is not None and self._host.identity(self.identity.pid) == self.identity
        except OSError:
            return None

    async def watch(self, status: asyncio.StreamReader) -> None:
        """Reads the guardian's words until it ends; sets `identity`, then `exit_code` and `gone`."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_after_guardian())
            try:
                await self._listen(status)
            finally:
                looking.cancel()

    async def _look_after_guardian(self) -> None:
        """A guardian that is held (SIGSTOP) neither tells of an end nor makes one: then it is done here."""
        late_s = 0.0
        while True:
            await asyncio.sleep(LOOK_PERIOD_S)
            due = self._life is None or (self.identity is not None and self._lives() is False)
            late_s = late_s + LOOK_PERIOD_S if due else 0.0
            if late_s >= GUARDIAN_GRACE_S:
                await asyncio.to_thread(self._end_without_guardian)

    def _end_without_guardian(self) -> None:
        for pid in self._host.tree(self._guardian.pid)[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._guardian.kill()

    async def _listen(self, status: asyncio.StreamReader) -> None:
        try:
            while line := await status.readline():
                word, *numbers = line.decode().split()
                if word == "pid":
                    pid = int(numbers[0])
                    self.identity = self._host.identity(pid) or ProcessIdentity(pid, "gone")
                    self.identified.set()
                elif word == "exit":
                    self.exit_code = int(numbers[0])
                elif word == "memory":
                    self.beyond = Beyond(int(numbers[0]), int(numbers[1]))
            await asyncio.shield(asyncio.to_thread(self._guardian.wait))
        except asyncio.CancelledError:
            self.kill()
            await asyncio.shield(asyncio.to_thread(self._wait_for_guardian))
            raise
        finally:
            if self.exit_code is None:  # the guardian was killed, or we closed its pipe of life
                self.exit_code = -signal.SIGKILL
            self.kill()
            if self._guardian.stdin is not None:
                self._guardian.stdin.close()
            self.gone.set()

    def _wait_for_guardian(self) -> None:
        """Nobody looks after it any more: one that is held is left to itself after the grace."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guardian.wait(GUARDIAN_GRACE_S)


def _write_all(pipe: IO[bytes], raw: bytes) -> bool:
    """Blocking: a pipe holds less than a long configuration."""
    try:
        with pipe:
            pipe.write(raw)
    except (BrokenPipeError, ValueError):  # nobody reads any more; closed before
        return False
    return True


def _command(plan: LaunchPlan | StandbyPlan, life: int, status: int, nice: int) -> list[str]:
    guardian = str(Path(roost.host.guardian.__file__))
    return [sys.executable, "-I", "-S", guardian, str(life), str(status), str(nice), "--", *plan.argv]


def _start(plan: LaunchPlan | StandbyPlan, nice: int) -> tuple[subprocess.Popen[bytes], int, int]:
    """Blocking: runs in a thread. Returns the guardian, our end of the pipe of life, our end of its words."""
    waits = isinstance(plan, StandbyPlan)
    told = None if isinstance(plan, StandbyPlan) else plan.stdin
    life_read, life_write = os.pipe()
    status_read, status_write = os.pipe()
    os.set_blocking(life_write, False)  # whoever does not read does not hold the daemon
    try:
        popen = subprocess.Popen(
            _command(plan, life_read, status_write, nice),
            stdin=subprocess.PIPE if waits or told is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(plan.env),
            cwd=plan.cwd,
            pass_fds=(life_read, status_write),
            start_new_session=True,
        )
    except OSError as error:
        os.close(life_write)
        os.close(status_read)
        raise StartFailed(f"cannot start {plan.argv[0]}: {error.strerror}") from error
    finally:
        os.close(life_read)
        os.close(status_write)
    if popen.stdin is not None and told is not None:
        _write_all(popen.stdin, told)
    return popen, life_write, status_read


async def reader_of(descriptor: int) -> asyncio.StreamReader:
    """An asyncio reader over a pipe's read end, which it then owns."""
    reader = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


async def drain(descriptor: int, feed: Callable[[bytes], None]) -> None:
    """Gives each chunk of output to `feed` until every holder of the pipe's write end is gone."""
    reader = await reader_of(descriptor)
    while chunk := await reader.read(65536):
        feed(chunk)


async def spawn(
    plan: LaunchPlan | StandbyPlan, host: Host, *, high_priority: bool
) -> tuple[WorkerProcess, asyncio.StreamReader, int]:
    """Starts the worker, or a spare whose standard input stays open; returns it with its guardian's status stream and
    the descriptor of its output.

    Raises StartFailed. No thread matters afterwards: the worker's kernel-level parent is the guardian's only thread.
    """
    popen, life, status = await asyncio.to_thread(_start, plan, HIGH_PRIORITY_NICE if high_priority else 0)
    process = WorkerProcess(popen, life, host)
    assert popen.stdout is not None
    output = os.dup(popen.stdout.fileno())
    popen.stdout.close()
    return process, await reader_of(status), output


class Attended:
    """A process, and the one who listens to its output and to its guardian for as long as it lives. A spare's output
    goes to another log once it is a worker: `feed` may be changed."""

    def __init__(
        self, process: WorkerProcess, status: asyncio.StreamReader, output: int, feed: Callable[[bytes], None]
    ) -> None:
        self.process = process
        self.feed = feed
        #: Set when nothing of it is left, its last words included.
        self.over = asyncio.Event()
        self._status = status
        self._output = output
        self._begun = False

    async def attend(self) -> None:
        """Returns when it is over. The first caller listens; cancelling that one ends the process."""
        if self._begun:
            await self.over.wait()
            return
        self._begun = True
        try:
            async with asyncio.TaskGroup() as group:
                draining = group.create_task(drain(self._output, lambda chunk: self.feed(chunk)))
                group.create_task(self.process.watch(self._status))
                await self.process.gone.wait()
                # What it said last is the reason of its end; something it detached may hold the pipe for ever.
                await asyncio.wait([draining], timeout=1.0)
                draining.cancel()
        finally:
            self.process.kill()
            self.over.set()
