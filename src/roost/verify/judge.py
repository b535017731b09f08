"""From results to a verdict. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from roost.verify.interval import wilson
from roost.verify.types import Arm, Group, Outcome, Result, Tally, tally

Word = Literal["fit", "fit-with-repair", "unfit"]

#: Least share of right answers that clients must get; 1: every one.
THRESHOLDS: dict[Group, float] = {
    Group.SINGLE: 0.90,
    Group.CHOOSE: 0.85,
    Group.NO_TOOL: 0.90,
    Group.FIDELITY: 1.0,
    Group.STREAM: 1.0,
}
#: Of all rounds of all loops.
LEAST_ROUNDS = 0.98
#: The median loop holds beyond it.
ROUNDS = 40
#: From so many cases on, the interval's lower end is held against the threshold: fewer cannot show that much.
_MANY = 100
#: An engine that leaks more needs the layer.
_MOST_LEAKS = 0.01
#: Groups in which a leak of the engine is seen.
LEAKING = (Group.SINGLE, Group.CHOOSE, Group.PARALLEL, Group.NESTED)


@dataclass(frozen=True)
class Judgement:
    """`tools` is how far the layer must look for this model's calls: marker, or full for those without a marker."""

    word: Word
    tools: Literal["marker", "full"]
    #: What was not held, for people.
    reasons: tuple[str, ...]
    #: Whether every group ran; one that failed early ends it.
    complete: bool


def judge(results: Sequence[Result]) -> Judgement:
    """Of whatever ran: a threshold that was missed decides, whether the rest ran or not."""
    missing = [group for group in (*THRESHOLDS, Group.LOOP) if not tally(results, group, Arm.SERVED).count]
    reasons = tuple(shortfalls(results))
    tools: Literal["marker", "full"] = "full" if any(one.tier == "T2" for one in results) else "marker"
    if reasons:
        return Judgement("unfit", tools, reasons, complete=not missing)
    if missing:
        return Judgement("unfit", tools, tuple(f"{group} was not run" for group in missing), complete=False)
    return Judgement("fit-with-repair" if leaking(results) else "fit", tools, (), complete=True)


def leaking(results: Sequence[Result]) -> bool:
    """Whether the engine alone leaves calls in the text."""
    found = [one.outcome for one in results if one.arm is Arm.ENGINE and one.group in LEAKING]
    return bool(found) and found.count(Outcome.LEAKED) > _MOST_LEAKS * len(found)


def shortfalls(results: Sequence[Result]) -> Iterator[str]:
    """Each threshold that was missed by a group that ran."""
    for group, least in THRESHOLDS.items():
        served = tally(results, group, Arm.SERVED)
        if served.count and counted_share(served) < least:
            yield f"{group}: {served.passed} of {served.count} right, {least:.0%} needed"
    yield from _loop_shortfalls(results)


def counted_share(served: Tally) -> float:
    """What is held against a threshold."""
    return wilson(served.passed, served.count)[0] if served.count >= _MANY and served.share < 1 else served.share


def _loop_shortfalls(results: Sequence[Result]) -> Iterator[str]:
    rounds = [one for one in results if one.group is Group.LOOP and one.arm is Arm.SERVED]
    if not rounds:
        return
    valid = sum(one.outcome is Outcome.OK for one in rounds)
    if valid < LEAST_ROUNDS * len(rounds):
        yield f"loop: {valid} of {len(rounds)} rounds right, {LEAST_ROUNDS:.0%} needed"
    median = statistics.median(first_bad(rounds).values())
    if median <= ROUNDS:
        yield f"loop: the median loop breaks in round {median:g}, none of the first {ROUNDS} may"
    if repeated := sum(one.outcome is Outcome.REPEATED for one in rounds):
        yield f"loop: the same call for the third time, {repeated} times"


def first_bad(rounds: Sequence[Result]) -> dict[str, int]:
    """Round of the first wrong call by loop; one beyond the last where there is none. A loop shorter than `ROUNDS`
    that was right throughout counts as one that holds: it says no more."""
    loops: dict[str, int] = {}
    for one in rounds:
        loops.setdefault(one.case, ROUNDS + 1)
        if one.outcome is not Outcome.OK:
            loops[one.case] = min(loops[one.case], one.round)
    return loops
