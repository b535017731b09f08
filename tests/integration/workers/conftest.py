"""A pool over real stand-in processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.config.settings import Settings
from roost.testing.stand_in import FixedCatalog, StandInEngine, stand_in_world
from roost.workers.supervisor import Supervisor
from roost.workers.types import Entry, ReadyWorker, Ticket

QUICK: dict[str, Any] = {
    "rotation": {"policy": "always", "min_residency_s": 0.0},
    "queue": {"max_wait_s": 1.0},
    "drain_s": 2.0,
}


@dataclass
class Bench:
    """A running pool and what it runs on."""

    pool: Supervisor
    engine: StandInEngine
    folder: Path
    settings: Settings

    def enter(self, model: str, **entry: Any) -> Ticket:
        return self.pool.enter(model, Entry("request", **entry))

    async def ready(self, model: str) -> tuple[Ticket, ReadyWorker]:
        ticket = self.enter(model)
        return ticket, await ticket.worker()

    def models(self) -> dict[str, ModelSpec | UnavailableModel]:
        """What its catalog holds; may be changed."""
        catalog = self.pool._world.catalog
        assert isinstance(catalog, FixedCatalog)
        return catalog.models

    def state(self, model: str) -> str:
        return next((view.state for view in self.pool.views() if view.model_id == model), "unknown")


MakeBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def make_bench(short_path: Path) -> MakeBench:
    @asynccontextmanager
    async def make(
        *models: str,
        flags: dict[str, tuple[str, ...]] | None = None,
        settings: dict[str, Any] | None = None,
        **world: Any,
    ) -> AsyncIterator[Bench]:
        engine = StandInEngine(flags or {})
        value = Settings.model_validate({**QUICK, **(settings or {})})
        pool = Supervisor(stand_in_world(short_path, engine, models or ("a", "b"), lambda: value, **world))
        async with asyncio.TaskGroup() as group:
            started = asyncio.Event()
            group.create_task(pool.run(started))
            await started.wait()
            try:
                yield Bench(pool, engine, short_path, value)
            finally:
                await pool.close(1.0)

    return make
