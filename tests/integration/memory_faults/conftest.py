"""The pool over stand-ins that really take memory, with a deadline for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roost.memory import tripwire
from tests.integration.workers.conftest import Bench, MakeBench
from tests.integration.workers.conftest import make_bench as patient_bench

__all__ = ["patient_bench"]

DEADLINE_S = 90.0


@pytest.fixture
def make_bench(patient_bench: MakeBench) -> MakeBench:
    """A test that waits for what never comes fails, and leaves nothing behind."""

    @asynccontextmanager
    async def make(*models: str, **options: Any) -> AsyncIterator[Bench]:
        async with asyncio.timeout(DEADLINE_S), patient_bench(*models, **options) as bench:
            yield bench

    return make


@pytest.fixture(autouse=True)
def calms_down_at_once() -> Iterator[None]:
    """An alarm outlasts its cause by seconds instead of half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tripwire, "FALL_S", 1.0)
        yield
