"""`roost up --detach`: the same program again in the background, watched until it is ready or has failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from roost.cli.announce import ConsoleAnnouncer, replay
from roost.cli.failure import DONE, FAILED
from roost.cli.output import note
from roost.config.paths import Paths

STOP_TIMEOUT_S = 10.0
#: The events of a start that end the waiting.
READY, PROBLEM = "ready", "problem"

#: -P: a module of the same name in the current folder must not be taken for ours.
OURSELVES = (sys.executable, "-P", "-m", "roost.cli.main", "up")


def start_detached(
    flags: Sequence[str], paths: Paths, console: ConsoleAnnouncer, program: Sequence[str] = OURSELVES
) -> int:
    """Start the daemon in a session of its own and wait for its word; returns the exit code.

    Ctrl-C while waiting stops it again: nobody is left with a daemon that they gave up on.
    """
    read_end, write_end = os.pipe()
    log_path = paths.logs / "daemon.log"
    with os.fdopen(read_end, encoding="utf-8") as events:
        process = _spawn([*program, *flags, "--announce-fd", str(write_end)], log_path, write_end)
        os.close(write_end)
        try:
            word = _watch(events, console)
        except KeyboardInterrupt:
            _stop(process)
            raise
    if word is not None:
        state = "" if word == READY else ' without a default that can answer; "roost status" says why'
        note(f'  roost runs in the background (pid {process.pid}){state}; "roost down" stops it; log: {log_path}')
        return DONE if word == READY else FAILED
    code = process.wait()
    note(f"roost did not start (exit code {code}); log: {log_path}")
    return code or FAILED


def _spawn(command: Sequence[str], log_path: Path, write_end: int) -> subprocess.Popen[bytes]:
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(write_end,),
        )
    finally:
        os.close(log)


def _watch(events: TextIO, console: ConsoleAnnouncer) -> str | None:
    """Replay up to the word that ends the waiting; None when its end of the pipe closed before that.

    A problem ends it too: the daemon goes on, but only a person can mend what keeps the default from answering.
    """
    for line in events:
        event = json.loads(line)
        word = str(event["event"])
        replay(event, console)
        if word in (READY, PROBLEM):
            return word
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
