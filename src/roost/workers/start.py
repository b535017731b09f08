"""What one start is given, the model with its engine and settings, and the worker that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from roost.catalog.digest import identity_sha256
from roost.catalog.spec import ModelFile, ModelSpec
from roost.config.settings import Knobs, ModelSettings
from roost.engines.http import is_versioned
from roost.engines.types import Engine, Healthy, LaunchPlan, WorkerHttp
from roost.errors import ModelUnavailable
from roost.workers.proof import changed_file
from roost.workers.saved_cache import SavedPlace
from roost.workers.types import ReadyWorker


@dataclass(frozen=True)
class StartOrder:
    """What is to be started."""

    spec: ModelSpec
    engine: Engine
    knobs: Knobs
    model: ModelSettings
    #: Digest of the spare that could become this worker; None: none is kept.
    spare: str | None = None
    #: Its process stays when it goes, where the engine can do that.
    parks: bool = False


@dataclass(frozen=True)
class RunPaths:
    """Where a start keeps its files."""

    run_dir: Path
    records: Path
    log: Path
    log_cap_bytes: int
    #: What it had computed, from one start to the next.
    saved: SavedPlace


async def check_files(order: StartOrder, files: Iterable[ModelFile], owner: str) -> None:
    """Raises ModelUnavailable when the disk holds something else than the catalog read. `owner`: whose files."""
    if reason := await asyncio.to_thread(changed_file, files, identity_sha256):
        raise ModelUnavailable(f'cannot load {order.spec.id}: {reason}; run "roost models verify {owner}"')


def ready_worker(
    order: StartOrder, plan: LaunchPlan, http: WorkerHttp, healthy: Healthy, worker_id: str, pid: int | None
) -> ReadyWorker:
    """What requests get once its weights are proven."""
    known = [tokens for tokens in (plan.context_length, healthy.context_length) if tokens]

    async def count(route: str, body: bytes) -> int | None:
        return await order.engine.count_prompt_tokens(http, route, body)

    return ReadyWorker(
        worker_id=worker_id,
        model_id=order.spec.id,
        engine=order.engine.name,
        pid=pid,
        served_name=plan.served_name,
        session=http.session,
        wire=http.wire,
        base_url=http.base_url,
        headers=http.headers,
        traits=plan.traits,
        spec=order.spec,
        context_length=min(known, default=None),
        count_prompt_tokens=count,
        is_versioned=is_versioned(plan.endpoint),
    )
