"""Where requests may go beyond this machine: classes of work, candidates, providers, machines that sleep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from roost.api import Problem
from roost.config.far import CandidateSettings
from roost.config.findings import Facts, did_you_mean, error, warning
from roost.config.places import Kind, Place, parse_place
from roost.config.schema import dotted
from roost.config.settings import Settings

#: Words of the queue in the same header.
_RESERVED = frozenset({"batch", "interactive"})


def check_routes(settings: Settings, facts: Facts) -> Iterator[Problem]:
    yield from _check_class_names(settings, facts)
    for name, own in settings.classes.items():
        yield from _check_rule(("classes", name), own.candidates, own.private, settings, facts)
    for role, wanted in settings.roles.items():
        yield from _check_rule(("roles", role), wanted.candidates, wanted.private, settings, facts)
    for name, wake in settings.nodes.wake.items():
        if (wake.mac is None) == (wake.command is None):
            yield error(f"{dotted(('nodes', 'wake', name))} needs either mac or command", "set one of both")


def _check_class_names(settings: Settings, facts: Facts) -> Iterator[Problem]:
    owners: Mapping[str, set[str]] = {
        "the id of a model": {*settings.models, *(facts.models or ())},
        "a role": set(facts.roles or ()) | set(settings.roles),
        "a word of the queue": set(_RESERVED),
        "a selector": set(settings.selectors),
    }
    for name in settings.classes:
        if taken := next((owner for owner, names in owners.items() if name in names), None):
            yield error(f'[{dotted(("classes", name))}]: "{name}" is {taken} already', "choose another name")


def _check_rule(
    key: tuple[str, str],
    candidates: tuple[CandidateSettings, ...],
    is_private: bool,
    settings: Settings,
    facts: Facts,
) -> Iterator[Problem]:
    label = dotted((*key, "candidates"))
    places: list[Place] = []
    for one in candidates:
        try:
            place = parse_place(one.to)
        except ValueError as problem:
            what, _, mend = str(problem).partition(": ")
            yield error(f"{label}: {what}", mend)
            continue
        places.append(place)
        yield from _check_place(label, place, settings, facts)
        low, high = one.min_prompt_tokens, one.max_prompt_tokens
        if low is not None and high is not None and low > high:
            yield error(
                f"{label}: {one.to} is for {low} tokens and more and for {high} and fewer: for none", "swap them"
            )
    if is_private and places and all(place.kind is Kind.CLOUD for place in places):
        yield error(f"{label}: it is private, and all its candidates are clouds: nobody serves it", "add local")


def _check_place(label: str, place: Place, settings: Settings, facts: Facts) -> Iterator[Problem]:
    if place.kind is Kind.CLOUD:
        cloud = settings.clouds.get(place.where)
        if cloud is None:
            mend = did_you_mean(place.where, settings.clouds) or f"write [{dotted(('clouds', place.where))}]"
            yield error(f'{label}: no provider is called "{place.where}"', mend)
        elif cloud.models and place.name not in cloud.models:
            near = did_you_mean(place.name or "", cloud.models)
            yield error(
                f'{label}: {dotted(("clouds", place.where))}.models does not name "{place.name}"',
                near or "add it there",
            )
    if place.kind is Kind.LOCAL and place.name and facts.models is not None and facts.roles is not None:
        known = {*facts.models, *settings.models, *facts.roles, *settings.selectors}
        known |= {alias for model in settings.models.values() for alias in model.aliases}
        if place.name not in known:
            mend = did_you_mean(place.name, known) or "roost models list"
            yield warning(f'{label}: no role or model is called "{place.name}" here', mend)
