"""Runs an engine's dry run: the one thing in this room that starts a process, and ends it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from roost.memory.types import DryRun, DryRunPlan

#: Headers of the largest models take seconds to read, imports of an MLX engine as long on a busy machine.
TIMEOUT_S = 60.0
#: A model of a hundred layers writes about 5 MB of debug messages.
OUTPUT_LIMIT_BYTES = 32 * 2**20
_CHUNK_BYTES = 2**16
#: How soon it is noticed that nobody wants the answer any more.
_STOP_LOOK_S = 0.1
#: How soon a process is gone that has closed its output.
_EXIT_S = 2.0
#: What a program's own mistakes end it with. SIGKILL is none of them: that comes from outside.
_CRASHES = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})


@dataclass(frozen=True)
class DryRunFailed:
    """The engine did not say it; formulas remain."""

    #: One sentence, with the last line of its output.
    reason: str
    #: It fell over its own assertions on these sizes: a start with them would too.
    crashed: bool = False


def ask(
    plan_for: Callable[[Path], DryRunPlan | None], timeout_s: float = TIMEOUT_S, stop: threading.Event | None = None
) -> DryRun | DryRunFailed:
    """Ask an engine in a process that holds no weights; it is killed as soon as it has answered. Blocks: use a thread.

    `plan_for`: the engine's `dry_run`, given a folder of its own that is removed afterwards. `stop`: set by another
    thread, it ends the question.
    """
    with tempfile.TemporaryDirectory(prefix="roost-ask-") as folder:
        plan = plan_for(Path(folder))
        if plan is None:
            return DryRunFailed("the engine cannot be asked here")
        return run(plan, timeout_s, stop)


def run(plan: DryRunPlan, timeout_s: float, stop: threading.Event | None = None) -> DryRun | DryRunFailed:
    """One plan, whose folder exists."""
    try:
        process = subprocess.Popen(
            plan.argv,
            env=dict(plan.env),
            cwd=plan.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return DryRunFailed(f"cannot start {plan.argv[0]}: {error.strerror}")
    try:
        _tell(process, plan.stdin)
        return _listen(process, plan, time.monotonic() + timeout_s, stop or threading.Event())
    finally:
        _end(process)


def _tell(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already and its output says why
        process.stdin.write(text)
        process.stdin.close()


def _listen(
    process: subprocess.Popen[bytes], plan: DryRunPlan, deadline: float, stop: threading.Event
) -> DryRun | DryRunFailed:
    assert process.stdout is not None
    output = bytearray()
    while len(output) < OUTPUT_LIMIT_BYTES:
        if stop.is_set():
            return DryRunFailed("nobody waits for its answer any more")
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return DryRunFailed(f"it did not answer in time{_last_line(output)}")
        ready, _, _ = select.select([process.stdout], [], [], min(left_s, _STOP_LOOK_S))
        if not ready:
            continue
        chunk = os.read(process.stdout.fileno(), _CHUNK_BYTES)
        output += chunk
        if told := plan.parse(output.decode("utf-8", "replace")):
            return told
        if not chunk:
            return _ended(process, output)
    return DryRunFailed(f"it wrote more than {OUTPUT_LIMIT_BYTES >> 20} MiB without an answer")


def _ended(process: subprocess.Popen[bytes], output: bytearray) -> DryRunFailed:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_EXIT_S)
    crashed = process.returncode is not None and -process.returncode in _CRASHES
    how = f"crashed ({signal.Signals(-process.returncode).name})" if crashed else "ended"
    return DryRunFailed(f"it {how} without an answer{_last_line(output)}", crashed)


def _last_line(output: bytearray) -> str:
    lines = output.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; its last line was: {last[:200]}" if last else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole group; what is left in the pipes goes with them."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.wait()
