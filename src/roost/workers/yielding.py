"""The pool gives way: what a claim changes for the models that are loaded, and who went for it."""

from __future__ import annotations

from roost.workers.claim import Claim
from roost.workers.guard import Guarded
from roost.workers.lifecycle import STARTABLE


class Yielding(Guarded):
    """The guarded floor on a machine that somebody works at."""

    def claim(self, claim: Claim) -> None:
        """From now on, for those that are loaded too: running requests end as they would have."""
        self._claim = claim
        pinned = self._world.settings().residency.pinned
        for station in self._stations.values():
            station.claim = claim.of_one(pinned=station.model_id in pinned)
        self._replan()

    @property
    def claimed(self) -> Claim:
        """What models may claim now."""
        return self._claim

    def gave_way(self) -> tuple[str, ...]:
        """Models that are away for a claim alone, and that nobody has asked for since."""
        return tuple(s.model_id for s in self._stations.values() if s.gave_way and s.state in STARTABLE)
