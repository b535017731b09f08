"""What the settings say of single models: who goes first, and how many requests one may have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roost.errors import ConcurrencyLimit
from tests.integration.workers.conftest import MakeBench

PATIENT: dict[str, Any] = {"queue": {"max_wait_s": 60.0}}


async def test_of_two_waiting_models_the_one_with_the_higher_priority_is_loaded_first(make_bench: MakeBench) -> None:
    async with make_bench("a", "b", "c", settings={**PATIENT, "models": {"c": {"priority": 1}}}) as bench:
        holder, _ = await bench.ready("a")
        waiting = {name: bench.enter(name) for name in ("b", "c")}
        served: list[str] = []

        async def serve(name: str) -> None:
            served.append((await waiting[name].worker()).model_id)
            waiting[name].leave()

        async with asyncio.TaskGroup() as group:
            for name in waiting:
                group.create_task(serve(name))
            holder.leave()
        assert served == ["c", "b"]


async def test_a_models_own_limit_holds_for_it_alone(make_bench: MakeBench) -> None:
    async with make_bench(settings={**PATIENT, "models": {"a": {"max_requests": 2}}}) as bench:
        held = [bench.enter("a") for _ in range(2)]
        with pytest.raises(ConcurrencyLimit, match="2 is the limit"):
            bench.enter("a")
        others = [bench.enter("b") for _ in range(5)]
        held[0].leave()
        bench.enter("a").leave()
        for ticket in (*held, *others):
            ticket.leave()
