"""Who may be loaded beside whom, as groups or combinations say, and who must go so that one more can be. Pure.

Both say it for a newcomer and those that are there: a member of an exclusive group pushes out a model that could have
been loaded after it. `residency.max_resident` is held here too, for every layout.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roost.config.combinations import BadExpression, Node, combinations, models_of, most_at_once, parse_sets
from roost.config.settings import GroupSettings, MatrixSettings, ResidencySettings


class BadLayout(ValueError):
    """Groups or sets that contradict themselves. `key` is the setting below `residency` that does."""

    def __init__(self, key: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.key = key


def anything(name: str) -> bool:
    """Every name is taken for a model's."""
    return True


class Layout(Protocol):
    """Models by their physical ids."""

    def names(self, model_id: str) -> bool:
        """Whether it is named: then the layout holds for it even if it is an embedding or rerank model."""
        ...

    def must_go(self, newcomer: str, present: Collection[str], fixed: Collection[str]) -> frozenset[str] | None:
        """Those present that cannot stay when it is loaded; None: one of `fixed` would have to go."""
        ...

    def keeps(self, present: str, newcomer: str) -> bool:
        """Whether a newcomer may not even push it out for its place."""
        ...

    def most(self, counted: Callable[[str], bool]) -> int | None:
        """Never more counted models at once; None: it sets no bound."""
        ...


@dataclass(frozen=True)
class Unlimited:
    """Neither groups nor sets: any models, as many as there are places."""

    def names(self, model_id: str) -> bool:
        return False

    def must_go(self, newcomer: str, present: Collection[str], fixed: Collection[str]) -> frozenset[str] | None:
        return frozenset()

    def keeps(self, present: str, newcomer: str) -> bool:
        return False

    def most(self, counted: Callable[[str], bool]) -> int | None:
        return None


#: The group of the models in no other; a table of this name may say how it is treated.
UNGROUPED = "(default)"
_SWAPPING = GroupSettings()


@dataclass(frozen=True)
class Grouped:
    groups: Mapping[str, GroupSettings]
    _group_of: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, groups: Mapping[str, GroupSettings]) -> Grouped:
        """Raises BadLayout when a model is in two groups, or twice in one."""
        group_of: dict[str, str] = {}
        for name, group in groups.items():
            for member in group.members:
                if member in group_of:
                    text = f'"{member}" is in group "{group_of[member]}" already; a model is in one group at most'
                    raise BadLayout(("groups", name, "members"), text)
                group_of[member] = name
        return cls(groups, group_of)

    def names(self, model_id: str) -> bool:
        return model_id in self._group_of

    def must_go(self, newcomer: str, present: Collection[str], fixed: Collection[str]) -> frozenset[str] | None:
        going = frozenset(one for one in present if self._pushes_out(newcomer, one))
        return None if going & set(fixed) else going

    def keeps(self, present: str, newcomer: str) -> bool:
        name = self._name(present)
        return self._settings(name).persistent and name != self._name(newcomer)

    def most(self, counted: Callable[[str], bool]) -> int | None:
        """One exclusive group at a time, and beside it those that it leaves alone or that leave it alone."""
        ungrouped = self._settings(UNGROUPED)
        if not ungrouped.swap:
            return None
        places = {name: self._places(group, counted) for name, group in self.groups.items()} | {UNGROUPED: 1}
        apart = {name for name in places if self._settings(name).persistent or not self._settings(name).exclusive}
        return max((places[name] for name in places if name not in apart), default=0) + sum(places[n] for n in apart)

    def _pushes_out(self, newcomer: str, present: str) -> bool:
        here, there = self._name(newcomer), self._name(present)
        if here == there:
            return self._settings(here).swap
        return self._settings(here).exclusive and not self._settings(there).persistent

    def _places(self, group: GroupSettings, counted: Callable[[str], bool]) -> int:
        members = sum(1 for member in group.members if counted(member))
        return min(members, 1) if group.swap else members

    def _name(self, model_id: str) -> str:
        return self._group_of.get(model_id, UNGROUPED)

    def _settings(self, name: str) -> GroupSettings:
        return self.groups.get(name, _SWAPPING)


