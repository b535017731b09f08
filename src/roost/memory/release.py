"""Whether a worker's memory really came back after its end: until then nobody else may have it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Of the footprint, so much must be seen to be available again; the rest is noise of others.
RETURNED_SHARE = 0.9
#: Metal gives back within a third of a second, CUDA within five.
LONGEST_WAIT_S = 10.0


class Release(StrEnum):
    DONE = "done"
    WAIT = "wait"
    #: It did not come back: loading anything now may take the machine down. Some drivers keep it until a restart.
    HALT = "halt"


@dataclass(frozen=True)
class Sight:
    """What was seen before the end and now."""

    process_gone: bool
    #: What the worker's whole group of processes still has.
    group_bytes: int
    footprint_bytes: int
    available_before: int
    available_now: int
    gpu_footprint_bytes: int = 0
    gpu_free_before: int = 0
    gpu_free_now: int = 0


def judge(sight: Sight, waited_s: float) -> Release:
    """Host memory: the group has nothing left, or as much became available; and the GPU's came back as well."""
    if sight.process_gone and _host_returned(sight) and _gpu_returned(sight):
        return Release.DONE
    return Release.WAIT if waited_s < LONGEST_WAIT_S else Release.HALT


def _host_returned(sight: Sight) -> bool:
    risen = sight.available_now - sight.available_before
    return sight.group_bytes == 0 or risen >= RETURNED_SHARE * sight.footprint_bytes


def _gpu_returned(sight: Sight) -> bool:
    return sight.gpu_free_now - sight.gpu_free_before >= RETURNED_SHARE * sight.gpu_footprint_bytes
