"""Knobs that contradict each other whatever the engine, at each of the three places where they may be set."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from roost.api import Problem
from roost.config.findings import Facts, did_you_mean, error, warning
from roost.config.schema import dotted
from roost.config.settings import Knobs, Settings

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Engines whose models each need a table of their own, so that no wider table can choose them.
_DECLARED_ENGINES = ("command", "external")


@dataclass(frozen=True)
class KnobRule:
    """A dependence between knobs. It is reported where one of `keys` is set."""

    keys: tuple[str, ...]
    broken: Callable[[Knobs], bool]
    text: str
    mend: str
    severity: Literal["error", "warning"] = "error"


KNOB_RULES = (
    KnobRule(
        ("prefix_sharing", "paged_cache"),
        lambda knobs: bool(knobs.prefix_sharing and not knobs.paged_cache),
        "prefix_sharing shares the blocks of a paged cache, and paged_cache is off",
        "set paged_cache = true or prefix_sharing = false",
    ),
    KnobRule(
        ("prefix_sharing", "prefix_cache"),
        lambda knobs: bool(knobs.prefix_sharing and not knobs.prefix_cache),
        "prefix_sharing shares cached prefixes, and prefix_cache is off",
        "set prefix_cache = true or prefix_sharing = false",
    ),
    KnobRule(
        ("prefix_cache_mb", "prefix_cache"),
        lambda knobs: "prefix_cache_mb" in knobs.model_fields_set and not knobs.prefix_cache,
        "prefix_cache_mb reserves memory for cached prefixes, and prefix_cache is off",
        "set prefix_cache = true or remove prefix_cache_mb",
        "warning",
    ),
    KnobRule(
        ("speculative_decoding", "draft_model"),
        lambda knobs: knobs.speculative_decoding and not knobs.draft_model,
        "speculative_decoding needs a draft model, and draft_model names none",
        'set draft_model = "ID" or speculative_decoding = false',
    ),
    KnobRule(
        ("draft_model", "speculative_decoding"),
        lambda knobs: bool(knobs.draft_model and not knobs.speculative_decoding),
        "draft_model is set and speculative_decoding is off: it is never used",
        "set speculative_decoding = true or remove draft_model",
        "warning",
    ),
    KnobRule(
        ("generation_cap", "context"),
        lambda knobs: bool(knobs.generation_cap and knobs.context and knobs.generation_cap >= knobs.context),
        "generation_cap is not below context: it never cuts a reply, the window ends first",
        "set generation_cap below context",
        "warning",
    ),
    KnobRule(
        ("completion_batch", "max_sequences"),
        lambda knobs: bool(knobs.completion_batch and knobs.completion_batch > knobs.max_sequences),
        "completion_batch is larger than max_sequences: the batch never fills",
        "raise max_sequences or lower completion_batch",
        "warning",
    ),
)


def check_knobs(settings: Settings, facts: Facts) -> Iterator[Problem]:
    """All three places: `[engine]`, `[engines.NAME]`, `[models."ID".engine]`."""
    yield from _check_scope("engine", settings.engine.model_fields_set, settings.engine, facts)
    if settings.engine.name in _DECLARED_ENGINES:
        yield error(
            f'engine.name = "{settings.engine.name}" cannot hold for every model',
            f'give each such model a table [models."ID".{settings.engine.name}]',
        )
    for name, own in settings.engines.items():
        yield from _check_engine_table(settings, name, own, facts)
    for model_id, model in settings.models.items():
        if model.engine:
            scope = dotted(("models", model_id, "engine"))
            yield from _check_scope(scope, model.engine, settings.knobs(model_id), facts)
            yield from _check_draft(scope, model_id, settings.knobs(model_id))
            if "standby" in model.engine:
                yield error(
                    f"{scope}.standby has no meaning: a spare waits for any model of its engine",
                    f"remove it, and set standby in [engines.NAME] for the engine of {model_id}",
                )


def _check_engine_table(settings: Settings, name: str, own: dict[str, object], facts: Facts) -> Iterator[Problem]:
    scope = dotted(("engines", name))
    if name not in facts.engines:
        yield error(
            f"[{scope}]: no engine is called that; there are {', '.join(facts.engines)}",
            did_you_mean(name, facts.engines),
        )
        return
    if "name" in own:
        yield error(f"{scope}.name has no meaning: the table holds for that engine", f"remove {scope}.name")
    yield from _check_scope(scope, set(own) - {"name"}, settings.knobs("", name), facts)


def _check_scope(scope: str, own: Collection[str], knobs: Knobs, facts: Facts) -> Iterator[Problem]:
    for rule in KNOB_RULES:
        if rule.broken(knobs) and set(rule.keys) & set(own):
            yield Problem(severity=rule.severity, text=f"[{scope}]: {rule.text}", mend=rule.mend)
    if "name" in own and knobs.name != "auto" and knobs.name not in facts.engines:
        yield error(
            f'{scope}.name: no engine is called "{knobs.name}"; there are auto, {", ".join(facts.engines)}',
            did_you_mean(knobs.name, facts.engines),
        )
    if "draft_model" in own and facts.models is not None and knobs.draft_model not in {None, *facts.models}:
        yield warning(
            f'{scope}.draft_model: no model is called "{knobs.draft_model}"',
            did_you_mean(str(knobs.draft_model), facts.models) or "roost models list",
        )
    if "env" in own:
        yield from _check_environment(scope, knobs)


def _check_environment(scope: str, knobs: Knobs) -> Iterator[Problem]:
    for name, value in knobs.env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            yield error(f'{scope}.env: "{name}" cannot be a variable', "use letters, digits and underscores")
        elif name.startswith("ROOST_"):
            yield error(f"{scope}.env: {name} is one of roost's own and never a worker's", f"remove {name}")


def _check_draft(scope: str, model_id: str, knobs: Knobs) -> Iterator[Problem]:
    if knobs.draft_model == model_id:
        yield error(f"{scope}.draft_model is the model itself", "name a much smaller model of the same family")
