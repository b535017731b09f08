"""The tables of selectors and profiles: names that mean one model now and another later."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from roost.api import Problem
from roost.config.findings import Facts, did_you_mean, error, warning
from roost.config.schema import dotted
from roost.config.settings import Settings


def check_redirects(settings: Settings, facts: Facts) -> Iterator[Problem]:
    aliases = {alias for model in settings.models.values() for alias in model.aliases}
    ids = {*settings.models, *(facts.models or ())}
    roles = set(facts.roles or ())
    for name, selector in settings.selectors.items():
        place = dotted(("selectors", name))
        if taken := _taken(name, {"the id of a model": ids, "an alias": aliases, "a role": roles}):
            yield error(f'[{place}]: "{name}" is {taken} already, and that one always wins', "choose another name")
        if not selector.targets:
            yield error(f"{place}.targets is empty, so it means nothing", "name at least one model")
        yield from _targets(f"{place}.targets", selector.targets, settings.selectors, ids | aliases, facts)
    yield from _check_profiles(settings, facts, ids, aliases, roles)
    if settings.profile and settings.profile not in settings.profiles:
        mend = did_you_mean(settings.profile, settings.profiles) or f"write [{dotted(('profiles', settings.profile))}]"
        yield error(f'profile = "{settings.profile}": there is no such profile', mend)


def _check_profiles(
    settings: Settings, facts: Facts, ids: set[str], aliases: set[str], roles: set[str]
) -> Iterator[Problem]:
    for profile, own in settings.profiles.items():
        for name, target in own.pins.items():
            place = dotted(("profiles", profile, "pins", name))
            if taken := _taken(name, {"the id of a model": ids, "a role": roles}):
                yield warning(f"{place}: this is {taken}, whose meaning no profile changes", "choose another name")
            if target and target not in settings.selectors:
                yield from _targets(place, (target,), (), ids | aliases, facts)


def _targets(
    place: str, targets: tuple[str, ...], selectors: Collection[str], known: set[str], facts: Facts
) -> Iterator[Problem]:
    for target in targets:
        if target in selectors:
            yield error(f'{place}: "{target}" is a selector, and one cannot choose another', "name models")
        elif facts.models is not None and target not in known:
            yield warning(f'{place}: no model is called "{target}"', did_you_mean(target, known) or "roost models list")


def _taken(name: str, owners: dict[str, set[str]]) -> str | None:
    return next((owner for owner, names in owners.items() if name in names), None)
