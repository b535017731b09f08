"""Who brings the default up, and when a start that was refused is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roost.catalog.catalog import Catalog
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.daemon import residents
from roost.daemon.names import Names
from roost.daemon.residents import Residents
from roost.daemon_types import UpOptions
from roost.errors import InsufficientMemory, RoostError, WorkerFailed
from roost.nodes.types import NoNodes
from roost.registry.types import Registry, RegistryState
from roost.testing.stand_in import FixedCatalog, declared_spec
from roost.testing.wait import until
from roost.workers.supervisor import Supervisor


class Pool:
    """Answers each load with the next of what it was given, then with success."""

    def __init__(self, *answers: RoostError) -> None:
        self.answers, self.loads = list(answers), 0
        self.running: tuple[Any, ...] = ()

    async def load(self, model_id: str) -> None:
        self.loads += 1
        if self.answers:
            raise self.answers.pop(0)

    def views(self) -> tuple[Any, ...]:
        return self.running

    def gave_way(self) -> tuple[str, ...]:
        return ()


class Heard:
    """An announcer that remembers."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.readies: list[str] = []

    def step(self, text: str) -> None:
        pass

    def progress(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        pass

    def ready(self, host: str, port: int, model: str, engine: str, *, tls: bool = False) -> None:
        self.readies.append(model)

    def problem(self, text: str, mend: str | None = None) -> None:
        self.problems.append(text)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residents, "TRY_AGAIN_S", 0.05)


@asynccontextmanager
async def bringing_up(folder: Path, pool: Pool, heard: Heard) -> AsyncIterator[Residents]:
    names = Names(lambda: RegistryState(Registry(roles={"default": "a"})))
    address: Callable[[], tuple[str, int]] = lambda: ("127.0.0.1", 1)  # noqa: E731
    found = Residents(
        Paths.from_environment({"ROOST_HOME": str(folder)}),
        cast(Catalog, FixedCatalog({"a": declared_spec("a")})),
        names,
        cast(Supervisor, pool),
        Settings,
        UpOptions(),
        heard,
        address,
        lambda model_id: "engine",
        lambda model_id: True,
        NoNodes(),
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(found.run())
        yield found
        running.cancel()


def no_room(number: int, *, should_retry: bool) -> RoostError:
    return InsufficientMemory(f"cannot load a: {number} GiB are free", should_retry=should_retry)


async def test_a_default_that_found_no_memory_comes_by_itself_once_there_is_some(tmp_path: Path) -> None:
    pool, heard = Pool(no_room(1, should_retry=True), no_room(2, should_retry=True)), Heard()
    async with bringing_up(tmp_path, pool, heard) as found:
        await until(lambda: heard.readies == ["a"])
        assert pool.loads == 3 and found.problem is None
        assert heard.problems == ["cannot load a: 1 GiB are free"], "said once, not at each try"
        await asyncio.sleep(0.2)
        assert pool.loads == 3


async def test_it_never_pushes_out_what_somebody_loaded_instead(tmp_path: Path) -> None:
    pool, heard = Pool(no_room(1, should_retry=True)), Heard()
    async with bringing_up(tmp_path, pool, heard):
        await until(lambda: pool.loads == 1)
        pool.running = (SimpleNamespace(pid=7, kind="chat", model_id="b", mend=None),)
        await asyncio.sleep(0.2)
        assert pool.loads == 1
        pool.running = ()
        await until(lambda: heard.readies == ["a"])


@pytest.mark.parametrize("error", [no_room(1, should_retry=False), WorkerFailed("cannot load a: exit code 3")])
async def test_what_another_try_cannot_change_is_tried_once(tmp_path: Path, error: RoostError) -> None:
    pool, heard = Pool(error), Heard()
    async with bringing_up(tmp_path, pool, heard) as found:
        await until(lambda: found.problem is not None)
        found.names_changed()
        await asyncio.sleep(0.2)
        assert pool.loads == 1
