"""What one start needs, device by device: the estimate, and the margin that is put on it, apart."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from roost.memory.footprint import Footprint, TermName, Where
from roost.memory.types import LoadShape, Placement

#: On a measured peak, on the engine's own account, on a formula.
MEASURED_MARGIN, DRY_RUN_MARGIN, FORMULA_MARGIN = 0.03, 0.05, 0.10
#: Besides, for a formula: at least this, or this share of the budget.
_FORMULA_LEAST_BYTES, _FORMULA_BUDGET_SHARE = 512 * 2**20, 0.10


class Basis(StrEnum):
    """What a need rests on, the best first."""

    MEASURED = "measured peak"
    DRY_RUN = "dry run"
    FORMULA = "formula"
    DECLARED = "declared size"


@dataclass(frozen=True)
class Amount:
    """Bytes on one side, host or GPU."""

    estimate_bytes: int = 0
    margin_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.estimate_bytes + self.margin_bytes


@dataclass(frozen=True)
class Need:
    basis: Basis
    host: Amount
    #: On GPUs with memory of their own, all of them together.
    gpu: Amount = Amount()
    #: Of `host`, what a GPU that shares the host's memory holds: the wired limit binds it.
    shared_bytes: int = 0
    #: Of `gpu`, what each GPU takes for itself, however many there are: the driver's context and buffers.
    each_gpu_bytes: int = 0
    #: The least that can be given to one GPU or another: a layer.
    granule_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.host.total_bytes + self.gpu.total_bytes


@dataclass(frozen=True)
class Peak:
    """The most that this start was seen to take, and how much of its KV it had filled then."""

    host_bytes: int
    gpu_bytes: int = 0
    #: Runs that ended without a kill, since the sizes are what they are now.
    clean_runs: int = 0
    #: From 0 to 1.
    fill: float = 1.0


#: A peak counts once so many runs agree that it was one.
CLEAN_RUNS = 3


def need_of(footprint: Footprint, shape: LoadShape, budget_bytes: int, layers: int | None, peak: Peak | None) -> Need:
    """A measured peak where there is one, else the engine's own account, else the formula.

    `budget_bytes`: the host's limit, of which a formula keeps a share free.
    """
    if peak is not None and peak.clean_runs >= CLEAN_RUNS:
        basis, host, gpu = Basis.MEASURED, _measured(footprint, Where.HOST, peak), _measured(footprint, Where.GPU, peak)
    else:
        basis = Basis.DRY_RUN if footprint.is_dry_run else Basis.FORMULA
        host = _estimated(footprint, Where.HOST, budget_bytes)
        gpu = _estimated(footprint, Where.GPU, 0)
    spread = footprint.of(TermName.WEIGHTS, TermName.KV) // max(layers or 1, 1)
    return Need(
        basis,
        host,
        gpu,
        shared_bytes=_shared(footprint, host) if shape.placement is Placement.UNIFIED else 0,
        each_gpu_bytes=_each(footprint) if gpu.total_bytes else 0,
        granule_bytes=spread if gpu.total_bytes else 0,
    )


def declared_need(size_bytes: int) -> Need:
    """Somebody's word: taken as it is."""
    return Need(Basis.DECLARED, Amount(size_bytes))


def _measured(footprint: Footprint, where: Where, peak: Peak) -> Amount:
    """What of the KV cache was not filled may still come."""
    seen = peak.host_bytes if where is Where.HOST else peak.gpu_bytes
    kv = sum(term.size_bytes for term in footprint.terms if term.where is where and term.name is TermName.KV)
    unfilled = round(kv * (1.0 - min(max(peak.fill, 0.0), 1.0)))
    return Amount(seen + unfilled, round(seen * MEASURED_MARGIN))


def _estimated(footprint: Footprint, where: Where, budget_bytes: int) -> Amount:
    estimate = footprint.on(where)
    if not estimate:
        return Amount()
    if footprint.is_dry_run:
        return Amount(estimate, round(footprint.estimated_on(where) * DRY_RUN_MARGIN))
    cushion = max(_FORMULA_LEAST_BYTES, round(budget_bytes * _FORMULA_BUDGET_SHARE))
    return Amount(estimate, round(footprint.estimated_on(where) * FORMULA_MARGIN) + cushion)


def _shared(footprint: Footprint, host: Amount) -> int:
    """Everything but the process itself and what only it reads."""
    own = footprint.of(TermName.BASE, TermName.PROMPT_CACHE, TermName.CHECKPOINTS)
    return max(host.total_bytes - own, 0)


def _each(footprint: Footprint) -> int:
    """The driver's context and the buffers of the computation are on every GPU."""
    return sum(
        term.size_bytes
        for term in footprint.terms
        if term.where is Where.GPU and term.name in (TermName.BASE, TermName.COMPUTE)
    )
