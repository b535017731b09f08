"""What a request body is changed by on its way to the model: settings in, member changes out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from roost.config.settings import ClampRule, FilterSettings, Knobs
from roost.gateway.splice import REMOVED

#: Every spelling of "how many tokens at most" that an engine reads.
CAP_FIELDS = ("max_tokens", "max_completion_tokens", "n_predict")
#: Of a model without a verdict that holds.
UNVERIFIED = "unverified"
_PENALTIES = ("frequency_penalty", "presence_penalty")


@dataclass(frozen=True)
class BodyPolicy:
    """The filters of one name and one model, settled once per settings value."""

    filters: tuple[FilterSettings, ...]
    generation_cap: int | None
    #: Penalties that hold when a request sets none.
    penalties: Mapping[str, float]
    #: How far tool calls are looked for: auto, off, marker, full.
    tools: str = "auto"
    #: The role that was asked for requires them.
    requires_tools: bool = False
    #: What becomes of a call of a tool that was not sent (leave, forward, reask), or with bad arguments (leave, reask).
    unknown_tool: str = "leave"
    bad_arguments: str = "leave"
    #: Whether a model that can thinks: auto, on, off; and for how many tokens.
    thinking: str = "auto"
    thinking_budget: int | None = None
    #: Arguments of the chat template: some engines let those of a request replace them.
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def settle(cls, filters: tuple[FilterSettings, ...], knobs: Knobs, *, requires_tools: bool = False) -> BodyPolicy:
        """From the knobs of the model and the filters of the model and of the name that was asked for."""
        values = {name: getattr(knobs, name) for name in _PENALTIES}
        penalties = {name: value for name, value in values.items() if value is not None}
        idle = FilterSettings()
        return cls(
            tuple(one for one in filters if one != idle),
            knobs.generation_cap,
            penalties,
            knobs.tools,
            requires_tools,
            knobs.unknown_tool,
            knobs.bad_arguments,
            knobs.thinking,
            knobs.thinking_budget,
            knobs.chat_template_args,
        )

    def by_verdict(self, tools: str | None) -> BodyPolicy:
        """With what the tool gate found to be needed, where the settings leave it open."""
        return replace(self, tools=tools) if tools and self.tools == "auto" else self


@dataclass(frozen=True)
class Filtered:
    """`changes` for `splice.apply`; `capped` is the text of `x-roost-capped`, None when no cap cut."""

    changes: dict[str, Any]
    capped: str | None = None


def filtered(values: Mapping[str, Any], policy: BodyPolicy, cap_field: str, generates: bool) -> Filtered:
    """The changes that the policy makes to a body with these members.

    `cap_field` is the engine's own name of the cap, used when the request names none; embeddings and rerank
    (`generates` False) take filters but neither cap nor penalties.
    """
    changes: dict[str, Any] = {}
    for one in policy.filters:
        _apply_filter(values, one, changes)
    if not generates:
        return Filtered(changes)
    for name, penalty in policy.penalties.items():
        if _current(values, changes, name) is None:
            changes[name] = penalty
    return Filtered(changes, _apply_cap(values, policy.generation_cap, cap_field, changes))


def _current(values: Mapping[str, Any], changes: Mapping[str, Any], key: str) -> Any:
    value = changes[key] if key in changes else values.get(key)
    return None if value is REMOVED else value


def _apply_filter(values: Mapping[str, Any], one: FilterSettings, changes: dict[str, Any]) -> None:
    for key in one.strip:
        if key != "model" and _has(values, changes, key):
            changes[key] = REMOVED
    for key, value in one.set.items():
        if key != "model":
            changes[key] = value
    for key, value in one.default.items():
        if key != "model" and not _has(values, changes, key):
            changes[key] = value
    for key, rule in one.clamp.items():
        _clamp(values, changes, key, rule)


def _has(values: Mapping[str, Any], changes: Mapping[str, Any], key: str) -> bool:
    return changes[key] is not REMOVED if key in changes else key in values


def _clamp(values: Mapping[str, Any], changes: dict[str, Any], key: str, rule: ClampRule) -> None:
    value = _current(values, changes, key)
    if key == "model" or isinstance(value, bool) or not isinstance(value, int | float):
        return
    held: float = value
    if rule.min is not None and held < rule.min:
        held = rule.min
    if rule.max is not None and held > rule.max:
        held = rule.max
    if held != value:
        whole = isinstance(value, int) and float(held).is_integer()
        changes[key] = int(held) if whole else held


def _apply_cap(values: Mapping[str, Any], cap: int | None, cap_field: str, changes: dict[str, Any]) -> str | None:
    """Every field that asks for more than the cap (or, with a negative number, for no end) is held to it."""
    if cap is None:
        return None
    known = dict.fromkeys((*CAP_FIELDS, cap_field))
    asked = {key: value for key in known if (value := _current(values, changes, key)) is not None}
    # An engine that has a word of its own reads none of the others.
    if not asked or (cap_field not in CAP_FIELDS and cap_field not in asked):
        changes[cap_field] = cap
        return f"{cap_field}={cap}"
    cut = [key for key, value in asked.items() if value < 0 or value > cap]
    changes.update(dict.fromkeys(cut, cap))
    return f"{cut[0]}={cap}" if cut else None
