"""A pool that gives way: real processes, and a claim that the test decides."""

from __future__ import annotations

from roost.config.settings import CoexistenceSettings
from roost.daemon.coexisting import Coexisting
from roost.host.memory_types import HostMemory, Pressure, Swap
from roost.host.this import this_host, this_power
from roost.testing.memory import GIB, ScriptedMemory
from roost.testing.power import ScriptedPower
from roost.testing.wait import until
from roost.workers.claim import FULL, Claim, Mode
from tests.integration.workers.conftest import Bench, MakeBench

SOON = Claim(Mode.MINIMAL, idle_ttl_s=0.2, sequences=1)
AT_ONCE = CoexistenceSettings(rise_s=0, settle_s=0, minimal_idle_ttl_s=0.2, preload_pause_s=0)


async def test_a_loaded_model_goes_when_the_claim_shrinks_and_is_remembered_for_later(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        await bench.pool.load("a")
        bench.pool.claim(SOON)
        assert bench.pool.views()[0].expires_at is not None
        await until(lambda: bench.state("a") == "stopped")
        assert bench.pool.gave_way() == ("a",)
        await bench.pool.load("a")
        assert bench.pool.gave_way() == ()


async def test_a_request_that_runs_is_never_cut_by_a_claim(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        ticket, worker = await bench.ready("a")
        bench.pool.claim(Claim(Mode.MINIMAL, idle_ttl_s=0.01, sequences=1))
        second = bench.enter("a")
        assert second.progress().position == 1, "one at a time now"
        ticket.leave()
        assert (await second.worker()).pid == worker.pid
        second.leave()
        await until(lambda: bench.state("a") == "stopped")


async def test_a_mode_that_ends_in_time_lets_the_model_stay(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        await bench.pool.load("a")
        bench.pool.claim(Claim(Mode.MODEST, idle_ttl_s=60.0, sequences=2))
        assert bench.pool.views()[0].concurrency == 2
        bench.pool.claim(FULL)
        view = bench.pool.views()[0]
        assert (view.expires_at, view.concurrency) == (None, 4)


async def test_a_pinned_model_keeps_its_time(make_bench: MakeBench) -> None:
    async with make_bench(settings={"residency": {"max_resident": 2, "pinned": ["a"]}}) as bench:
        await bench.pool.load("a")
        await bench.pool.load("b")
        bench.pool.claim(SOON)
        await until(lambda: bench.state("b") == "stopped")
        assert bench.state("a") == "ready"


async def test_what_a_person_unloads_does_not_come_back_by_itself(make_bench: MakeBench) -> None:
    async with make_bench() as bench:
        await bench.pool.load("a")
        bench.pool.claim(SOON)
        await until(lambda: bench.state("a") == "stopped")
        await bench.pool.unload("a")
        assert bench.pool.gave_way() == ()


def coexisting(bench: Bench, power: ScriptedPower, memory: ScriptedMemory, told: list[str]) -> Coexisting:
    return Coexisting(
        power, memory, this_host(), bench.pool, lambda: AT_ONCE, come_back=lambda: told.append("come back")
    )


async def test_a_pulled_plug_is_followed_told_and_undone(make_bench: MakeBench) -> None:
    power, told = ScriptedPower(), list[str]()
    async with make_bench() as bench:
        watch = coexisting(bench, power, ScriptedMemory(), told)
        await bench.pool.load("a")
        await watch.look()
        assert (watch.report().mode, watch.report().reasons, watch.on_battery) == ("full", (), False)
        power.unplug(12)
        await watch.look()
        report = watch.report()
        assert (report.mode, report.sequences, watch.on_battery) == ("minimal", 1, True)
        assert report.reasons == ("on battery (12 %)", "the battery is low (12 %)")
        await until(lambda: bench.state("a") == "stopped")
        assert watch.report().gave_way == ("a",) and not told
        power.plug_in()
        await watch.look()
        assert watch.report().mode == "full" and told == ["come back"]


async def test_pressure_is_followed_and_a_failed_sensor_is_no_reason(make_bench: MakeBench) -> None:
    memory = ScriptedMemory(HostMemory(16 * GIB, 8 * GIB, Swap(0), Pressure(some_percent=4.0)))
    async with make_bench() as bench:
        watch = coexisting(bench, ScriptedPower(), memory, [])
        await watch.look()
        assert watch.report().mode == "minimal"
        memory.failure = "gone"
        await watch.look()
        assert watch.report().mode == "full"


async def test_a_server_reads_nothing_and_gives_way_to_nobody(make_bench: MakeBench) -> None:
    power = ScriptedPower()
    settings = AT_ONCE.model_copy(update={"profile": "server"})
    async with make_bench() as bench:
        await bench.pool.load("a")
        watch = Coexisting(power, ScriptedMemory(), this_host(), bench.pool, lambda: settings, lambda: None)
        power.unplug(5)
        await watch.look()
        assert (power.looks, bench.pool.claimed, watch.report().mode) == (0, FULL, "off")


async def test_this_machine_tells_what_it_can() -> None:
    sensor = this_power()
    first = sensor.busyness()
    assert sensor.power().on_battery in (None, True, False)
    assert first.cores >= 1 and (first.used_cpu_s or 0) > 0
