"""`roost plan`: does a model fit here, and with which sizes. Needs no daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from roost.cli.doors import here, load_settings, open_catalog
from roost.cli.failure import FAILED
from roost.cli.models import IdArgument, JsonOption
from roost.cli.output import say_all, say_json
from roost.cli.use import find_model, reachable


def plan(
    model: IdArgument,
    context: Annotated[
        int | None,
        typer.Option("--context", metavar="N", min=256, help="Window in tokens; unset: as the settings say."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", metavar="M", min=1, max=256, help="Requests at once; unset: as the settings say."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a model takes here, whether it fits now, and the largest sizes that would; exit code 1 if not.

    Its engine is asked in a process that holds no weights; where it cannot be asked, formulas stand in and say so.

    \b
    Examples:
      roost plan SmolLM2-135M-Instruct-Q4_1
      roost plan my-model --context 32768 --concurrency 8 --json
    """
    from roost.cli import plan_text
    from roost.cli.sizes import asker
    from roost.memory.plan import plan as plan_of

    place = here()
    settings = load_settings(place).settings
    catalog = open_catalog(place, settings)
    spec = reachable(find_model(model, catalog.all()))
    ask = asker(place, settings, catalog)
    question = ask.question(spec, context=context, sequences=concurrency, ask=True)
    found = plan_of(question, ask.machine, settings.memory)
    if as_json:
        say_json(plan_text.values(found, ask.machine))
    else:
        say_all(plan_text.lines(found, ask.machine))
    if not found.starts:
        raise typer.Exit(FAILED)
