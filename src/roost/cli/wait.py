"""`roost wait`: until the default role can answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from roost.cli.doors import ask_daemon
from roost.cli.failure import NotThere
from roost.cli.output import say

if TYPE_CHECKING:
    from roost.api import StatusReport
    from roost.client import DaemonClient

POLL_S = 0.1
#: `roost up & roost wait` in a script: the daemon's socket may need so long to be there.
APPEAR_S = 3.0
#: A fresh daemon begins to load its default model within so long.
FIRST_LOAD_S = 5.0


def wait(
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Give up after so long.")] = 300.0,
) -> None:
    """Return once the default role can answer; exit code 1 if it cannot in time.

    \b
    Examples:
      roost up & roost wait && roost ask "What is 2+2?"
      roost wait --timeout 60
    """

    async def call(client: DaemonClient) -> None:
        await _until_listening(client, min(timeout, APPEAR_S))
        try:
            async with asyncio.timeout(timeout):
                await _until_healthy(client)
        except TimeoutError as error:
            raise NotThere(f'the default role cannot answer after {timeout:g} s; see "roost status"') from error

    ask_daemon(call)
    say("ready")


async def _until_listening(client: DaemonClient, patience_s: float) -> None:
    """Raises NoDaemon when nobody has come to listen after `patience_s`."""
    from roost.client import NoDaemon

    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            await client.health()
            return
        except NoDaemon:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(POLL_S)


async def _until_healthy(client: DaemonClient) -> None:
    """Raises NotThere when it never will be by itself."""
    while True:
        healthy = (await client.health())["http_status"] == 200
        status = await client.status()
        if healthy and answers_now(status, time.time()):
            return
        refuse_hopeless(status)
        await asyncio.sleep(POLL_S)


def answers_now(status: StatusReport, now: float) -> bool:
    """Whether the default role of a healthy daemon answers without a load that is under way or about to begin."""
    chat = [worker for worker in status.workers if worker.kind == "chat" and worker.state not in ("stopped", "parked")]
    own = [worker for worker in chat if worker.model == status.default_model]
    if own:
        return any(worker.state == "ready" for worker in own)
    if chat:
        # Another model is in its place: the rotation policy decides, and waiting changes nothing.
        return any(worker.state == "ready" for worker in chat)
    # Nothing is loaded: unloaded after its idle time and loaded on demand, unless the first load is still to come.
    return now - status.started_at >= FIRST_LOAD_S


def refuse_hopeless(status: StatusReport) -> None:
    """Raises NotThere once the default role's worker has been given up."""
    for worker in status.workers:
        if worker.model == status.default_model and worker.state == "failed":
            raise NotThere(f'{worker.model} has failed: {worker.problem or "no reason known"}; see "roost status"')
