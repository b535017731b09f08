"""The part of the seam that an engine has when its workers can be parked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from roost.engines.types import WorkerHttp, WorkerPlace


class ParkFailed(Exception):
    """The worker did not give its memory back; its text says why."""


@runtime_checkable
class Parks(Protocol):
    """An engine that can give a worker's memory back and take it again while its process stays. The others cannot."""

    @property
    def parked_bytes(self) -> int:
        """Private memory that a parked worker keeps at most: programs and libraries."""
        ...

    def can_park(self) -> bool: ...

    async def memory_settings(self, worker: WorkerHttp) -> Mapping[str, Any]:
        """What it says of the sizes that it holds: the same before it is parked and after. Raises ParkFailed."""
        ...

    async def park(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        """Returns once it says that it has given all back. Raises ParkFailed."""
        ...

    async def wake(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        """Tells it to load again: `health` says when it has. Raises ParkFailed."""
        ...
