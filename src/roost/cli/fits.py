"""What every model of the list would need and when it fits, by formula: asking each engine would take minutes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.cli import format as people
from roost.cli.doors import Here
from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog
    from roost.cli.sizes import Asker
    from roost.config.settings import Settings
    from roost.memory.plan import Plan

HEADER = ("ID", "NEEDS", "TIER", "NOW", "CONTEXT", "AT ONCE", "BASIS")


@dataclass(frozen=True)
class FitRow:
    """One model as `models list --fit --json` shows it."""

    id: str
    need_bytes: int | None
    tier: str
    #: `fits`, `fits smaller`, `does not fit`, `alone`; None: nobody can say, and `reason` tells why.
    now: str | None
    context: int | None
    concurrency: int | None
    basis: str | None
    reason: str | None


def fit_rows(
    place: Here, settings: Settings, catalog: Catalog, found: Iterable[ModelSpec | UnavailableModel]
) -> list[FitRow]:
    from roost.cli.sizes import asker

    ask = asker(place, settings, catalog)
    return [_row(model, ask) for model in found]


def _row(model: ModelSpec | UnavailableModel, ask: Asker) -> FitRow:
    if isinstance(model, UnavailableModel):
        return FitRow(model.id, None, "unknown", None, None, None, None, f"unavailable: {model.reason}")
    try:
        plan = plan_by_formula(model, ask)
    except RoostError as error:  # no engine serves it, or its knobs contradict each other
        return FitRow(model.id, None, "unknown", None, None, None, None, error.message)
    return row_of(plan)


def plan_by_formula(spec: ModelSpec, ask: Asker) -> Plan:
    """Raises BadConfiguration or Unavailable."""
    from roost.memory.plan import plan

    return plan(ask.question(spec), ask.machine, ask.settings.memory)


def row_of(plan: Plan) -> FitRow:
    from roost.cli.plan_text import word
    from roost.memory.admission import AdmitAlone, Refuse

    shape, need, verdict = plan.shape, plan.need, plan.verdict
    return FitRow(
        id=plan.question.spec.id,
        need_bytes=need.total_bytes if need else None,
        tier=plan.standing.tier.value,
        now=word(verdict),
        context=shape.context if shape else None,
        concurrency=shape.sequences if shape else None,
        basis=need.basis.value if need else None,
        reason=verdict.reason if isinstance(verdict, Refuse | AdmitAlone) else None,
    )


def fit_table(rows: Iterable[FitRow]) -> list[str]:
    """One line a model; where nothing is known the reason stands in place of the basis."""
    return people.columns(
        [
            HEADER,
            *(
                (
                    row.id,
                    people.NOTHING if row.need_bytes is None else people.gib(row.need_bytes),
                    row.tier,
                    row.now or people.NOTHING,
                    people.count(row.context),
                    people.count(row.concurrency),
                    row.basis or row.reason or people.NOTHING,
                )
                for row in rows
            ),
        ]
    )


def memory_lines(place: Here, settings: Settings, catalog: Catalog, spec: ModelSpec) -> list[str]:
    """The part of a plan that `models show` tells, in the form of its other lines."""
    from roost.cli import plan_text
    from roost.cli.sizes import asker

    try:
        ask = asker(place, settings, catalog)
        plan = plan_by_formula(spec, ask)
    except RoostError as error:
        return people.indented("memory", [f"not known: {error.message}"], 13)
    told = list(plan_text.lines(plan, ask.machine))
    return [*told[1:], *people.indented("", [f'by formula; "roost plan {spec.id}" asks the engine itself'], 13)]
