"""The table itself: complete where it must be, and with one door into READY."""

from __future__ import annotations

from itertools import product

import pytest

from roost.workers.lifecycle import OCCUPYING, STARTABLE, TABLE, Effect, Event, NoTransition, State, allows, step
from roost.workers.reference import mermaid, page
from tests.helpers import ROOT


def reachable_from(start: State) -> set[State]:
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        for (source, _), (target, _) in TABLE.items():
            if source is state and target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def test_every_pair_has_a_row_or_is_refused() -> None:
    for state, event in product(State, Event):
        if allows(state, event):
            assert step(state, event) == TABLE[state, event]
        else:
            with pytest.raises(NoTransition):
                step(state, event)


def test_the_only_way_into_ready_is_a_verified_proof() -> None:
    ways = {(state, event) for (state, event), (target, _) in TABLE.items() if target is State.READY}
    assert ways == {(State.PROVING, Event.VERIFIED)}


def test_a_proof_begins_only_once_the_engine_is_healthy() -> None:
    ways = {(state, event) for (state, event), (target, _) in TABLE.items() if target is State.PROVING}
    assert ways == {(State.LOADING, Event.HEALTHY)}


def test_no_state_is_a_trap() -> None:
    for state in State:
        assert State.READY in reachable_from(state), f"{state} never leads to ready again"


def test_every_state_is_reached() -> None:
    assert reachable_from(State.STOPPED) == set(State)


def test_every_state_with_a_process_survives_its_exit_and_a_wish_to_drain() -> None:
    for state in OCCUPYING | {State.PARKED}:
        assert allows(state, Event.EXITED)
        assert allows(state, Event.DRAIN)


def test_a_process_is_spawned_from_stopped_alone() -> None:
    spawns = {state for (state, _), (_, effect) in TABLE.items() if effect is Effect.SPAWN}
    assert spawns == {State.STOPPED}


def test_a_parked_worker_serves_again_only_as_a_load_does() -> None:
    ways = {(event, target) for (state, event), (target, _) in TABLE.items() if state is State.PARKED}
    assert ways == {
        (Event.START, State.LOADING),
        (Event.DRAIN, State.STOPPING),
        (Event.EXITED, State.STOPPED),
    }
    wakes = {(state, event) for (state, event), (_, effect) in TABLE.items() if effect is Effect.WAKE}
    assert wakes == {(State.PARKED, Event.START)}
    assert not OCCUPYING & STARTABLE, "what holds memory is not started beside itself"


def test_a_worker_is_ended_whenever_it_stops() -> None:
    for (state, event), (target, effect) in TABLE.items():
        if target is State.STOPPING and state is not State.STOPPING:
            assert effect in (Effect.TERMINATE, Effect.KILL), (state, event)


def test_the_diagram_has_a_line_for_every_row() -> None:
    assert mermaid().count(" --> ") == len(TABLE) + 1


def test_the_page_of_the_docs_is_what_the_table_says() -> None:
    committed = (ROOT / "docs/reference/worker-states.md").read_text()
    assert committed == page(), "run make docs"
