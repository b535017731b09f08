"""Groups as the two numbers that roost has: how many models stay loaded, and which of them no swap evicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from roost.config.llama_swap.types import Table, refuse


@dataclass(frozen=True)
class Group:
    name: str
    members: tuple[str, ...]
    swap: bool
    exclusive: bool
    persistent: bool

    @property
    def places(self) -> int:
        """How many of them run at once."""
        return 1 if self.swap else len(self.members)


def groups_of(table: Table, model_ids: Iterable[str]) -> list[Group]:
    """Raises BadConfiguration for a member that is no model, or that is in two groups."""
    known, owner = set(model_ids), dict[str, str]()
    found = [_group(name, entry) for name, entry in table.each()]
    for group in found:
        for member in group.members:
            place = f"{table.at(group.name)}.members"
            if member not in known:
                raise refuse(place, f'there is no model "{member}"')
            if member in owner:
                raise refuse(place, f'the model "{member}" is in group "{owner[member]}" already')
            owner[member] = group.name
    return found


def _group(name: str, table: Table) -> Group:
    group = Group(
        name=name,
        members=tuple(table.texts("members")),
        swap=table.flag("swap", True),
        exclusive=table.flag("exclusive", True),
        persistent=table.flag("persistent", False),
    )
    table.tell_the_rest({})
    return group


def residency(groups: list[Group], beside: Iterable[str], ungrouped: bool, table: Table) -> dict[str, Any]:
    """`[residency]`. `beside`: models that take no place in roost (embedding and rerank servers)."""
    free = frozenset(beside)
    counted = [_counted(group, free) for group in groups]
    apart = [group for group in counted if group.persistent or not group.exclusive]
    together = [group.places for group in counted if group not in apart] + ([1] if ungrouped else [])
    places = max(together, default=0) + sum(group.places for group in apart)
    pinned = [member for group in counted if group.persistent for member in group.members]
    for group in groups:
        table.notes.add(
            table.at(group.name),
            f"roost counts residents instead of groups: any {max(places, 1)} chat models may be loaded at once "
            "(residency.max_resident), whatever group they are in",
        )
    return {**({"max_resident": places} if places > 1 else {}), **({"pinned": pinned} if pinned else {})}


def _counted(group: Group, free: frozenset[str]) -> Group:
    members = tuple(member for member in group.members if member not in free)
    return Group(group.name, members, group.swap and len(members) > 0, group.exclusive, group.persistent)
