"""Which of a name's candidates may serve one request, in which order, and why: a pure function over how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from roost.config.far import CandidateSettings
from roost.config.places import Kind, Place


@dataclass(frozen=True)
class Ask:
    """What of a request matters for where it goes."""

    #: About; None: nobody has said, and no window is compared with it.
    prompt_tokens: int | None = None
    tools: bool = False
    images: bool = False
    #: Why it must not go to a cloud, for people; None: it may.
    private: str | None = None
    #: `x-roost-fallback: never`.
    first_only: bool = False
    #: Minutes since midnight, local time.
    minute: int = 0
    on_battery: bool = False


@dataclass(frozen=True)
class Standing:
    """How one candidate stands."""

    #: What would serve there; None: nothing.
    model_id: str | None = None
    #: Why nothing there can serve now, for people; None: something can.
    why_not: str | None = None
    #: In tokens; None: unknown.
    context_length: int | None = None
    #: None: unknown.
    capabilities: frozenset[str] | None = None
    #: The tool gate found it fit.
    verified: bool = False
    #: Requests that run and wait there.
    busy: int = 0


@dataclass(frozen=True)
class Option:
    """One candidate: as the settings write it, what that means, and how it stands."""

    conditions: CandidateSettings
    place: Place
    standing: Standing
    #: What its model must be able to do, one of them: `chat`, `embedding`; empty: nothing is asked.
    abilities: frozenset[str] = frozenset()
    #: What the role or class asks of its model, all of it.
    requires: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.conditions.to


class Against(StrEnum):
    """What speaks against a candidate."""

    #: The settings, the request's own wish, what its model can do: waiting changes nothing.
    RULE = "rule"
    WINDOW = "window"
    #: It is away, closed or full: later it may serve.
    STATE = "state"


@dataclass(frozen=True)
class Step:
    """What became of one candidate, and why."""

    label: str
    kind: Kind
    model_id: str | None
    against: Against | None
    reason: str


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    #: Those that may serve, the first one first: indexes of `steps`.
    order: tuple[int, ...] = field(default=())


def plan(options: Sequence[Option], ask: Ask, kept: str | None = None) -> Plan:
    """Every candidate in turn. `kept` is the one that the same conversation went to before: its caches are warm, so it
    comes first as long as it may serve, however many wait there; a cloud, which costs, never does so."""
    steps = tuple(_step(option, ask, is_kept=option.label == kept) for option in options)
    if ask.first_only:
        first = next((i for i, step in enumerate(steps) if step.against in (None, Against.STATE)), None)
        return Plan(steps, () if first is None else (first,))
    order = [number for number, step in enumerate(steps) if step.against is None]
    warm = [number for number in order if steps[number].label == kept and steps[number].kind is not Kind.CLOUD]
    return Plan(steps, tuple(dict.fromkeys((*warm, *order))))


def _step(option: Option, ask: Ask, *, is_kept: bool) -> Step:
    against, reason = _against(option, ask, is_kept=is_kept and option.place.kind is not Kind.CLOUD)
    return Step(option.label, option.place.kind, option.standing.model_id, against, reason)


def _against(option: Option, ask: Ask, *, is_kept: bool) -> tuple[Against | None, str]:
    if option.place.kind is Kind.CLOUD and ask.private is not None:
        return Against.RULE, ask.private
    if (unmet := _unmet(option, ask)) is not None:
        return Against.RULE, unmet
    standing = option.standing
    if standing.why_not is not None:
        return Against.STATE, standing.why_not
    if (unable := _unable(option, ask)) is not None:
        return Against.RULE, unable
    if ask.prompt_tokens and standing.context_length and ask.prompt_tokens > standing.context_length:
        return Against.WINDOW, f"its window of {standing.context_length:,} tokens is too small"
    most = option.conditions.most_waiting
    if most is not None and standing.busy > most and not is_kept:
        return Against.STATE, f"{standing.busy} requests run or wait there, and most_waiting is {most}"
    return None, _for(option)


def _for(option: Option) -> str:
    busy = option.standing.busy
    return f"it may serve ({busy} running or waiting)" if busy else "it may serve"


def _unable(option: Option, ask: Ask) -> str | None:
    able = option.standing.capabilities
    if able is None:
        return None
    if option.abilities and not option.abilities & able:
        return f"its model cannot serve this route: it can do {', '.join(sorted(able)) or 'nothing that is known'}"
    if missing := [one for one in option.requires if one not in able]:
        return f"its model lacks {', '.join(missing)}, which is required"
    if ask.images and "vision" not in able:
        return "its model cannot see images"
    return None


def _unmet(option: Option, ask: Ask) -> str | None:
    """The first condition that does not hold, in words."""
    rule, tokens = option.conditions, ask.prompt_tokens or 0
    if rule.min_prompt_tokens is not None and tokens < rule.min_prompt_tokens:
        return f"about {tokens:,} prompt tokens, and min_prompt_tokens is {rule.min_prompt_tokens:,}"
    if rule.max_prompt_tokens is not None and tokens > rule.max_prompt_tokens:
        return f"about {tokens:,} prompt tokens, and max_prompt_tokens is {rule.max_prompt_tokens:,}"
    for word, wanted, have in (
        ("tools", rule.tools, ask.tools),
        ("images", rule.images, ask.images),
        ("on_battery", rule.on_battery, ask.on_battery),
    ):
        if wanted is not None and wanted is not have:
            return f"{word} is {_word(have)} here, and it wants {_word(wanted)}"
    if rule.verified and not option.standing.verified:
        return "its model is not verified for tools"
    if rule.between is not None and not _within(rule.between, ask.minute):
        return f"it is not between {rule.between}"
    return None


def _word(value: bool) -> str:
    return "true" if value else "false"


def _within(between: str, minute: int) -> bool:
    """Whether a minute of the day lies in `22:00-06:30`; the end is not part of it."""
    start, end = (int(time[:2]) * 60 + int(time[3:]) for time in between.split("-"))
    return start <= minute < end if start <= end else minute >= start or minute < end
