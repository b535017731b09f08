"""How a start ends, in words and errors; and the ends of command workers that bring their own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping

from roost.engines.types import LaunchPlan, UrlEndpoint
from roost.errors import (
    BadConfiguration,
    InsufficientMemory,
    ModelLoadingTimeout,
    NodeUnreachable,
    RoostError,
    Unavailable,
    WorkerFailed,
    WorkerOutOfMemory,
)

STOP_COMMAND_TIMEOUT_S = 10.0
#: What engines say when memory runs out.
OUT_OF_MEMORY_MARKS = ("out of memory", "failed to allocate", "unable to allocate", "bad_alloc")


def exit_text(code: int) -> str:
    """`exited with code 1` or `was killed by SIGKILL`."""
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def load_failure(model_id: str, engine: str, code: int, last_line: str) -> RoostError:
    """An end that nobody asked for, before READY."""
    memory = any(mark in last_line.lower() for mark in OUT_OF_MEMORY_MARKS)
    kind = WorkerOutOfMemory if memory else WorkerFailed
    said = f"; its last line: {last_line}" if last_line else ""
    return kind(f'cannot load {model_id}: {engine} {exit_text(code)} while loading{said}; see "roost logs {model_id}"')


def load_timeout(model_id: str, engine: str, silent_s: float, deadline_s: float) -> ModelLoadingTimeout:
    """A load that does not move."""
    return ModelLoadingTimeout(
        f"cannot load {model_id}: {engine} showed no sign of life for {silent_s:.0f} s "
        f'(engine.load_deadline_s is {deadline_s:g}); see "roost logs {model_id}"',
        retry_after_s=5,
    )


def unreachable(model_id: str, plan: LaunchPlan | None, reason: str) -> NodeUnreachable:
    """A server that roost does not run, and that nobody answers for."""
    address = plan.endpoint.url if plan and isinstance(plan.endpoint, UrlEndpoint) else "its address"
    return NodeUnreachable(
        f"cannot reach {model_id} at {address}: {reason}; start that server, or correct its address in "
        f'[models."{model_id}".external]; roost goes on trying',
        retry_after_s=2,
    )


def mend_of(model_id: str, failure: RoostError, *, supervised: bool) -> str:
    """What repairs a worker that failed so; a server that runs elsewhere has no log here."""
    if isinstance(failure, InsufficientMemory):
        return f"roost plan {model_id}"
    if isinstance(failure, NodeUnreachable):
        return f'start that server, or correct [models."{model_id}".external]'
    return f"roost logs {model_id}" if supervised else f"roost restart {model_id}"


def as_unavailable(model_id: str, error: Exception) -> RoostError:
    """A start's failure as the error its waiters get."""
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, BadConfiguration):
        text = "; ".join((error.message, *error.problems))
        return WorkerFailed(f'cannot load {model_id}: {text}; run "roost config check"', should_retry=False)
    return WorkerFailed(f"cannot load {model_id}: {error}")


async def run_stop_command(
    argv: tuple[str, ...], pid: int | None, env: Mapping[str, str], feed: Callable[[bytes], None]
) -> None:
    """Runs a command worker's own stop command, ${PID} filled in; its output goes to the worker's log."""
    filled = [part.replace("${PID}", str(pid or "")) for part in argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *filled, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(env)
        )
    except OSError as error:
        feed(f"cannot run {filled[0]}: {error.strerror}\n".encode())
        return
    try:
        async with asyncio.timeout(STOP_COMMAND_TIMEOUT_S):
            output, _ = await process.communicate()
            feed(output)
    except TimeoutError:
        process.kill()
        await process.wait()
