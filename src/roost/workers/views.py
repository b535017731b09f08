"""One worker as status shows it: read from its station, changing nothing."""

from __future__ import annotations

import time

from roost.errors import InsufficientMemory
from roost.workers.ends import mend_of
from roost.workers.lifecycle import STARTABLE, State
from roost.workers.logs_path import worker_log_name
from roost.workers.station import Station
from roost.workers.types import WorkerView


def worker_view(station: Station, now: float, place: int | None = None, held_by: str | None = None) -> WorkerView:
    """`held_by`: what holds it to its promise, for people."""
    run = station.run
    plan = run.plan if run else None
    failure = station.last_failure
    alive = run is not None and not run.gone.is_set()
    holds = alive and station.state is not State.PARKED
    admission = station.admission if holds else None
    return WorkerView(
        worker_id=worker_log_name(station.model_id),
        model_id=station.model_id,
        engine=run.order.engine.name if run else "",
        engine_version=_version(station),
        state=_shown_state(station),
        pid=run.pid if run and alive else None,
        started_at=run.started_at if run and alive else None,
        ready_at=run.ready_at if run and alive else None,
        expires_at=_expires_at(station, now),
        grade=run.proof.grade if run and run.proof and holds else None,
        fingerprint=run.order.spec.fingerprint if run else "",
        context_length=run.ready.context_length if run and run.ready else (plan.context_length if plan else None),
        concurrency=station.concurrency,
        running=len(station.running),
        queued=len(station.waiting),
        place=place,
        waits_s=now - min(waiting.arrived_at for waiting in station.waiting) if station.waiting else None,
        restarts=station.restarts,
        resident_bytes=run.usage.resident_bytes if run and alive and run.usage.resident_bytes else None,
        kind=station.kind.value,
        problem=failure.message if failure else None,
        mend=mend_of(station.model_id, failure, supervised=plan is None or bool(plan.argv)) if failure else None,
        command=(plan.shown or plan.argv) if plan else (),
        proof=run.proof.text if run and run.proof and holds else None,
        cold=station.cold,
        memory=admission.note if admission else None,
        promised_bytes=admission.promised_bytes if admission else None,
        held_by=held_by if admission else None,
        refused=isinstance(failure, InsufficientMemory),
    )


def _shown_state(station: Station) -> str:
    return "queued" if station.state in STARTABLE and station.waiting else station.state.value


def _expires_at(station: Station, now: float) -> float | None:
    """Unix time at which it goes if nobody asks for it."""
    ttl_s = station.idle_ttl_s
    if not ttl_s or station.state is not State.READY or station.running or station.waiting:
        return None
    return time.time() + max(0.0, station.last_active + ttl_s - now)


def _version(station: Station) -> str | None:
    return station.run.engine_version if station.run else None