@dataclass(frozen=True)
class Combined:
    sets: tuple[Node, ...]
    costs: Mapping[str, int]
    _named: frozenset[str] = field(repr=False)

    @classmethod
    def of(cls, matrix: MatrixSettings, known: Callable[[str], bool] = anything) -> Combined:
        """`known`: whether a name in a set that is no short one is a model's. Raises BadLayout."""

        def model_of(name: str) -> str | None:
            return matrix.vars.get(name) or (name if known(name) else None)

        if not matrix.sets:
            raise BadLayout(("matrix",), "there are no sets; write which models may be loaded together")
        try:
            sets = parse_sets(matrix.sets, model_of)
        except BadExpression as error:
            raise BadLayout(("matrix", "sets"), str(error)) from error
        costs = {}
        for name, cost in matrix.evict_costs.items():
            if (model_id := model_of(name)) is None:
                raise BadLayout(("matrix", "evict_costs"), f'there is no model "{name}"')
            costs[model_id] = cost
        return cls(sets, costs, frozenset().union(*(models_of(node) for node in sets)))

    def names(self, model_id: str) -> bool:
        return model_id in self._named

    def must_go(self, newcomer: str, present: Collection[str], fixed: Collection[str]) -> frozenset[str] | None:
        """Of all combinations with the newcomer the one that costs least; among equals the first that was written."""
        there = frozenset(present)
        if newcomer not in self._named:
            return None if there & set(fixed) else there
        best: frozenset[str] | None = None
        for combination in self._with(newcomer, there):
            going = there - combination
            if not going & set(fixed) and (best is None or self._cost(going) < self._cost(best)):
                best = going
        return best

    def keeps(self, present: str, newcomer: str) -> bool:
        return False

    def most(self, counted: Callable[[str], bool]) -> int | None:
        return max(1, *(most_at_once(node, counted) for node in self.sets))

    def _with(self, newcomer: str, present: frozenset[str]) -> Iterable[frozenset[str]]:
        relevant = present | {newcomer}
        return (found for node in self.sets for found in combinations(node, relevant) if newcomer in found)

    def _cost(self, going: frozenset[str]) -> int:
        return sum(self.costs.get(model_id, 1) for model_id in going)


def models_named(matrix: MatrixSettings) -> frozenset[str]:
    """Every model in the sets. Raises BadLayout."""
    return Combined.of(matrix)._named


def layout_of(residency: ResidencySettings, known: Callable[[str], bool] = anything) -> Layout:
    """Raises BadLayout; never for settings that were loaded. `known`: see `Combined.of`."""
    if residency.matrix is None:
        return Grouped.of(residency.groups) if residency.groups else Unlimited()
    if residency.groups:
        raise BadLayout(("matrix",), "there are groups too; keep one of the two")
    return Combined.of(residency.matrix, known)


def make_room(
    layout: Layout,
    newcomer: str,
    present: Sequence[str],
    fixed: Collection[str],
    counted: Callable[[str], bool],
    max_resident: int,
) -> frozenset[str] | None:
    """Those present that must go so that the newcomer can be loaded; None: somebody would have to who cannot.

    When a place is all that is missing, the first of `present` that may go goes.
    """
    going = layout.must_go(newcomer, present, fixed)
    if going is None or not counted(newcomer):
        return going
    staying = [one for one in present if one not in going]
    missing = sum(1 for one in staying if counted(one)) + 1 - max_resident
    if missing <= 0:
        return going
    movable = [one for one in staying if counted(one) and one not in fixed and not layout.keeps(one, newcomer)]
    return going | frozenset(movable[:missing]) if len(movable) >= missing else None


def together(
    wanted: Iterable[str], layout: Layout, counted: Callable[[str], bool], max_resident: int
) -> tuple[str, ...]:
    """Those of `wanted` that can be loaded one after the other without any of them going again, first come first."""
    found: list[str] = []
    for one in wanted:
        if one not in found and make_room(layout, one, found, (), counted, max_resident) == frozenset():
            found.append(one)
    return tuple(found)
