"""Resume: a worker's conversations are written down before it is stopped and read by its next start.

Both are attempts: each has a time limit, a failure is a line in the log, and neither a start nor a stop fails by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs
from roost.engines.types import CannotKeep, Engine, KeepsCache, Restored, WorkerHttp
from roost.workers.saved_files import Allowance, Reuse, Sidecar, no_room
from roost.workers.saved_store import SavedStore

#: Longest time for writing before SIGTERM, and for reading before READY.
SAVE_S = 10.0
RESTORE_S = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SavedPlace:
    """Where saved caches lie, and what the settings allow now for a model on this engine."""

    folder: Path
    allowance: Callable[[str], Allowance]


class SavedCache:
    """The cache of one start. `folder` is `WorkerPlace.saved`, where the engine writes and reads."""

    def __init__(
        self, place: SavedPlace, spec: ModelSpec, engine: Engine, knobs: Knobs, http: WorkerHttp, folder: Path
    ) -> None:
        self._allowance = place.allowance
        self._store = SavedStore(place.folder)
        self._spec = spec
        self._engine = engine
        self._knobs = knobs
        self._http = http
        self._folder = folder

    async def restore(self) -> None:
        """Before the first request is let in. Each step in a thread costs a start more than a look at a folder."""
        if self._nothing_is_there():
            return
        try:
            async with asyncio.timeout(RESTORE_S):
                await self._restore()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("cache not restored", model=self._spec.id, why=_words(error, RESTORE_S))
        finally:
            await asyncio.to_thread(_empty, self._folder)

    def _nothing_is_there(self) -> bool:
        with contextlib.suppress(OSError):
            return self._store.is_empty() and not any(self._folder.iterdir())
        return False

    async def _restore(self) -> None:
        gone = await asyncio.to_thread(self._store.keep_within, self._allowance(self._engine.name), self._spec.id)
        if gone:
            log.info("caches removed", models=gone)
        engine, facts = self._engine, self._facts()
        if not isinstance(engine, KeepsCache) or isinstance(facts, str):
            return
        taken = await asyncio.to_thread(self._store.take, facts, self._folder)
        if isinstance(taken, str):
            log.warning("cache not restored", model=self._spec.id, why=taken)
        elif taken is not None:
            started = time.monotonic()
            restored = await engine.restore_cache(self._http, self._folder, check=taken.reuse is Reuse.UNTESTED)
            await self._note(taken, restored, time.monotonic() - started)

    async def _note(self, taken: Sidecar, restored: Restored, seconds: float) -> None:
        log.info("cache restored", model=self._spec.id, tokens=restored.tokens, seconds=round(seconds, 3))
        if restored.reused is not None:
            finding = Reuse.WORKS if restored.reused else Reuse.FAILS
            await asyncio.to_thread(self._store.note, taken, finding)
        if restored.reused is False:
            log.warning("cache not saved any more", model=self._spec.id, why="the engine did not use what it restored")

    async def save(self, given_up: asyncio.Event) -> None:
        """After the drain, before the worker is told to end. Ends at once when it is to be killed."""
        try:
            await _within(self._save(), SAVE_S, given_up)
        except* (aiohttp.ClientError, OSError, TimeoutError) as errors:
            log.warning("cache not saved", model=self._spec.id, why=_words(errors.exceptions[0], SAVE_S))

    async def _save(self) -> None:
        engine, facts, allowance = self._engine, self._facts(), self._allowance(self._engine.name)
        if not isinstance(engine, KeepsCache) or isinstance(facts, str):
            return
        free = await asyncio.to_thread(self._store.free_bytes)
        if refused := self._refusal(facts, allowance, free):
            log.info("cache not saved", model=self._spec.id, why=refused)
            return
        started = time.monotonic()
        tokens = await engine.save_cache(self._http, self._folder, allowance.max_bytes)
        if not tokens:
            return
        put = (self._spec.id, facts, tokens, time.time(), self._folder)
        saved = await asyncio.to_thread(self._store.put, *put)
        await asyncio.to_thread(self._store.keep_within, allowance, self._spec.id)
        seconds = round(time.monotonic() - started, 3)
        log.info("cache saved", model=self._spec.id, tokens=tokens, bytes=saved.size_bytes, seconds=seconds)

    def _facts(self) -> Mapping[str, Any] | str:
        """What the cache depends on, or why there is none."""
        if not isinstance(self._engine, KeepsCache):
            return f"{self._engine.name} cannot save it"
        match self._engine.cache_facts(self._spec, self._knobs):
            case CannotKeep(reason):
                return reason
            case facts:
                return {"model": self._spec.id, "engine": self._engine.name, **facts}

    def _refusal(self, facts: Mapping[str, Any], allowance: Allowance, free_bytes: int) -> str | None:
        if not allowance.model or not allowance.max_bytes:
            return "resume is off for it"
        if self._store.reuse(facts) is Reuse.FAILS:
            return "the engine did not use what it restored last time"
        return no_room(free_bytes, allowance.max_bytes)


async def _within(work: Coroutine[Any, Any, None], seconds: float, given_up: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = {group.create_task(work), group.create_task(given_up.wait())}
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        if not done:
            raise TimeoutError


def _words(error: BaseException, seconds: float) -> str:
    return f"not done within {seconds:g} s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


def _empty(folder: Path) -> None:
    """What was restored is in the engine's memory; its copy on disk has no purpose any more."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
