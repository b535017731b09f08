"""The verdict on one start: the question about it, this machine as it is now, and the peaks that were seen before.

Pure. A peak never makes a need smaller than its footprint: how much of its caches a run had filled is not known. It
raises one that was too low at once, and is all that is known of a worker whose size nobody declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from roost.memory.admission import Admit, AdmitAlone, Refuse, Verdict, admit, admit_declared, verdict_on_unknown
from roost.memory.budget import GIB, HOST
from roost.memory.footprint import Footprint
from roost.memory.needs import MEASURED_MARGIN, Amount, Basis, Need, declared_need, need_of
from roost.memory.plan import Machine, Question
from roost.memory.sizing import undeclared_size
from roost.memory.types import Ignorance, LoadShape, Unknown

#: The most host bytes that a start of this shape (None: of no known shape) was seen to take; 0: never seen.
Peaks = Callable[[LoadShape | None], int]


def decide(question: Question, machine: Machine, peaks: Peaks, *, allow_clamp: bool) -> Verdict:
    """Whether it may start. Asking its engine first makes `question` surer: see `worth_asking`."""
    sizer = question.sizer
    asked = sizer.asked() if sizer else undeclared_size()
    if sizer is None or isinstance(asked, Unknown):
        assert isinstance(asked, Unknown)
        return _unsized(question, asked, machine, peaks(None))

    def needs(shape: LoadShape) -> Need | Unknown:
        footprint = sizer.at(shape)
        if not isinstance(footprint, Footprint):
            return footprint
        need = need_of(footprint, shape, machine.day[HOST].limit_bytes, question.spec.attention.layers, None)
        return raised(need, peaks(shape))

    return admit(sizer.shape, needs, machine.day, allow_clamp=allow_clamp)


def worth_asking(question: Question, verdict: Verdict) -> bool:
    """Whether the engine's own account could change the verdict: the formula refuses or cuts it, or knows nothing. An
    account takes a second or more, which a start that fits anyhow does not wait for."""
    return question.sizer is not None and question.sizer.told is None and not isinstance(verdict, Admit)


def raised(need: Need, peak_bytes: int) -> Need:
    """The need, unless more was seen on the host."""
    margin = round(peak_bytes * MEASURED_MARGIN)
    if peak_bytes + margin <= need.host.total_bytes:
        return need
    more = peak_bytes + margin - need.host.total_bytes
    shared = need.shared_bytes + more if need.shared_bytes else 0
    return replace(need, basis=Basis.MEASURED, host=Amount(peak_bytes, margin), shared_bytes=shared)


def _unsized(question: Question, unknown: Unknown, machine: Machine, peak_bytes: int) -> Verdict:
    """By somebody's word, by what was seen, or by nobody's. A worker of undeclared size that took more than there is
    now is not refused for that: nobody knows whether it must."""
    if question.declared_gb is not None:
        return admit_declared(raised(declared_need(round(question.declared_gb * GIB)), peak_bytes), machine.day)
    if peak_bytes and unknown.kind is Ignorance.UNDECLARED:
        seen = admit_declared(raised(declared_need(0), peak_bytes), machine.day)
        if isinstance(seen, Refuse):
            return AdmitAlone(f"it took {peak_bytes / GIB:.1f} GiB before: {seen.reason}", peak_bytes)
        return seen
    return verdict_on_unknown(unknown)
