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

import roost.host.guardian
from roost.engines.types import LaunchPlan
from roost.host.types import Host, ProcessIdentity

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

    def kill(self) -> None:
        """The end, for the whole tree: the guardian does it when the pipe of life closes."""
        if self._life is not None:
            os.close(self._life)
            self._life = None

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
                word, _, number = line.decode().strip().partition(" ")
                if word == "pid":
                    self.identity = self._host.identity(int(number)) or ProcessIdentity(int(number), "gone")
                    self.identified.set()
                elif word == "exit":
                    self.exit_code = int(number)
            await asyncio.shield(asyncio.to_thread(self._guardian.wait))
        finally:
            if self.exit_code is None:  # the guardian was killed, or we closed its pipe of life
                self.exit_code = -signal.SIGKILL
            self.kill()
            self.gone.set()


def _command(plan: LaunchPlan, life: int, status: int, nice: int) -> list[str]:
    guardian = str(Path(roost.host.guardian.__file__))
    return [sys.executable, "-I", "-S", guardian, str(life), str(status), str(nice), "--", *plan.argv]


def _start(plan: LaunchPlan, nice: int) -> tuple[subprocess.Popen[bytes], int, int]:
    """Blocking: runs in a thread. Returns the guardian, our end of the pipe of life, our end of its words."""
    life_read, life_write = os.pipe()
    status_read, status_write = os.pipe()
    try:
        popen = subprocess.Popen(
            _command(plan, life_read, status_write, nice),
            stdin=subprocess.PIPE if plan.stdin is not None else subprocess.DEVNULL,
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
    if popen.stdin is not None:
        with contextlib.suppress(BrokenPipeError), popen.stdin:
            popen.stdin.write(plan.stdin or b"")
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
    plan: LaunchPlan, host: Host, *, high_priority: bool
) -> tuple[WorkerProcess, asyncio.StreamReader, int]:
    """Starts the worker; returns it with its guardian's status stream and the descriptor of its output.

    Raises StartFailed. No thread matters afterwards: the worker's kernel-level parent is the guardian's only thread.
    """
    popen, life, status = await asyncio.to_thread(_start, plan, HIGH_PRIORITY_NICE if high_priority else 0)
    process = WorkerProcess(popen, life, host)
    assert popen.stdout is not None
    output = os.dup(popen.stdout.fileno())
    popen.stdout.close()
    return process, await reader_of(status), output
