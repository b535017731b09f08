"""A worker's cached prompts are dropped while it rests, where its engine has a way: its memory is needed elsewhere."""

from __future__ import annotations

import asyncio
from typing import TypeGuard

import structlog

from roost.engines.caches import CachesKept, DropsCaches
from roost.engines.types import WorkerHttp
from roost.workers.run import WorkerRun

#: How long an engine may take over it.
DROP_S = 10.0

log = structlog.get_logger(__name__)


def can_drop_caches(run: WorkerRun | None) -> TypeGuard[WorkerRun]:
    """Whether it is ready, ours, and its engine has a way."""
    return run is not None and run.ready is not None and run.supervised and isinstance(run.order.engine, DropsCaches)


async def drop_caches(run: WorkerRun) -> bool:
    """Whether they are gone; why not stands in the log."""
    engine, ready = run.order.engine, run.ready
    if not isinstance(engine, DropsCaches) or ready is None or ready.session.closed:  # it ended meanwhile
        return False
    http = WorkerHttp(session=ready.session, wire=ready.wire, base_url=ready.base_url, headers=ready.headers)
    try:
        async with asyncio.timeout(DROP_S):
            await engine.drop_caches(http)
    except (CachesKept, TimeoutError) as error:
        why = str(error) or f"not done within {DROP_S:g} s"
        log.warning("caches not dropped", model=run.order.spec.id, why=why)
        return False
    return True
