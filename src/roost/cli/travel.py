"""`roost models pull` and `push`: weights from and to a paired machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roost.api import NodesReport, TravelEvent
from roost.cli.announce import Bar
from roost.cli.arguments import not_empty
from roost.cli.doors import Here, ask_daemon, daemon_answers
from roost.cli.format import size
from roost.cli.output import note, say, say_json
from roost.cli.status import JSON_HELP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from roost.catalog.catalog import Catalog
    from roost.catalog.spec import ModelSpec
    from roost.client import DaemonClient

FarIdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Exact id of the model, as the machine that has it lists it.", callback=not_empty
    ),
]


def models_pull(
    model: FarIdArgument,
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="The paired machine; any that has it unless given.")
    ] = None,
    model_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Its id here, if that is taken.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Fetch a model from a paired machine; what is here already is not fetched again.

    Every file is checked by its digest. After a break the same command goes on where it stopped.

    \b
    Examples:
      roost models pull bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
      roost models pull my-model basement --id basement-model
    """
    last = _watched(lambda client: client.pull(model, node, model_id))
    _tell(last, as_json, "from", f"next: roost use coding {last.model}")


def models_push(
    model: Annotated[
        str, typer.Argument(metavar="ID", help='Exact id, as "roost models list" shows it.', callback=not_empty)
    ],
    node: Annotated[str, typer.Argument(metavar="NODE", help="The paired machine.", callback=not_empty)],
    model_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Its id there, if that is taken.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Send a model to a paired machine, which must take models from this one (nodes.accept_models there).

    What is there already is not sent again. After a break the same command goes on where it stopped.

    \b
    Example:
      roost models push my-model basement
    """
    last = _watched(lambda client: client.push(model, node, model_id))
    _tell(last, as_json, "to", f"next: roost ask -m {last.model}@{last.node} Hello")


def from_peer(place: Here, catalog: Catalog, what: str, model_id: str | None) -> ModelSpec | None:
    """A hub id that is not here, fetched from a paired machine; None: none has it, or it could not be had."""
    from roost.catalog.hub_choice import parse_hub_id
    from roost.client import RoostClientError

    here_already = any(one.id == what or one.id.startswith(f"{what}:") for one in catalog.all())
    if here_already or parse_hub_id(what) is None or Path(what).exists() or not daemon_answers(place.paths):
        return None
    try:
        node = _who_has(ask_daemon(lambda client: client.nodes(), place), what)
        if node is None:
            return None
        note(f"  {node} has it")
        last = _watched(lambda client: client.pull(what, node, model_id))
    except RoostClientError as error:
        note(f"  {error.message}; the hub is asked")
        return None
    catalog.refresh()
    return catalog.require(last.model)


def _who_has(report: NodesReport, model: str) -> str | None:
    having = (node for node in report.nodes if any(one.id == model for one in node.models))
    return next((node.name for node in having if node.link == "up" and node.address), None)


def _watched(travel: Callable[[DaemonClient], AsyncIterator[TravelEvent]]) -> TravelEvent:
    """Its last event; the others move a bar."""
    bar = Bar(sys.stderr)

    async def watch(client: DaemonClient) -> TravelEvent:
        last = None
        async for last in travel(client):
            if last.total_bytes:
                bar.show(f"{last.step} {last.model}", last.done_bytes, last.total_bytes)
        assert last is not None
        return last

    try:
        return ask_daemon(watch)
    finally:
        bar.close()


def _tell(last: TravelEvent, as_json: bool, way: str, following: str) -> None:
    if as_json:
        say_json(last)
        return
    if last.moved_bytes:
        say(f"{last.model}: {size(last.moved_bytes)} {way} {last.node}, checked")
    else:
        say(f"{last.model}: all of it was there already")
    note(f"  {following}")
