"""Whether a soak was passed: a pure function from what was seen to one row a promise.

Every row says what it counted, so that a run that saw nothing of a kind does not pass for it: the rows about volume
fail when too little happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from tests.soak.record import Ending, Fact, Fault, Herd, Line, Record, Request, Rest

#: Late by more than this is hung.
GRACE_S = 5.0
#: What roost may take from a fault to the first good answer, beyond a load and another model's turn.
RECOVERY_S = 5.0
#: A line is written behind the answer: so long before a kill an answer may be without one.
LINE_S = 0.5
#: Lines of the log may be missing while they cannot be written.
_NO_LINES = frozenset({"kill daemon", "full disk"})
MB = 2**20
#: Kinds of requests that may leave on the way.
CONSUMED = frozenset({"stream", "whole", "leaving"})


@dataclass(frozen=True)
class Allowance:
    """What one kind of fault may cost. `per_slot`: at most as many errors as the worker could run requests."""

    codes: frozenset[str] = frozenset()
    per_slot: bool = False
    #: Connections may break, and be refused.
    transport: bool = False


def _allow(*codes: str, per_slot: bool = False, transport: bool = False) -> Allowance:
    return Allowance(frozenset(codes), per_slot, transport)


_LOST = _allow("upstream_disconnected", "upstream_crashed", per_slot=True)
ALLOWED: dict[str, Allowance] = {
    "kill worker": _LOST,
    "kill guardian": _LOST,
    # Who waits for a load that is killed is told at once.
    "kill loading": _allow("worker_failed"),
    "hold worker": _allow("upstream_stalled", per_slot=True),
    "pause worker": _allow(),
    # Who waits for a model that a person unloads is told; what runs longer than the drain is cut.
    "unload": _allow("model_not_resident", "upstream_disconnected"),
    "harmless settings": _allow(),
    "settings that restart": _allow(),
    "broken settings": _allow(),
    "a knob that cannot be": _allow("bad_configuration", "worker_failed"),
    "a command that fails": _allow("worker_failed"),
    "a model taken away": _allow("model_not_found"),
    "broken registry": _allow(),
    "registry by hand": _allow(),
    "registry by request": _allow(),
    # Nothing can be started that cannot be written down.
    "full disk": _allow("storage_full", "worker_failed"),
    "log flood": _allow(),
    "herd": _allow(),
    "kill daemon": _allow(transport=True),
    "stop": _allow("shutting_down", "upstream_disconnected", transport=True),
}


@dataclass(frozen=True)
class Row:
    """One promise: what was counted or measured, what was promised, whether it holds."""

    name: str
    holds: bool
    value: str
    promised: str
    #: The first few of what spoils it.
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """The least that must have happened for the rest to mean anything."""

    requests: int
    faults: int


def judge(record: Record, volume: Volume) -> tuple[Row, ...]:
    """Every row; the soak is passed when all of them hold."""
    return tuple(row for part in _PARTS for row in part(record, volume))


def passed(rows: Iterable[Row]) -> bool:
    return all(row.holds for row in rows)


def none_of(name: str, found: Iterable[str], of: int | None = None) -> Row:
    """A row that holds when nothing was found."""
    bad = tuple(found)
    among = "" if of is None else f" of {of}"
    return Row(name, not bad, f"{len(bad)}{among}", "0", bad[:5])


def at_most(name: str, value: float | None, limit: float, unit: str, of: int) -> Row:
    """A row for a number that may not be there."""
    shown = "nothing to measure" if value is None else f"{value:.3g} {unit} (of {of})"
    return Row(name, value is None or value <= limit, shown, f"<= {limit:.3g} {unit}")


# What happened at all.


def _volume(record: Record, volume: Volume) -> Iterator[Row]:
    kinds = Counter(request.kind for request in record.requests)
    seen = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    many = len(record.requests) >= volume.requests
    yield Row("requests", many, f"{len(record.requests)} ({seen})", f">= {volume.requests}")
    bad = Counter(fault.kind for fault in record.faults)
    seen = ", ".join(f"{count} {kind}" for kind, count in sorted(bad.items()))
    yield Row("faults", len(record.faults) >= volume.faults, f"{len(record.faults)} ({seen})", f">= {volume.faults}")
    consumed = [r for r in record.requests if r.kind in CONSUMED and r.ending is not Ending.REFUSED]
    left = sum(request.ending is Ending.LEFT for request in consumed) / max(1, len(consumed))
    yield Row("clients that left", left >= 0.03, f"{left:.1%}", ">= 3 %")
    swaps = sum(fact.fact == "drained" for fact in record.facts)
    yield Row("workers that gave place", swaps >= 3, str(swaps), ">= 3")
    whole = [request for request in record.requests if is_answer(request) and request.kind != "embedding"]
    marked = sum(bool(request.marks) for request in whole) / max(1, len(whole))
    yield Row("answers that show their model", marked >= 0.9, f"{marked:.1%} of {len(whole)}", ">= 90 %")


# Every request.


def is_answer(request: Request) -> bool:
    """It came, whole and without an error."""
    return request.ending is Ending.WHOLE and request.code is None and (request.status or 0) < 400


def _accounted(record: Record, volume: Volume) -> Iterator[Row]:
    requests = record.requests
    late = [shown(r) for r in requests if r.ending is Ending.LATE]
    yield none_of("requests that hung", late, len(requests))
    wrong = [f"{shown(r)}: {r.problem}" for r in requests if r.problem]
    yield none_of("answers cut short, invented, doubled or of another request", wrong, len(requests))
    unrefused = [f"{shown(r)} instead of {r.expects}" for r in requests if r.expects and is_answer(r)]
    expected = sum(bool(r.expects) for r in requests)
    yield none_of("requests not refused, or engines not found out, as they must be", unrefused, expected)


def _models(record: Record, volume: Volume) -> Iterator[Row]:
    answered = [r for r in record.requests if r.marks or r.names]
    yield none_of("answers of another model", (w for r in answered if (w := wrong_model(record, r))), len(answered))
    resolved = {line.id: line.resolved for line in record.lines}
    other = [
        f"{shown(r)}: logged {resolved[r.id]}, told {r.told}"
        for r in record.requests
        if r.told and r.id in resolved and resolved[r.id] != r.told
    ]
    yield none_of("answers under another name than the logged one", other, len(answered))


def wrong_model(record: Record, request: Request) -> str:
    """Why the answer is not of the model that was asked for; empty: it is."""
    meant = record.roles.get(request.asked, frozenset({request.asked}))
    if request.told not in meant:
        return f"{shown(request)}: {request.told} answered for {request.asked}"
    for what, said in (("named", request.names), ("spoke like", request.marks)):
        if said - {request.told}:
            return f"{shown(request)}: told {request.told}, {what} {', '.join(sorted(said))}"
    return ""


def _log_lines(record: Record, volume: Volume) -> Iterator[Row]:
    count = Counter(line.id for line in record.lines)
    known = {request.id for request in record.requests}
    bad = [f"{id}: {number} lines" for id, number in count.items() if number > 1]
    bad += [f"{id}: nobody asked" for id in count if id not in known]
    lost = [f for f in record.faults if f.kind in _NO_LINES]
    bad += [
        f"{shown(r)}: no line"
        for r in record.requests
        if r.begun and not count[r.id] and not any(map(_meets(r, LINE_S), lost))
    ]
    lines = {line.id: line for line in record.lines}
    bad += [said for r in record.requests if r.id in lines and (said := _disagreement(r, lines[r.id]))]
    yield none_of("requests without exactly their one true line", bad, len(record.requests))


def _disagreement(request: Request, line: Line) -> str:
    if request.ending is not Ending.WHOLE:
        return ""
    if request.code != line.code or (not request.framed and request.status != line.status):
        return f"{shown(request)}, logged {line.status} {line.code or ''}"
    return ""


# Errors, and the faults that explain them.


def is_error(request: Request) -> bool:
    """Something else came than was meant to come."""
    if request.ending in (Ending.CUT, Ending.REFUSED):
        return True
    return request.ending is Ending.WHOLE and request.code is not None and request.code != request.expects


def _meets(request: Request, slack_s: float = 0.0) -> Callable[[Fault], bool]:
    return lambda fault: fault.began_at - slack_s <= request.ended_at and request.sent_at <= fault.ended_at


def explains(fault: Fault, request: Request, roles: dict[str, frozenset[str]]) -> bool:
    """Whether this error may come of that fault."""
    if not _meets(request)(fault):
        return False
    allowed = ALLOWED[fault.kind]
    if request.code is None:
        return allowed.transport
    meant = roles.get(request.asked, frozenset({request.asked}))
    return request.code in allowed.codes and (fault.model is None or fault.model in meant)


def _errors(record: Record, volume: Volume) -> Iterator[Row]:
    errors = [request for request in record.requests if is_error(request)]
    outside: list[str] = []
    costs: Counter[int] = Counter()
    for request in errors:
        blamed = [i for i, fault in enumerate(record.faults) if explains(fault, request, record.roles)]
        if not blamed:
            outside.append(shown(request))
        else:
            # The one that may still cost most takes the blame.
            costs[max(blamed, key=lambda i: _budget(record.faults[i]) - costs[i])] += 1
    yield none_of("errors that no fault explains", outside, len(errors))
    over = [
        f"{record.faults[i].kind} of {record.faults[i].model}: {cost} errors, {_budget(record.faults[i]):g} allowed"
        for i, cost in costs.items()
        if cost > _budget(record.faults[i])
    ]
    yield none_of("faults that cost more than their worker's running requests", over, len(record.faults))


def _budget(fault: Fault) -> float:
    return fault.slots if ALLOWED[fault.kind].per_slot else float("inf")


def _recovery(record: Record, volume: Volume) -> Iterator[Row]:
    load_s = {model: percentile(times, 0.95) or 0.0 for model, times in loads_by_model(record.facts).items()}
    waits = [
        (fault.recovered_at - _felt_from(record, fault) - load_s.get(fault.model or "", 0.0), fault)
        for fault in record.faults
        if fault.recovered_at is not None and not (fault.deadline_s is not None and _was_drained(record, fault))
    ]
    times = [wait_s for wait_s, _ in waits]
    # Another model's turn may come first: that is fair.
    limit_s = record.max_wait_s + (percentile(drain_times(record.facts), 0.95) or 0.0) + RECOVERY_S
    row = at_most(
        "from a fault to the next answer, beyond a load, p95", percentile(times, 0.95), limit_s, "s", len(times)
    )
    slow = sorted(
        ((wait_s, f"{fault.kind} of {fault.model}") for wait_s, fault in waits if wait_s > limit_s), reverse=True
    )
    yield replace(row, examples=tuple(f"{wait_s:.1f} s: {what}" for wait_s, what in slow[:10]) if not row.holds else ())
    held = [fault for fault in record.faults if fault.deadline_s is not None]
    unseen = [
        f"{fault.model}: {'never' if found is None else f'after {found - fault.began_at:.1f} s'}"
        for fault in held
        if not _was_drained(record, fault)
        and ((found := wedge_found_at(record, fault)) is None or found - fault.began_at > _deadline_s(fault))
    ]
    yield none_of("held workers found too late", unseen, len(held))
    wedges = [fact for fact in record.facts if fact.fact == "wedged"]
    false = [
        f"{fact.model} at {fact.at:.1f}"
        for fact in wedges
        if not any(f.model == fact.model and f.began_at <= fact.at <= f.ended_at for f in held)
    ]
    yield none_of("workers killed that worked", false, len(wedges))
    yield none_of("faults whose own check failed", (f"{f.kind}: {f.problem}" for f in record.faults if f.problem))


def _felt_from(record: Record, fault: Fault) -> float:
    """From then on roost owes an answer: the wedge is found, the cause is gone, or the blow has fallen."""
    return wedge_found_at(record, fault) or fault.mended_at or fault.struck_at or fault.began_at


def _deadline_s(fault: Fault) -> float:
    return (fault.deadline_s or 0.0) + GRACE_S


def wedge_found_at(record: Record, fault: Fault) -> float | None:
    """When roost found out that the worker does nothing."""
    return next((at for at in _times_of(record, fault, "wedged")), None)


def _was_drained(record: Record, fault: Fault) -> bool:
    """It had to give place while it was held: then nothing of its requests is owed."""
    return any(True for _ in _times_of(record, fault, "drained"))


def _times_of(record: Record, fault: Fault, what: str) -> Iterator[float]:
    for fact in record.facts:
        if fact.model == fault.model and fact.fact == what and fault.began_at <= fact.at <= fault.ended_at:
            yield fact.at


def loads_by_model(facts: Iterable[Fact]) -> dict[str, list[float]]:
    """Seconds from each start to its proof; engines differ by a factor of ten."""
    return _between(facts, "start", "verified")


def drain_times(facts: Iterable[Fact]) -> list[float]:
    """Seconds from the moment that a worker takes nothing new to its end."""
    return [time_s for times in _between(facts, "drain", "exited").values() for time_s in times]


def _between(facts: Iterable[Fact], first: str, last: str) -> dict[str, list[float]]:
    begun: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for fact in sorted(facts, key=lambda fact: fact.at):
        if fact.fact == first:
            begun[fact.model] = fact.at
        elif fact.fact == last and fact.model in begun:
            times.setdefault(fact.model, []).append(fact.at - begun.pop(fact.model))
    return times


def _herds(record: Record, volume: Volume) -> Iterator[Row]:
    bad = []
    for herd in record.herds:
        starts = [
            fact for fact in record.facts if (fact.model, fact.fact) == (herd.model, "start") and _during(fact, herd)
        ]
        disturbed = any(fault.kind != "herd" and _overlap(fault, herd) for fault in record.faults)
        if len(starts) != 1 and not disturbed:
            bad.append(f"{herd.size} requests for {herd.model}: {len(starts)} starts")
    yield none_of("herds that did not start exactly one worker", bad, len(record.herds))


def _during(fact: Fact, herd: Herd) -> bool:
    return herd.unloaded_at <= fact.at <= herd.ended_at


def _overlap(fault: Fault, herd: Herd) -> bool:
    concerned = fault.model in (None, herd.model)
    return concerned and fault.began_at <= herd.ended_at and herd.began_at <= fault.ended_at


# What is left.


def _daemon(record: Record, volume: Volume) -> Iterator[Row]:
    rest = record.rest
    yield none_of("defects, exceptions nobody caught, exits nobody asked for", record.broken)
    counting = (f"{name}: {count}" for name, count in rest.counters.items() if count)
    yield none_of("counters that count somebody when nobody is there", counting, len(rest.counters))
    yield none_of("processes, sockets and files left behind", rest.left_behind)
    yield none_of("secrets and prompts where none may be", rest.exposed)
    grown = rest.last.descriptors - rest.first.descriptors
    yield Row("descriptors more than at the start", grown <= 5, str(grown), "<= 5")
    if rest.first.tasks is not None and rest.last.tasks is not None:
        more = rest.last.tasks - rest.first.tasks
        yield Row("tasks more or fewer than at the start", abs(more) <= 2, str(more), "-2 to 2", _other_tasks(rest))
    yield _memory(record)
    over = [f"{n}: {b / MB:.1f} MiB" for n, b in rest.log_bytes.items() if b > rest.log_cap_bytes]
    yield none_of(f"logs beyond {rest.log_cap_bytes / MB:g} MiB", over, len(rest.log_bytes))
    limit_s = record.drain_s + GRACE_S
    yield Row("time to stop", rest.stop_s <= limit_s, f"{rest.stop_s:.1f} s", f"<= {limit_s:g} s")
    yield Row("exit code", rest.exit_code == 0, str(rest.exit_code), "0")


def _other_tasks(rest: Rest) -> tuple[str, ...]:
    first, last = Counter(rest.first.doing), Counter(rest.last.doing)
    more, fewer = sorted((last - first).elements()), sorted((first - last).elements())
    return (*(f"more: {name}" for name in more), *(f"fewer: {name}" for name in fewer))


def _memory(record: Record) -> Row:
    grown = (record.rest.last.resident_bytes - record.rest.first.resident_bytes) / MB
    return Row(
        "resident memory more than at the start",
        grown <= 20,
        f"{grown:.1f} MiB after {record.rest.requests_between} requests",
        "<= 20 MiB",
    )


def _fairness(record: Record, volume: Volume) -> Iterator[Row]:
    times: dict[str, list[float]] = {}
    for request in record.requests:
        if is_answer(request) and request.kind in ("stream", "whole"):
            times.setdefault(request.consumer, []).append(request.ended_at - request.sent_at)
    slow = {consumer: p95 for consumer, all_ in times.items() if len(all_) >= 50 and (p95 := percentile(all_, 0.95))}
    if len(slow) < 3:
        return
    median = percentile(list(slow.values()), 0.5) or 0.0
    worst = max(slow, key=lambda consumer: slow[consumer])
    yield Row(
        "slowest consumer's p95 against the median of them",
        slow[worst] <= 3 * median,
        f"{slow[worst]:.2f} s against {median:.2f} s ({len(slow)} consumers)",
        "<= 3 times",
    )


_PARTS: tuple[Callable[[Record, Volume], Iterator[Row]], ...] = (
    _volume,
    _accounted,
    _models,
    _log_lines,
    _errors,
    _recovery,
    _herds,
    _daemon,
    _fairness,
)


def shown(request: Request) -> str:
    """One request in a line of the table."""
    status = request.status if request.status is not None else request.ending.value
    seconds = request.ended_at - request.sent_at
    return f"{request.id} {request.kind} {request.asked}: {status} {request.code or ''} after {seconds:.1f} s".strip()


def percentile(values: list[float], share: float) -> float | None:
    """The nearest-rank percentile; None of no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
