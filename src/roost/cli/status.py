"""`roost status`: everything about the running daemon on one screen."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from roost.cli.doors import ask_daemon
from roost.cli.output import paint_for, say_all, say_json
from roost.cli.status_text import status_lines

if TYPE_CHECKING:
    from roost.api import StatusReport
    from roost.client import DaemonClient

JSON_HELP = "Print one JSON document instead."


def status(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Show problems and their mends, what is resident and how it was proven, roles, requests.

    \b
    Examples:
      roost status
      roost status --json | jq -r '.roles[] | "\\(.role) \\(.resolves_to)"'
    """

    async def call(client: DaemonClient) -> StatusReport:
        return await client.status()

    report = ask_daemon(call)
    if as_json:
        say_json(report)
    else:
        say_all(status_lines(report, time.time(), paint_for(sys.stdout)))
