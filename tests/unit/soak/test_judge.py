"""The judge of a soak: a good run passes, and each thing that may go wrong spoils the row that is about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.soak.judge import ALLOWED, Row, Volume, judge, loads_by_model, passed
from tests.soak.record import Ending, Fact, Fault, Footprint, Herd, Line, Record, Request, Rest

VOLUME = Volume(requests=10, faults=2)
ROLES = {"default": frozenset({"a"}), "coding": frozenset({"a", "b"})}


def request(number: int, **changes: Any) -> Request:
    """A good answer of model `a` that took half a second from second `number` on."""
    made = Request(
        id=f"r{number}",
        consumer="c",
        kind="stream",
        asked="a",
        sent_at=float(number),
        ended_at=number + 0.5,
        ending=Ending.WHOLE,
        status=200,
        told="a",
        names=frozenset({"a"}),
        marks=frozenset({"a"}),
    )
    return replace(made, **changes)


def failed(number: int, code: str, status: int = 503, **changes: Any) -> Request:
    """A request that was answered with an error."""
    empty: dict[str, Any] = {"told": None, "names": frozenset(), "marks": frozenset()}
    return request(number, status=status, code=code, **(empty | changes))


def broken(number: int, ending: Ending = Ending.CUT, **changes: Any) -> Request:
    """A connection that broke, or never was."""
    empty: dict[str, Any] = {"status": None, "told": None, "names": frozenset(), "marks": frozenset()}
    return request(number, ending=ending, **(empty | changes))


def line(asked: Request, **changes: Any) -> Line:
    made = Line(asked.id, asked.status or 499, asked.code, asked.told, asked.ended_at)
    return replace(made, **changes)


def fault(kind: str, at: float = 5.0, lasts_s: float = 2.0, **changes: Any) -> Fault:
    return replace(Fault(kind, "a", at, at + lasts_s, slots=4), **changes)


REST = Rest(
    counters={"running of a": 0},
    first=Footprint(20, 100 * 2**20, 15),
    last=Footprint(20, 101 * 2**20, 15),
    requests_between=500,
    left_behind=(),
    exposed=(),
    log_bytes={"a": 1000},
    log_cap_bytes=2000,
    stop_s=6.0,
    exit_code=0,
)
GOOD = (
    *(request(number, id=f"good{number}") for number in range(20)),
    *(broken(20 + number, Ending.LEFT, id=f"left{number}") for number in range(2)),
)
FACTS = tuple(
    Fact("a", n, fact, at) for n in range(3) for at, fact in ((n, "start"), (n + 1.0, "verified"), (n + 2.0, "drained"))
)


def record(*extra: Request, lines: tuple[Line, ...] | None = None, **changes: Any) -> Record:
    """A good run with further requests, each with its line unless `lines` says other ones."""
    requests = (*GOOD, *extra)
    made = Record(
        seconds=60.0,
        drain_s=5.0,
        max_wait_s=3.0,
        requests=requests,
        lines=tuple(line(r) for r in (GOOD if lines is not None else requests) if r.begun) + (lines or ()),
        facts=FACTS,
        faults=(fault("harmless settings"), fault("pause worker")),
        herds=(),
        roles=ROLES,
        broken=(),
        rest=REST,
    )
    return replace(made, **changes)


def spoilt(made: Record) -> list[str]:
    """The rows that do not hold."""
    return [row.name for row in judge(made, VOLUME) if not row.holds]


def row(made: Record, name: str) -> Row:
    return next(found for found in judge(made, VOLUME) if found.name.startswith(name))


def test_a_good_run_passes() -> None:
    assert spoilt(record()) == [] and passed(judge(record(), VOLUME))


def test_a_run_in_which_nothing_happened_does_not_pass() -> None:
    nothing = record(requests=(), lines=(), facts=(), faults=())
    assert {"requests", "faults", "clients that left", "workers that gave place"} <= set(spoilt(nothing))


def test_answers_that_do_not_show_their_model_make_the_run_blind() -> None:
    mute = tuple(replace(r, marks=frozenset()) for r in GOOD)
    assert spoilt(record(requests=mute)) == ["answers that show their model"]


# Single requests.


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (broken(30, Ending.LATE), "requests that hung"),
        (request(30, problem="a clean end without an ending"), "answers cut short"),
        (request(30, expects="model_not_found"), "requests not refused"),
        (request(30, told="b"), "answers of another model"),
        (request(30, asked="coding", told="b"), "answers of another model"),
        (request(30, marks=frozenset({"b"})), "answers of another model"),
        (request(30, names=frozenset({"a", "b"})), "answers of another model"),
        (failed(30, "internal_error", 500), "errors that no fault explains"),
        (broken(30, Ending.CUT), "errors that no fault explains"),
        (broken(30, Ending.REFUSED), "errors that no fault explains"),
        (failed(30, "model_not_found", 404, expects="invalid_json"), "errors that no fault explains"),
    ],
)
def test_a_wrong_answer_spoils_its_row(wrong: Request, name: str) -> None:
    assert [found for found in spoilt(record(wrong)) if found.startswith(name)]


def test_a_refusal_that_must_come_is_no_error() -> None:
    assert spoilt(record(failed(30, "model_not_found", 404, expects="model_not_found"))) == []


def test_a_role_is_answered_by_any_model_that_it_meant() -> None:
    by_b = request(30, asked="coding", told="b", names=frozenset({"b"}), marks=frozenset({"b"}))
    assert spoilt(record(by_b)) == []


# The log.


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (line(request(30)), line(request(30))),
        (line(request(30)), line(request(31))),
        (line(request(30), status=500),),
        (line(request(30), code="internal_error"),),
        (line(request(30), resolved="b"),),
    ],
)
def test_a_request_has_exactly_one_line_that_says_what_the_client_saw(lines: tuple[Line, ...]) -> None:
    assert spoilt(record(request(30), lines=lines))


def test_a_request_that_never_arrived_needs_no_line() -> None:
    assert spoilt(record(broken(30, Ending.LEFT), lines=())) == []


@pytest.mark.parametrize("kind", ["kill daemon", "full disk"])
def test_a_line_may_be_missing_while_none_can_be_written(kind: str) -> None:
    assert spoilt(record(request(5), lines=(), faults=(fault(kind), fault("unload", 50)))) == []


def test_the_status_of_a_stream_that_failed_late_is_that_of_its_error() -> None:
    late = request(5, code="upstream_disconnected", framed=True)
    logged = line(late, status=502)
    assert spoilt(record(late, lines=(logged,), faults=(fault("kill worker"), fault("unload", 50)))) == []


# Faults.


@pytest.mark.parametrize(
    ("kind", "code"), [(kind, code) for kind, allowed in ALLOWED.items() for code in sorted(allowed.codes)]
)
def test_a_fault_explains_its_errors_while_it_lasts_and_no_others(kind: str, code: str) -> None:
    faults = (fault(kind), fault("pause worker"))
    assert spoilt(record(failed(5, code), faults=faults)) == []
    assert spoilt(record(failed(30, code), faults=faults)) == ["errors that no fault explains"]
    assert spoilt(record(failed(5, "insufficient_memory"), faults=faults)) == ["errors that no fault explains"]


def test_a_fault_of_another_model_explains_nothing() -> None:
    of_b = (fault("kill worker", model="b"), fault("pause worker"))
    assert spoilt(record(failed(5, "upstream_crashed", 502), faults=of_b)) == ["errors that no fault explains"]


def test_connections_break_with_the_daemon_only() -> None:
    cut = record(broken(5), broken(6, Ending.REFUSED), faults=(fault("kill daemon", model=None), fault("unload", 50)))
    assert spoilt(cut) == []
    assert spoilt(record(broken(5), faults=(fault("kill worker"), fault("unload", 50))))


def test_a_killed_worker_costs_no_more_than_it_ran() -> None:
    lost = [failed(40 + n, "upstream_disconnected", 502, sent_at=5.0, ended_at=5.5) for n in range(5)]
    two = (fault("kill worker"), fault("pause worker"))
    assert spoilt(record(*lost[:4], faults=two)) == []
    assert spoilt(record(*lost, faults=two)) == ["faults that cost more than their worker's running requests"]


def test_two_kills_at_once_share_the_cost() -> None:
    lost = [failed(40 + n, "upstream_disconnected", 502, sent_at=5.0, ended_at=5.5) for n in range(5)]
    assert spoilt(record(*lost, faults=(fault("kill worker"), fault("kill guardian")))) == []


def test_the_own_check_of_a_fault_counts() -> None:
    bad = (fault("full disk", problem="the registry was damaged"), fault("pause worker"))
    assert spoilt(record(faults=bad)) == ["faults whose own check failed"]


def test_recovery_takes_no_longer_than_a_load_and_another_models_turn() -> None:
    def after(seconds: float, **more: Any) -> list[str]:
        return spoilt(record(faults=(fault("kill worker", recovered_at=5.0 + seconds, **more), fault("unload", 50))))

    assert after(9.0) == []
    assert after(9.5) == ["from a fault to the next answer, beyond a load, p95"]
    assert after(12.0, mended_at=8.5) == []
    assert after(12.0, struck_at=8.5) == []


def test_a_slow_engines_load_excuses_no_other_model() -> None:
    slow = (*(Fact("slow", 1, "start", 1.0), Fact("slow", 1, "verified", 31.0)), *FACTS)

    def after(seconds: float, model: str) -> list[str]:
        killed = fault("kill worker", recovered_at=5.0 + seconds, model=model)
        return spoilt(record(faults=(killed, fault("unload", 50)), facts=slow))

    assert after(35.0, "slow") == []
    assert after(12.0, "a") == ["from a fault to the next answer, beyond a load, p95"]


def test_a_held_worker_is_found_in_time_and_recovery_counts_from_then() -> None:
    held = fault("hold worker", lasts_s=30.0, deadline_s=6.0, recovered_at=21.0)

    def found(*at: float) -> list[str]:
        facts = (*FACTS, *(Fact("a", 3, "wedged", moment) for moment in at))
        return spoilt(record(faults=(held, fault("unload", 50)), facts=facts))

    assert found(15.9) == []
    assert found(16.1) == ["held workers found too late"]
    assert "held workers found too late" in found()


def test_a_held_worker_that_had_to_give_place_is_not_looked_for() -> None:
    held = fault("hold worker", lasts_s=30.0, deadline_s=6.0, recovered_at=34.0)
    facts = (*FACTS, Fact("a", 3, "drained", 6.0))
    assert spoilt(record(faults=(held, fault("unload", 50)), facts=facts)) == []


def test_a_worker_that_worked_is_not_killed() -> None:
    assert spoilt(record(facts=(*FACTS, Fact("a", 3, "wedged", 40.0)))) == ["workers killed that worked"]


def test_a_herd_starts_one_worker() -> None:
    herd = Herd("b", 40, 30.0, 33.0, 29.0)
    start = Fact("b", 1, "start", 30.1)
    by_another = Fact("b", 1, "start", 29.9)
    again = Fact("b", 2, "start", 31.0)
    assert spoilt(record(herds=(herd,), facts=(*FACTS, start))) == []
    assert spoilt(record(herds=(herd,), facts=(*FACTS, by_another))) == []
    assert spoilt(record(herds=(herd,), facts=(*FACTS, start, again)))
    assert spoilt(record(herds=(herd,)))
    disturbed = (fault("a command that fails", 31.0, model="b"), fault("unload", 50))
    assert spoilt(record(herds=(herd,), facts=(*FACTS, start, again), faults=disturbed)) == []


def test_a_load_is_counted_from_the_last_start() -> None:
    facts = [Fact("a", 1, "start", 0.0), Fact("a", 2, "start", 5.0), Fact("a", 2, "verified", 6.5)]
    assert loads_by_model(facts) == {"a": [1.5]}


# What is left.


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"counters": {"running of a": 1}}, "counters"),
        ({"left_behind": ("process 1",)}, "processes, sockets"),
        ({"exposed": ("logs/a.log: nonce",)}, "secrets"),
        ({"last": Footprint(26, 100 * 2**20, 15)}, "descriptors"),
        ({"last": Footprint(20, 100 * 2**20, 18)}, "tasks"),
        ({"last": Footprint(20, 121 * 2**20, 15)}, "resident memory"),
        ({"log_bytes": {"a": 3000}}, "logs beyond"),
        ({"stop_s": 10.1}, "time to stop"),
        ({"exit_code": None}, "exit code"),
    ],
)
def test_what_is_left_at_rest_counts(changes: dict[str, Any], name: str) -> None:
    assert [found for found in spoilt(record(rest=replace(REST, **changes))) if found.startswith(name)]


def test_defects_count() -> None:
    assert spoilt(record(broken=("defect: KeyError",))) == ["defects, exceptions nobody caught, exits nobody asked for"]


def test_no_consumer_waits_three_times_as_long_as_the_others() -> None:
    def of(consumer: str, took_s: float) -> list[Request]:
        first = 1000 * (ord(consumer) - 96)
        return [
            request(first + n, consumer=consumer, sent_at=100.0 + n, ended_at=100.0 + n + took_s) for n in range(50)
        ]

    assert spoilt(record(*of("x", 1.0), *of("y", 1.0), *of("z", 2.9), *left_too())) == []
    slow = spoilt(record(*of("x", 1.0), *of("y", 1.0), *of("z", 3.1), *left_too()))
    assert slow == ["slowest consumer's p95 against the median of them"]


def left_too() -> list[Request]:
    return [broken(900 + number, Ending.LEFT) for number in range(10)]


def test_the_table_shows_what_spoils_a_row() -> None:
    found = row(record(request(30, problem="no usage")), "answers cut short")
    assert found.value == "1 of 23" and "no usage" in found.examples[0]
