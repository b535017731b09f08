"""What those who wait on a station are told: each waiter gets exactly one answer, whatever happens to the worker."""

from __future__ import annotations

import asyncio
from typing import Any

from roost.config.settings import RotationPolicy
from roost.errors import ConcurrencyLimit, ModelNotResident, RoostError, WorkerFailed
from roost.workers.lifecycle import State
from roost.workers.residency import Refusal, Rules
from roost.workers.station import Place, Station


def new_future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def fail(future: asyncio.Future[Any], error: RoostError) -> None:
    """Answers a waiter that may have left before: its failure may go unread."""
    if not future.done():
        future.set_exception(error)
        future.exception()


def fail_waiting(station: Station, error: RoostError) -> None:
    for place in station.waiting:
        fail(place.granted, error)
    station.waiting.clear()


def answer_wanted(station: Station, error: RoostError | None) -> None:
    """Tells those who asked for the load by name that it is there, or why not."""
    station.wanted_since = None
    for future in station.wanted_by:
        if error:
            fail(future, error)
        elif not future.done():
            future.set_result(None)
    station.wanted_by.clear()


def tell_gone(station: Station) -> None:
    for future in station.gone_waiters:
        if not future.done():
            future.set_result(None)
    station.gone_waiters.clear()


def insert_by_priority(station: Station, place: Place) -> None:
    """Lower priority values first; first come, first served among equals."""
    if not station.waiting or station.waiting[-1].entry.rank <= place.entry.rank:
        station.waiting.append(place)
        return
    behind = (i for i, other in enumerate(station.waiting) if other.entry.rank > place.entry.rank)
    station.waiting.insert(next(behind, len(station.waiting)), place)


def failed_start(station: Station, now: float) -> RoostError | None:
    """The error of a request for a model that may not be started now; None: it may."""
    if station.state not in (State.BACKOFF, State.FAILED):
        return None
    last = station.last_failure or WorkerFailed(f"cannot load {station.model_id}")
    if station.state is State.BACKOFF:
        wait_s = max(1.0, (station.retry_at or now) - now)
        return type(last)(last.message, retry_after_s=wait_s, should_retry=True)
    text = f'{last.message}; it failed too often and waits for "roost restart {station.model_id}"'
    return type(last)(text, should_retry=False)


def queue_full(station: Station, most: int) -> ConcurrencyLimit | None:
    if len(station.running) + len(station.waiting) < most:
        return None
    return ConcurrencyLimit(
        f"cannot queue another request for {station.model_id}: {len(station.running)} run and "
        f"{len(station.waiting)} wait, {most} is the limit (queue.max_requests or the model's own); try again shortly",
        retry_after_s=1,
    )


def was_unloaded(model_id: str) -> ModelNotResident:
    return ModelNotResident(f"cannot serve {model_id}: it was unloaded", retry_after_s=1)


def stays_resident(model_id: str, resident: str, rules: Rules) -> ModelNotResident:
    """Of a model that no wait would let in."""
    if rules.policy is RotationPolicy.NEVER:
        why, mend = 'rotation is "never"', f'run "roost load {model_id}"'
    else:
        why, mend = "it is pinned or persistent", f'run "roost unload {resident}" or raise residency.max_resident'
    return ModelNotResident(
        f"cannot load {model_id}: {resident} is resident and stays ({why}), with no place beside it; {mend}",
        should_retry=False,
    )


def not_resident(model_id: str, refusal: Refusal, rules: Rules) -> ModelNotResident:
    if refusal.stays and rules.policy is not RotationPolicy.NEVER:
        return stays_resident(model_id, refusal.resident, rules)
    later = refusal.retry_after_s is not None
    idle = f", not idle for {rules.min_idle_s:g} s yet" if later else ""
    return ModelNotResident(
        f'cannot switch to {model_id}: rotation is "{rules.policy.value}" and {refusal.resident} is resident{idle}; '
        f'run "roost load {model_id}"',
        retry_after_s=refusal.retry_after_s,
        should_retry=None if later else False,
    )
