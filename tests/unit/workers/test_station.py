"""The line of one model: who is sent next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from roost.workers.answers import insert_by_priority
from roost.workers.residency import Kind
from roost.workers.station import Place, Station
from roost.workers.types import Entry


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def line(loop: asyncio.AbstractEventLoop, *entries: tuple[str, float, str, int]) -> Station:
    """Requests by id, time of arrival, class and priority, lower first."""
    station = Station("a", Kind.CHAT)
    for request_id, arrived_at, request_class, priority in entries:
        granted: asyncio.Future[Any] = loop.create_future()
        insert_by_priority(station, Place(Entry(request_id, request_class, priority), arrived_at, granted))
    return station


def order(station: Station, now: float) -> list[str]:
    """All of them, one after the other."""
    found = []
    while station.waiting:
        place = station.next_in_line(now, 120.0)
        station.waiting.remove(place)
        found.append(place.entry.request_id)
    return found


def test_a_batch_goes_behind_everything_interactive_and_priority_decides_within_a_class(
    loop: asyncio.AbstractEventLoop,
) -> None:
    entries = [("batch", 1.0, "batch", -9), ("late", 3.0, "interactive", 0), ("urgent", 4.0, "interactive", -1)]
    assert order(line(loop, *entries), 10.0) == ["urgent", "late", "batch"]


def test_who_was_overtaken_for_too_long_is_next_the_oldest_first(loop: asyncio.AbstractEventLoop) -> None:
    entries = [("old", 0.0, "batch", 0), ("new", 100.0, "interactive", 0), ("less old", 5.0, "batch", 0)]
    assert order(line(loop, *entries), 119.0) == ["new", "old", "less old"]
    assert order(line(loop, *entries), 120.0) == ["old", "new", "less old"]
    assert order(line(loop, *entries), 125.0) == ["old", "less old", "new"]


def test_a_line_is_batch_only_when_all_that_runs_and_waits_is(loop: asyncio.AbstractEventLoop) -> None:
    station = line(loop, ("one", 1.0, "batch", 0))
    assert station.view(pinned=False).batch
    station.running.add(line(loop, ("two", 1.0, "interactive", 0)).waiting[0])
    assert not station.view(pinned=False).batch
