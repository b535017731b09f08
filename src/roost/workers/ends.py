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
from roost.workers.process import WorkerProcess

STOP_COMMAND_TIMEOUT_S = 10.0
#: After SIGTERM; vllm-mlx needs some seconds to save its cache.
STOP_GRACE_S = 10.0
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


async def stop_gently(
    process: WorkerProcess, plan: LaunchPlan, feed: Callable[[bytes], None], now: asyncio.Event
) -> None:
    """Asks a worker to end by its own stop command and SIGTERM; returns when it is gone, the grace is over, or `now`
    is set."""
    if now.is_set():
        return
    async with asyncio.TaskGroup() as group:
        steps = [group.create_task(_ask_to_end(process, plan, feed)), group.create_task(now.wait())]
        await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        for step in steps:
            step.cancel()


async def _ask_to_end(process: WorkerProcess, plan: LaunchPlan, feed: Callable[[bytes], None]) -> None:
    if plan.stop_argv:
        await _run_stop_command(plan.stop_argv, process.pid, plan.env, feed)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_GRACE_S):
            # Told to stop in the first moments: a signal to a process that is not known yet would be lost.
            await process.identified.wait()
            process.terminate()
            await process.gone.wait()


async def _run_stop_command(
    argv: tuple[str, ...], pid: int | None, env: Mapping[str, str], feed: Callable[[bytes], None]
) -> None:
    """${PID} filled in; its output goes to the worker's log."""
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
        feed(f"{filled[0]} took longer than {STOP_COMMAND_TIMEOUT_S:g} s\n".encode())
    finally:
        # Also when there is no time left for it.
        if process.returncode is None:
            process.kill()
            await process.wait()
