"""Which roles a request can reach while the residents stay, under the rotation policy. Pure.

A registry may name more models than the policy ever lets in: then some roles answer nothing but 503.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass, field
from enum import StrEnum

from roost.api import Problem
from roost.config.layout import Layout, Unlimited, anything, layout_of, together
from roost.config.settings import ResidencySettings, RotationPolicy, RotationSettings
from roost.registry.resolve import all_roles, hidden_roles, split_node, target_of
from roost.registry.types import AUXILIARY_ROLES, Registry


class Cause(StrEnum):
    """Why a role can or cannot be reached."""

    RESIDENT = "resident"
    #: A place is free beside the residents.
    FREE_PLACE = "free-place"
    #: The policy lets it take a resident's place.
    SWAP = "swap"
    #: Embedding and rerank workers stand beside the residents.
    AUXILIARY = "auxiliary"
    #: The policy, or pinned residents, keep it out.
    ROTATION = "rotation"
    #: Neither it nor `default` has an entry.
    NO_ENTRY = "no-entry"
    UNKNOWN_MODEL = "unknown-model"
    OTHER_NODE = "other-node"


_REACHABLE = frozenset({Cause.RESIDENT, Cause.FREE_PLACE, Cause.SWAP, Cause.AUXILIARY})


@dataclass(frozen=True)
class RoleReach:
    """One role's prospects. `note` is for people and None when there is nothing to say."""

    role: str
    #: Physical id without `@node`; None when no entry gives one.
    model_id: str | None
    via_default: bool
    cause: Cause
    note: str | None = None

    @property
    def reachable(self) -> bool:
        return self.cause in _REACHABLE


@dataclass(frozen=True)
class Rotation:
    """Who is in, and who may come in."""

    policy: RotationPolicy
    min_idle_s: float
    max_resident: int
    #: Chat models that are loaded, or will be at start.
    residents: tuple[str, ...]
    pinned: frozenset[str] = frozenset()
    layout: Layout = field(default_factory=Unlimited)

    @classmethod
    def of(cls, rotation: RotationSettings, residency: ResidencySettings, residents: Collection[str]) -> Rotation:
        return cls(
            rotation.policy,
            rotation.min_idle_s,
            residency.max_resident,
            tuple(residents),
            frozenset(residency.pinned),
            layout_of(residency),
        )

    def going_for(self, model_id: str) -> tuple[tuple[str, ...], str] | None:
        """Who leaves for a model, and whether all of them (`and`) or one (`or`); None: only some who stay could."""
        forced = self.layout.must_go(model_id, self.residents, self.pinned)
        if forced is None:
            return None
        if forced or len(self.residents) < self.max_resident:
            return tuple(one for one in self.residents if one in forced), "and"
        movable = (one for one in self.residents if one not in self.pinned and not self.layout.keeps(one, model_id))
        found = tuple(movable)
        return (found, "or") if found else None


def expected_residents(registry: Registry, residency: ResidencySettings, known: Container[str]) -> tuple[str, ...]:
    """The chat models that a fresh start loads: the default role's, then `preload`, as far as there is room."""
    wanted: dict[str, None] = {}
    for name in ("default", *residency.preload):
        target = target_of(name, registry)[0] if name in all_roles(registry, known) else name
        model_id = split_node(target, known)[0] if target is not None else None
        if model_id is not None and model_id in known and name not in AUXILIARY_ROLES:
            wanted[model_id] = None
    return together(wanted, layout_of(residency), anything, residency.max_resident)


def reachability(
    registry: Registry, rotation: Rotation, known: Container[str], local_node: str
) -> tuple[RoleReach, ...]:
    """Every role that a request can mean, those that always exist first."""
    return tuple(_reach(role, registry, rotation, known, local_node) for role in all_roles(registry, known))


def rotation_problems(reaches: Collection[RoleReach]) -> tuple[Problem, ...]:
    """One warning for each role that the rotation policy keeps out, with the command that mends it."""
    return tuple(
        Problem(
            severity="warning",
            text=f"role {reach.role} cannot be reached: {reach.note}",
            mend=f"roost load {reach.model_id}",
        )
        for reach in reaches
        if reach.cause is Cause.ROTATION
    )


def hidden_role_problems(registry: Registry, known: Container[str]) -> tuple[Problem, ...]:
    """One warning for each entry that means nothing, because a model has its name."""
    return tuple(
        Problem(
            severity="warning",
            text=f"role {role} is named like a model: a request for {role} gets that model, never {target}",
            mend="give the role another name in the registry",
        )
        for role in hidden_roles(registry, known)
        if (target := registry.roles[role]) != role
    )


def _reach(role: str, registry: Registry, rotation: Rotation, known: Container[str], local_node: str) -> RoleReach:
    target, via_default = target_of(role, registry)
    if target is None:
        mend = role if role in AUXILIARY_ROLES else "default"
        return RoleReach(role, None, False, Cause.NO_ENTRY, f'no model is set; run "roost use {mend} ID"')
    model_id, node = split_node(target, known)
    cause, note = _cause(role, model_id, node, rotation, known, local_node)
    return RoleReach(role, model_id, via_default, cause, note)


def _cause(
    role: str, model_id: str, node: str | None, rotation: Rotation, known: Container[str], local_node: str
) -> tuple[Cause, str | None]:
    if node not in (None, local_node):
        return Cause.OTHER_NODE, f"it is on node {node}, which this node is not linked to"
    if model_id not in known:
        return Cause.UNKNOWN_MODEL, f'no node has {model_id}; run "roost models add {model_id}"'
    if role in AUXILIARY_ROLES:
        return Cause.AUXILIARY, None
    return _rotated(model_id, rotation)


def _rotated(model_id: str, rotation: Rotation) -> tuple[Cause, str | None]:
    """How a known chat model gets in; the wording of the note is the reason."""
    residents = rotation.residents
    if model_id in residents:
        return Cause.RESIDENT, None
    going = rotation.going_for(model_id)
    if going is not None and not going[0]:
        return Cause.FREE_PLACE, f"loaded on demand: {len(residents)} of {rotation.max_resident} places are taken"
    staying = ", ".join(residents)
    if rotation.policy is RotationPolicy.NEVER:
        return Cause.ROTATION, f'rotation.policy is "never" and {staying} is resident, so {model_id} never loads'
    if going is None:
        return Cause.ROTATION, f"{staying} is pinned and takes every place, so {model_id} never loads"
    when = f" once it has been idle for {rotation.min_idle_s:g} s" if rotation.policy is RotationPolicy.IDLE else ""
    names, joiner = going
    return Cause.SWAP, f"takes the place of {f' {joiner} '.join(names)}{when}"
