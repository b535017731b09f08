"""`roost config …`: the settings in force, and whether they hold together."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from roost.cli.doors import Here, build_engines, here, load_settings, open_catalog
from roost.cli.failure import BAD_CONFIGURATION
from roost.cli.findings import findings
from roost.cli.format import columns
from roost.cli.models import JsonOption
from roost.cli.output import paint_for, say, say_all, say_json
from roost.cli.status_text import problem_lines
from roost.cli.use import find_model, reachable

if TYPE_CHECKING:
    from roost.engines.types import LaunchPlan, WorkerPlace


def config_show(
    as_json: JsonOption = False,
    engine_command: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the command that would serve this model instead.")
    ] = None,
) -> None:
    """Print each setting with its value and where it came from; secrets are not shown.

    \b
    Examples:
      roost config show
      roost config show --engine-command SmolLM2-135M-Instruct-Q4_1
    """
    place = here()
    if engine_command is not None:
        _show_command(place, engine_command, as_json)
        return
    rows = load_settings(place).rows()
    if as_json:
        say_json([{"key": row.key, "value": row.value, "origin": str(row.origin)} for row in rows])
    else:
        say_all(columns([("SETTING", "VALUE", "FROM"), *((row.key, row.value, str(row.origin)) for row in rows)]))


def _show_command(place: Here, model_id: str, as_json: bool) -> None:
    plan = plan_of(place, model_id)
    argv = plan.shown or plan.argv
    if as_json:
        say_json({"argv": argv, "environment_names": sorted(plan.env), "served_name": plan.served_name})
    else:
        say(shlex.join(argv) if argv else "no command: this model is served by a server that roost does not start")


def plan_of(place: Here, model_id: str) -> LaunchPlan:
    """What a start of this model would run. Raises ModelNotFound, ModelUnavailable, BadConfiguration, Unavailable."""
    from roost.config.settings import ModelSettings
    from roost.engines.table import choose_engine
    from roost.host.this import this_host

    settings = load_settings(place).settings
    catalog = open_catalog(place, settings)
    spec = reachable(find_model(model_id, catalog.all()))
    model = settings.models.get(spec.id, ModelSettings())
    apple = this_host().is_apple_silicon()
    engine = choose_engine(spec, settings.knobs(spec.id), build_engines(place, catalog), apple, model)
    return engine.launch(spec, settings.knobs(spec.id, engine.name), model, example_place(place))


def example_place(place: Here) -> WorkerPlace:
    """Stands for what each start makes anew: socket, home, port, key."""
    from roost.engines.types import WorkerPlace

    run = place.paths.run
    return WorkerPlace(socket_path=run / "WORKER.sock", home=run / "WORKER", port=0, key="made-at-each-start")


def config_check(as_json: JsonOption = False) -> None:
    """Check settings, registry and engines' knobs; exit code 78 if something cannot work.

    Names each role that no request can reach under the rotation policy, too.

    \b
    Example:
      roost config check
    """
    found = findings(here())
    if as_json:
        say_json(found)
    elif found:
        say_all(problem_lines(found, paint_for(sys.stdout)))
    else:
        say("settings, registry and engines' knobs hold together")
    if any(problem.severity == "error" for problem in found):
        raise typer.Exit(BAD_CONFIGURATION)
