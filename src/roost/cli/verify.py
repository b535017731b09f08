"""`roost models verify`: are these the bytes that were recorded, and can a client rely on the model's tool calls."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

import roost
from roost.cli import models_text, verify_text
from roost.cli.announce import Bar
from roost.cli.doors import Here, ask_daemon, daemon_answers, here, load_settings, open_catalog
from roost.cli.failure import FAILED
from roost.cli.models import IdArgument, JsonOption
from roost.cli.output import note, say_all, say_json
from roost.cli.use import basis_here, find_model, reachable
from roost.errors import Refused

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog
    from roost.catalog.spec import ModelSpec
    from roost.catalog.upkeep import VerifyReport
    from roost.client import DaemonClient
    from roost.store.verdicts import Verdict
    from roost.verify.run import Course
    from roost.verify.types import Result

#: Tokens of the longest question, unless somebody asks for more: a long window takes a small machine an hour.
LONGEST_TOKENS = 16_384


def models_verify(
    model: IdArgument,
    files_only: Annotated[bool, typer.Option("--files", help="Compare the digests and ask the model nothing.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A quarter of the battery, to look at; no verdict is kept.")
    ] = False,
    whole: Annotated[bool, typer.Option("--all", help="Go on when the verdict is known already.")] = False,
    longest: Annotated[
        int, typer.Option("--longest", metavar="N", min=2048, help="Tokens of context that are filled at most.")
    ] = LONGEST_TOKENS,
    as_json: JsonOption = False,
) -> None:
    """Hold a model's files against their digests, and its tool calls against a battery; exit code 1 if one fails.

    The battery asks the running roost as any client does, and loads the model first. What the engine makes of each
    question stands beside what clients get. Without a running roost only the files are read.

    \b
    Examples:
      roost models verify SmolLM2-135M-Instruct-Q4_1
      roost models verify my-model --quick
      roost models verify my-model --files --json
    """
    place = here()
    settings = load_settings(place).settings
    catalog = open_catalog(place, settings)
    spec = reachable(find_model(model, catalog.all()))
    files = _files(catalog, spec)
    if not as_json:
        say_all(models_text.verdict_lines(files))
    why_not = _why_not(place, spec, files, files_only=files_only)
    if why_not and not as_json:
        note(f"tools: not measured, {why_not}")
    verdict = None if why_not else _tools(place, catalog, spec, quick=quick, whole=whole, longest=longest)
    if as_json:
        shown = verdict.model_dump(mode="json") | {"kept": not quick} if verdict else None
        say_json({**asdict(files), "ok": files.ok, "tools": shown, "tools_note": why_not})
    elif verdict:
        say_all(verify_text.lines(verdict, kept=not quick))
    if not files.ok or (verdict and not verdict.passed):
        raise typer.Exit(FAILED)


def _files(catalog: Catalog, spec: ModelSpec) -> VerifyReport:
    bar = Bar(sys.stderr)
    try:
        return catalog.verify(spec.id, bar.show_step)
    finally:
        bar.close()


def _why_not(place: Here, spec: ModelSpec, files: VerifyReport, *, files_only: bool) -> str | None:
    """Why its tools are not measured; None: they are."""
    if files_only:
        return "--files was said"
    if not files.ok:
        return "its files are not what was recorded"
    if "chat" not in spec.capabilities:
        return "it answers no chat"
    return None if daemon_answers(place.paths) else 'no roost is running here; start it with "roost up"'


def _tools(place: Here, catalog: Catalog, spec: ModelSpec, *, quick: bool, whole: bool, longest: int) -> Verdict:
    """Raises Refused when the model changed under the battery."""
    from roost.store.verdicts import VerdictFile
    from roost.verify.run import Course

    settings = load_settings(place).settings
    before = basis_here(place, settings, catalog, spec)
    # A window of no known length is filled nowhere.
    window = settings.knobs(spec.id).context or spec.context_length
    most = min(window, longest) if window else None
    results = _results(place, spec, Course(quick, whole, most, "thinking" in spec.capabilities))
    if basis_here(place, load_settings(place).settings, catalog, spec) != before:
        raise Refused(f"cannot judge {spec.id}: its files, its engine or its settings changed meanwhile; try again")
    verdict = verdict_of(spec, before.model_dump(), results)
    if not quick:
        VerdictFile(place.paths.verdicts).keep(verdict)
    return verdict


def _results(place: Here, spec: ModelSpec, course: Course) -> list[Result]:
    from roost.verify.door import FrontDoor
    from roost.verify.run import run

    async def call(client: DaemonClient) -> list[Result]:
        note(f"loading {spec.id}")
        await client.load(spec.id)
        return await run(FrontDoor(client, spec.id), course, steps.show)

    steps = verify_text.Steps(sys.stderr)
    try:
        return ask_daemon(call, place)
    finally:
        steps.close()


def verdict_of(spec: ModelSpec, basis: dict[str, Any], results: list[Result]) -> Verdict:
    from roost.store.verdicts import Basis, Verdict
    from roost.verify.judge import judge

    found = judge(results)
    return Verdict(
        model=spec.id,
        basis=Basis(**basis),
        word=found.word,
        tools=found.tools,
        reasons=found.reasons,
        groups=tuple(verify_text.shares(results)),
        at=time.time(),
        version=roost.__version__,
    )
