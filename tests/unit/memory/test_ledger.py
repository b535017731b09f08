"""Promises of memory: the table, the book, and what a crash leaves of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.memory.ledger import TABLE, Entry, Event, Ledger, State, step
from roost.memory.release import Release, Sight, judge

GIB = 2**30


def entry(name: str, **sizes: int) -> Entry:
    return Entry(name, f"model {name}", {"host": GIB} | sizes)


def test_a_promise_is_made_once() -> None:
    book = Ledger().reserve(entry("a"))
    with pytest.raises(ValueError, match="a promise already"):
        book.reserve(entry("a"))


def test_memory_counts_from_the_promise_until_it_was_seen_to_come_back() -> None:
    book = Ledger().reserve(entry("a", gpu=2 * GIB))
    for event in (Event.SPAWNED, Event.READY, Event.DRAIN, Event.ENDED):
        assert book.reserved_on("gpu") == 2 * GIB
        book = book.post("a", event)
    assert book.entries["a"].state is State.RELEASING
    assert book.reserved_on("host") == GIB
    assert book.post("a", Event.VERIFIED).reserved_on("host") == 0


@pytest.mark.parametrize("state", [state for state in State if state not in (State.FREE, State.RESERVED)])
def test_no_event_frees_what_had_a_process_but_the_sight_of_its_memory(state: State) -> None:
    freeing = [event for event in Event if step(state, event) is State.FREE]
    assert freeing == ([Event.VERIFIED] if state is State.RELEASING else [])


def test_from_every_state_there_is_a_way_to_free() -> None:
    reaches = {State.FREE}
    for _ in State:
        reaches |= {state for (state, _), after in TABLE.items() if after in reaches}
    assert reaches == set(State)


def test_a_fact_about_nobody_changes_nothing() -> None:
    book = Ledger().reserve(entry("a"))
    assert book.post("b", Event.ENDED) is book
    assert book.post("a", Event.VERIFIED) is book


def test_after_a_crash_the_living_stay_the_unborn_are_void_and_the_dead_are_looked_for() -> None:
    book = Ledger().reserve(entry("unborn")).reserve(entry("alive")).reserve(entry("dead")).reserve(entry("reused"))
    for name, pid in (("alive", 1), ("dead", 2), ("reused", 3)):
        book = book.post(name, Event.SPAWNED, pid=pid, started=f"t{pid}")
    after = book.reconciled([(1, "t1"), (3, "another start")])
    assert {name: one.state for name, one in after.entries.items()} == {
        "alive": State.LOADING,
        "dead": State.RELEASING,
        "reused": State.RELEASING,
    }


FACTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Event)), max_size=40)


@given(FACTS)
def test_the_book_is_the_sum_of_who_is_in_it(facts: list[tuple[str, Event]]) -> None:
    book = Ledger()
    for name, event in facts:
        if name not in book.entries:
            book = book.reserve(entry(name))
        book = book.post(name, event)
        assert book.reserved_on("host") == len(book.entries) * GIB
        assert all(one.state is not State.FREE for one in book.entries.values())


def sight(**changes: int | bool) -> Sight:
    values = {
        "process_gone": True,
        "group_bytes": 100,
        "footprint_bytes": 10 * GIB,
        "available_before": 5 * GIB,
        "available_now": 14 * GIB,
    }
    return Sight(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "waited_s", "expected"),
    [
        (sight(), 0, Release.DONE),
        (sight(available_now=13 * GIB), 1, Release.WAIT),
        (sight(available_now=13 * GIB), 10, Release.HALT),
        (sight(available_now=0, group_bytes=0), 0, Release.DONE),
        (sight(process_gone=False), 0, Release.WAIT),
        (sight(gpu_footprint_bytes=8 * GIB, gpu_free_before=GIB, gpu_free_now=GIB), 3, Release.WAIT),
        (sight(gpu_footprint_bytes=8 * GIB, gpu_free_before=GIB, gpu_free_now=GIB), 11, Release.HALT),
        (sight(gpu_footprint_bytes=8 * GIB, gpu_free_before=GIB, gpu_free_now=9 * GIB), 0, Release.DONE),
    ],
)
def test_memory_is_back_when_nine_tenths_of_it_were_seen(seen: Sight, waited_s: float, expected: Release) -> None:
    assert judge(seen, waited_s) is expected
