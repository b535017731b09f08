"""A model that goes leaves its process behind without its memory: llama.cpp for real, and engines that fail at it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from roost.catalog.compose import model_spec
from roost.catalog.inspect import inspect_model
from roost.catalog.spec import Source, SourceKind
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.engines.http import ask
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.llama_parked import PARKED_BYTES
from roost.engines.parks import ParkFailed
from roost.engines.types import WorkerHttp, WorkerPlace
from roost.errors import InsufficientMemory, RoostError
from roost.host.this import this_memory
from roost.testing.memory import GIB, ScriptedMemory
from roost.testing.stand_in import FixedCatalog, StandInEngine, stand_in_world
from roost.testing.wait import until
from roost.workers.supervisor import Supervisor
from roost.workers.types import Entry, ReadyWorker, WorkerView

MIB = 2**20
ROTATING: dict[str, Any] = {
    "rotation": {"policy": "always", "min_residency_s": 0.0},
    "drain_s": 2.0,
}
#: Two windows of one file: two models for the pool.
SIZES = {"engine": {"context": 2048, "max_sequences": 2, "prefix_cache_mb": 64}}


@dataclass
class Running:
    pool: Supervisor
    settings: Settings

    async def use(self, model: str = "a") -> ReadyWorker:
        """One request that does nothing."""
        ticket = self.pool.enter(model, Entry("request"))
        worker = await ticket.worker()
        ticket.leave()
        return worker

    def view(self, model: str = "a") -> WorkerView:
        return next(view for view in self.pool.views() if view.model_id == model)

    def state(self, model: str = "a") -> str:
        return self.view(model).state


@asynccontextmanager
async def running(world: Any, settings: dict[str, Any]) -> AsyncIterator[Running]:
    park = {"engines": ["llama.cpp", "stand-in"], **settings.pop("park", {})}
    value = Settings.model_validate({**ROTATING, **settings, "park": park})
    state = Running(Supervisor(replace(world, settings=lambda: state.settings)), value)
    async with asyncio.TaskGroup() as group:
        started = asyncio.Event()
        group.create_task(state.pool.run(started))
        await started.wait()
        try:
            yield state
        finally:
            await state.pool.close(1.0)


def llama_world(
    folder: Path, gguf: Path, memory: ScriptedMemory | None = None, engine: type[LlamaCpp] = LlamaCpp
) -> Any:
    made = engine(Paths.from_environment({"ROOST_HOME": str(folder)}), os.environ)
    spec = model_spec("a", inspect_model(gguf), Source(kind=SourceKind.FILE, location=str(gguf)))
    world = stand_in_world(folder, made, ("a", "b"), Settings, memory=memory)  # type: ignore[arg-type]
    return replace(world, catalog=FixedCatalog({"a": spec, "b": spec.model_copy(update={"id": "b"})}))


def private_bytes(pid: int | None) -> int:
    reading = this_memory().process(pid or 0)
    return reading.private_bytes if reading else 0


async def chat(worker: ReadyWorker, text: str) -> dict[str, Any]:
    http = WorkerHttp(worker.session, worker.wire, worker.base_url, worker.headers)
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0}
    answer = await ask(http, "POST", "/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json()
    return told


async def test_a_parked_llama_gives_its_memory_back_and_wakes_in_the_same_process(
    short_path: Path, embedded_gguf: Path
) -> None:
    async with running(llama_world(short_path, embedded_gguf), SIZES) as house:
        first = await house.use("a")
        before_text = (await chat(first, "What is 2+2?"))["choices"][0]["message"]["content"]
        before, promised = private_bytes(first.pid), house.pool.promised_bytes()
        assert promised > 0
        await house.use("b")
        assert house.state("a") == "parked" and house.view("a").pid == first.pid
        shown = house.view("a").resident_bytes
        assert shown is not None and shown < before, "status shows what is left, at once"
        left = private_bytes(first.pid)
        assert left < PARKED_BYTES < before and left < before / 2, f"{before >> 20} MiB before, {left >> 20} MiB left"
        assert house.view("a").memory is None and 0 < house.pool.promised_bytes() < 1.5 * promised, "b's alone"
        again = await house.use("a")
        assert (again.pid, house.state("a"), house.state("b")) == (first.pid, "ready", "parked")
        assert house.view("a").grade == "proven" and 0 < house.pool.promised_bytes() < 1.5 * promised
        assert (await chat(again, "What is 2+2?"))["choices"][0]["message"]["content"] == before_text
        assert house.view("a").restarts == house.view("b").restarts == 0


async def test_a_conversation_goes_on_after_its_model_was_parked(short_path: Path, embedded_gguf: Path) -> None:
    settings = SIZES | {"resume": {"enabled": True, "max_bytes": 2**26}}
    text = "The bird sat on the tree. " * 30
    async with running(llama_world(short_path, embedded_gguf), settings) as house:
        assert (await chat(await house.use("a"), text))["timings"]["cache_n"] == 0
        await house.use("b")
        assert house.state("a") == "parked"
        assert (await chat(await house.use("a"), text))["timings"]["cache_n"] > 100


class Counting(LlamaCpp):
    """Counts the tokens that are made before READY."""

    made: ClassVar[int] = 0

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        type(self).made += 1
        await super().generate_token(worker, served_name, surfaces)


async def test_a_wake_for_a_request_makes_no_token_of_its_own(
    short_path: Path, embedded_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counting, "made", 0)
    async with running(llama_world(short_path, embedded_gguf, engine=Counting), SIZES) as house:
        await house.pool.load("a")
        assert Counting.made == 1, "who asks for a model by name finds it warm"
        await house.use("b")
        await house.use("a")
        assert (house.state("b"), Counting.made) == ("parked", 1), "the request that waits makes its own"
        await house.use("b")
        await house.pool.load("a")
        assert (house.state("b"), Counting.made) == ("parked", 2)


async def test_rounds_of_parking_leave_nothing_behind(short_path: Path, embedded_gguf: Path) -> None:
    left = []
    async with running(llama_world(short_path, embedded_gguf), SIZES) as house:
        for _ in range(3):
            pid = (await house.use("a")).pid
            await house.use("b")
            left.append(private_bytes(pid))
    assert max(left) < PARKED_BYTES, [size >> 20 for size in left]


async def test_a_parked_model_wakes_only_when_there_is_memory_for_it(short_path: Path, embedded_gguf: Path) -> None:
    memory = ScriptedMemory()
    async with running(llama_world(short_path, embedded_gguf, memory), SIZES) as house:
        pid = (await house.use("a")).pid
        await house.use("b")
        await house.pool.unload("b")
        memory.change(available_bytes=GIB // 16)
        with pytest.raises(InsufficientMemory):
            await house.use("a")
        assert (house.state("a"), house.view("a").pid, house.pool.promised_bytes()) == ("parked", pid, 0)
        memory.change(available_bytes=60 * GIB)
        assert (await house.use("a")).pid == pid


async def test_a_parked_worker_whose_file_changed_is_not_woken(short_path: Path, embedded_gguf: Path) -> None:
    copy = short_path / "model.gguf"
    await asyncio.to_thread(shutil.copy, embedded_gguf, copy)
    async with running(llama_world(short_path, copy), SIZES) as house:
        await house.use("a")
        await house.use("b")
        with copy.open("ab") as file:
            file.write(b"changed")
        with pytest.raises(RoostError, match="roost models verify"):
            await house.use("a")
        await until(lambda: house.state("a") in ("stopped", "backoff"))


@dataclass
class ParkingEngine(StandInEngine):
    """The stand-in's process keeps what it has: what is said of it is the test's."""

    parked_bytes: int = GIB
    told: list[str] = field(default_factory=list)
    #: Raised when told to park, or to wake.
    park_fails: ParkFailed | None = None
    wake_fails: ParkFailed | None = None
    park_hangs: bool = False
    sizes: Mapping[str, Any] = field(default_factory=lambda: {"window": 2048})

    def can_park(self) -> bool:
        return True

    async def memory_settings(self, worker: WorkerHttp) -> Mapping[str, Any]:
        return dict(self.sizes)

    async def park(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        self.told.append("park")
        if self.park_fails:
            raise self.park_fails
        if self.park_hangs:
            await asyncio.Event().wait()

    async def wake(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        self.told.append("wake")
        if self.wake_fails:
            raise self.wake_fails


def stand_in_house(folder: Path, parking: ParkingEngine, /, **settings: Any) -> Any:
    return running(stand_in_world(folder, parking, ("a", "b", "c"), Settings), settings)


async def test_an_idle_model_is_parked_and_a_request_meanwhile_waits_as_for_a_load(short_path: Path) -> None:
    engine = ParkingEngine()
    async with stand_in_house(short_path, engine, engine={"idle_ttl_s": 0.1}) as house:
        first = await house.use()
        await until(lambda: house.state() == "parked")
        assert (await house.use()).pid == first.pid
        assert engine.told[:2] == ["park", "wake"]


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (ParkingEngine(park_fails=ParkFailed("it will not")), "it will not"),
        (ParkingEngine(parked_bytes=MIB), "MiB for itself"),
    ],
)
async def test_a_worker_that_keeps_its_memory_is_ended_instead(
    short_path: Path, engine: ParkingEngine, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stand_in_house(short_path, engine) as house:
        first = await house.use("a")
        await house.use("b")
        assert house.state("a") == "stopped" and house.view("a").pid is None
        assert (await house.use("a")).pid != first.pid, "a new process"


async def test_one_that_woke_with_other_sizes_serves_nobody(short_path: Path) -> None:
    engine = ParkingEngine()
    async with stand_in_house(short_path, engine) as house:
        await house.use("a")
        await house.use("b")
        engine.sizes = {"window": 512}
        with pytest.raises(RoostError, match="woke with other sizes"):
            await house.use("a")
        engine.sizes = {"window": 2048}


async def test_one_that_cannot_be_woken_is_a_failed_load_and_the_next_is_new(short_path: Path) -> None:
    engine = ParkingEngine(wake_fails=ParkFailed("it is deaf"))
    async with stand_in_house(short_path, engine) as house:
        first = await house.use("a")
        await house.use("b")
        with pytest.raises(RoostError, match="it is deaf"):
            await house.use("a")
        await until(lambda: house.state("a") == "stopped")
        assert (await house.use("a")).pid != first.pid


async def test_the_end_of_a_parked_process_strands_nobody(short_path: Path) -> None:
    async with stand_in_house(short_path, ParkingEngine()) as house:
        first = await house.use("a")
        await house.use("b")
        os.kill(first.pid or 0, signal.SIGKILL)
        await until(lambda: house.state("a") == "stopped")
        assert (await house.use("a")).pid != first.pid


async def test_unload_and_restart_end_the_process(short_path: Path) -> None:
    engine = ParkingEngine()
    async with stand_in_house(short_path, engine) as house:
        await house.use("a")
        await house.pool.unload("a")
        assert (house.state("a"), house.view("a").pid, engine.told) == ("stopped", None, [])
        await house.use("a")
        await house.use("b")
        assert house.state("a") == "parked"
        await house.pool.unload("a")
        assert (house.state("a"), house.view("a").pid) == ("stopped", None)


async def test_an_unload_while_it_is_being_parked_ends_it(short_path: Path) -> None:
    engine = ParkingEngine(park_hangs=True)
    async with stand_in_house(short_path, engine, engine={"idle_ttl_s": 0.1}) as house:
        await house.use("a")
        await until(lambda: house.state() == "parking" and "park" in engine.told)
        await house.pool.unload("a")
        assert house.view("a").pid is None


async def test_the_longest_parked_is_ended_when_there_are_too_many(short_path: Path) -> None:
    async with stand_in_house(short_path, ParkingEngine(), park={"max_parked": 1}) as house:
        for model in ("a", "b", "c"):
            await house.use(model)
        await until(lambda: house.state("a") == "stopped")
        assert (house.state("b"), house.state("c")) == ("parked", "ready")


async def test_a_parked_process_that_nobody_asks_for_is_ended_in_time(short_path: Path) -> None:
    async with stand_in_house(short_path, ParkingEngine(), park={"stop_after_s": 0.3}) as house:
        await house.use("a")
        await house.use("b")
        await until(lambda: house.state("a") == "stopped")


async def test_with_parking_off_whoever_goes_is_ended(short_path: Path) -> None:
    engine = ParkingEngine()
    async with stand_in_house(short_path, engine, park={"engines": []}) as house:
        await house.use("a")
        await house.use("b")
        assert (house.state("a"), engine.told) == ("stopped", [])


async def test_a_change_of_settings_ends_a_parked_process_that_was_started_with_the_old_ones(short_path: Path) -> None:
    async with stand_in_house(short_path, ParkingEngine()) as house:
        first = await house.use("a")
        await house.use("b")
        await house.pool.reconsider()
        assert house.state("a") == "parked"
        house.settings = Settings.model_validate({**ROTATING, "engine": {"env": {"NEW": "1"}}})
        await house.pool.reconsider()
        assert (await house.use("a")).pid != first.pid
