"""A power assertion: while it is held the machine does not fall asleep by itself. A program of the system holds it, and
lets go when roost does, however roost ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

#: How long the program may take over its end.
END_S = 2.0


def assertion_command(why: str) -> tuple[str, ...] | None:
    """Holds until its standard input ends (Linux), or this process does (macOS). None: nothing here can. It says
    nothing against a sleep that somebody asks for, or against a lid."""
    if sys.platform == "darwin":
        program = shutil.which("caffeinate")
        return (program, "-i", "-w", str(os.getpid())) if program else None
    program, cat = shutil.which("systemd-inhibit"), shutil.which("cat")
    if program is None or cat is None or not Path("/run/systemd/system").exists():
        return None
    return (program, "--what=idle", "--who=roost", f"--why={why}", "--mode=block", cat)


class Assertion:
    """One a daemon; belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        #: Why it is not held although it should be.
        self.problem: str | None = None

    @property
    def held(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def hold(self, command: Sequence[str]) -> None:
        """Starts the program; whether it was allowed to is told by `check`."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            self.problem = f"cannot start {command[0]}: {error.strerror}"

    def check(self) -> None:
        """A program that ended by itself was refused."""
        if self._process is not None and self._process.returncode is not None:
            self.problem = f"the system refused it (exit code {self._process.returncode})"
            self._process = None

    async def release(self) -> None:
        process, self._process, self.problem = self._process, None, None
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
