"""Where the memory of a start lies, by what its engine computes on and what this machine has."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from roost.memory.types import LoadShape, Placement


class GpuMemory(StrEnum):
    """What a machine's GPUs hold weights in."""

    NONE = "none"
    #: Memory of their own.
    OWN = "own"
    #: The host's.
    SHARED = "shared"


def placed(shape: LoadShape, gpus: GpuMemory) -> LoadShape:
    """The shape with its placement. A native server that does not tell its device uses a GPU where there is one."""
    return replace(shape, placement=_placement(shape, gpus))


def _placement(shape: LoadShape, gpus: GpuMemory) -> Placement:
    if shape.device == "cpu" or shape.gpu_layers == 0:
        return Placement.HOST
    if shape.device == "metal":
        return Placement.UNIFIED
    return {GpuMemory.OWN: Placement.GPU, GpuMemory.SHARED: Placement.UNIFIED, GpuMemory.NONE: Placement.HOST}[gpus]
