"""A model whose memory went away while it was idle: the sensor is the test's, processes and tokens are real."""

from __future__ import annotations

import time
from typing import Any

import pytest

from roost.config.settings import CoexistenceSettings
from roost.testing.away import AwayMemory
from roost.testing.wait import until
from roost.workers.claim import Claim, Mode
from tests.integration.workers.conftest import Bench, MakeBench

MIB = 2**20
SETTINGS = CoexistenceSettings(cold_probe_s=0.3)
#: Every token takes longer than the probe allows.
SLOW = {"a": ("--prefill-delay-s", "0.8")}


def cold(bench: Bench) -> str | None:
    return bench.pool.views()[0].cold


def chosen(action: str) -> CoexistenceSettings:
    return CoexistenceSettings.model_validate(SETTINGS.model_dump() | {"cold_action": action})


async def test_a_model_whose_memory_is_in_memory_is_never_asked(make_bench: MakeBench) -> None:
    async with make_bench(flags=SLOW, memory=AwayMemory()) as bench:
        await bench.pool.load("a")
        started = time.monotonic()
        await bench.pool.look_for_cold(SETTINGS)
        assert cold(bench) is None and time.monotonic() - started < 0.8, "no token was made"


async def test_a_quick_token_clears_the_suspicion(make_bench: MakeBench) -> None:
    memory = AwayMemory(away_bytes=500 * MIB)
    async with make_bench(memory=memory) as bench:
        await bench.pool.load("a")
        await bench.pool.look_for_cold(CoexistenceSettings(cold_probe_s=20.0))
        assert (cold(bench), bench.state("a")) == (None, "ready")


async def test_a_cold_model_is_shown_with_its_numbers(make_bench: MakeBench) -> None:
    async with make_bench(flags=SLOW, memory=AwayMemory(away_bytes=500 * MIB)) as bench:
        await bench.pool.load("a")
        await bench.pool.look_for_cold(chosen("leave"))
        text = cold(bench)
        assert text is not None and "MiB are swapped out" in text and bench.state("a") == "ready"


@pytest.mark.parametrize("action", ["auto", "warm"])
async def test_a_cold_model_is_warmed_before_the_next_user_pays(make_bench: MakeBench, action: str) -> None:
    async with make_bench(flags=SLOW, memory=AwayMemory(away_bytes=500 * MIB)) as bench:
        await bench.pool.load("a")
        pid = bench.pool.views()[0].pid
        await bench.pool.look_for_cold(chosen(action))
        assert (cold(bench), bench.state("a"), bench.pool.views()[0].pid) == (None, "ready", pid)


@pytest.mark.parametrize(("action", "mode"), [("auto", Mode.MODEST), ("release", Mode.FULL)])
async def test_while_somebody_needs_the_machine_a_cold_model_goes_instead(
    make_bench: MakeBench, action: str, mode: Mode
) -> None:
    async with make_bench(flags=SLOW, memory=AwayMemory(away_bytes=500 * MIB)) as bench:
        await bench.pool.load("a")
        bench.pool.claim(Claim(mode))
        await bench.pool.look_for_cold(chosen(action))
        await until(lambda: bench.state("a") == "stopped")
        assert bench.pool.gave_way() == ("a",)


async def test_a_model_that_works_is_not_asked(make_bench: MakeBench) -> None:
    async with make_bench(flags=SLOW, memory=AwayMemory(away_bytes=500 * MIB)) as bench:
        ticket, _ = await bench.ready("a")
        await bench.pool.look_for_cold(SETTINGS)
        assert cold(bench) is None
        ticket.leave()


async def test_a_sensor_that_fails_makes_nobody_cold(make_bench: MakeBench) -> None:
    memory = AwayMemory()
    async with make_bench(flags=SLOW, memory=memory) as bench:
        await bench.pool.load("a")
        memory.process = _fails  # type: ignore[method-assign]
        await bench.pool.look_for_cold(SETTINGS)
        assert (cold(bench), bench.state("a")) == (None, "ready")


def _fails(pid: int) -> Any:
    from roost.host.memory_types import SensorFailed

    raise SensorFailed("no permission")
