"""Sending waiting requests to a worker that is ready: who is next, and what it is given."""

from __future__ import annotations

from roost.workers.station import Place, Station


def send(station: Station, most: int, now: float, max_overtaken_s: float) -> None:
    """At most so many, the next in line first. None to one whose process is gone: the state tells so only once its
    memory was seen to be back."""
    if station.run is not None and station.run.gone.is_set():
        return
    for _ in range(most):
        place = station.next_in_line(now, max_overtaken_s)
        if not station.fits(place):
            break  # the first in line is not overtaken, or a long prompt would wait for ever
        station.waiting.remove(place)
        grant(station, place, now)


def grant(station: Station, place: Place, now: float) -> None:
    assert station.run is not None and station.run.ready is not None
    place.run, place.sent_at, place.last_beat = station.run, now, None
    station.running.add(place)
    station.last_active = now
    if not place.granted.done():
        place.granted.set_result(station.run.ready)
