"""`roost down`, `restart`, `load`, `unload`: what changes the running daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from roost.cli.arguments import not_empty
from roost.cli.doors import ask_daemon
from roost.cli.failure import NotThere
from roost.cli.output import say
from roost.host.this import this_host

if TYPE_CHECKING:
    from roost.api import StatusReport, WorkerReport
    from roost.client import DaemonClient
    from roost.host.types import ProcessIdentity

POLL_S = 0.1
#: States of a worker from which waiting any longer leads nowhere.
GIVEN_UP = ("failed", "backoff")


def down() -> None:
    """Drain running requests, stop every worker and the daemon; returns when they are gone.

    \b
    Example:
      roost down
    """
    process = ask_daemon(_shut_down)
    while process is not None and this_host().identity(process.pid) == process:
        time.sleep(POLL_S)
    say("roost has stopped" + (f" (pid {process.pid})" if process else ""))


async def _shut_down(client: DaemonClient) -> ProcessIdentity | None:
    """Starts the drain; returns who drains, None when it has gone already."""
    process = this_host().identity((await client.status()).pid)
    await client.shutdown()
    return process


def restart(
    model: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only this model's worker.", callback=not_empty)
    ] = None,
) -> None:
    """Drain, stop and start workers again: all resident ones, or one model's.

    \b
    Examples:
      roost restart
      roost restart SmolLM2-135M-Instruct-Q4_1
    """

    async def call(client: DaemonClient) -> str:
        running = [worker.model for worker in (await client.status()).workers if worker.state == "ready"]
        accepted = await client.restart(model)
        return restarted(accepted.model if model else None, running)

    say(ask_daemon(call))


def restarted(model: str | None, running: Sequence[str]) -> str:
    """What a restart did, given who was READY before it."""
    if model is not None:
        return f"restarted {model}" if model in running else f"started {model}: it was not running"
    return f"restarted {', '.join(running)}" if running else "nothing was running: nothing was restarted"


def load(
    model: Annotated[str, typer.Argument(metavar="ID", help="Model to make resident.", callback=not_empty)],
) -> None:
    """Make a model resident now, whatever the rotation policy says; returns when it can answer.

    \b
    Example:
      roost load SmolLM2-135M-Instruct-Q4_1
    """

    async def call(client: DaemonClient) -> str:
        accepted = await client.load(model)
        await _until_ready(client, accepted.model)
        return accepted.model

    say(f"{ask_daemon(call)} is resident")


async def _until_ready(client: DaemonClient, model: str) -> None:
    while True:
        worker = _worker_of(await client.status(), model)
        if worker is not None and worker.state == "ready":
            return
        if worker is not None and worker.state in GIVEN_UP:
            reason = worker.problem or "its worker failed"
            raise NotThere(f'cannot load {model}: {reason}; see "roost logs {model}"')
        await asyncio.sleep(POLL_S)


def _worker_of(status: StatusReport, model: str) -> WorkerReport | None:
    return next((worker for worker in status.workers if worker.model == model), None)


def unload(model: Annotated[str, typer.Argument(metavar="ID", help="Model to stop.", callback=not_empty)]) -> None:
    """Drain a model's requests and stop its worker.

    \b
    Example:
      roost unload SmolLM2-135M-Instruct-Q4_1
    """

    async def call(client: DaemonClient) -> str:
        return (await client.unload(model)).model

    say(f"{ask_daemon(call)} is unloaded")
