"""The faults: each does its damage, waits until all is well again, and says from when to when it may be felt."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from roost.testing.wait import DeadlineExceeded, until
from tests.soak.asked import Asked, Mix
from tests.soak.daemon import processes_of
from tests.soak.judge import is_answer
from tests.soak.record import Fault, Herd, Request
from tests.soak.scene import CALM, DEFT, STALL_S, Scene

Send = Callable[[Asked], Awaitable[Request]]
#: A worker's whole tree ends so long after its daemon.
_ORPHANS_S = 2.0
_RECOVERY_S = 120.0
#: How long a wrong file stays.
_WRONG_S = 1.5
_FLOOD_BYTES = 8 * 2**20
#: Prefill that is still taken for normal, in prompt bytes a second; and how long roost looks before it is sure.
_PREFILL_BYTES_PER_S = 40.0
_LOOK_S = STALL_S / 2 + 1.0


@dataclass
class Injector:
    """Does what `KINDS` lists. One lane does one fault at a time; `daemon_is_up` is held while it is killed."""

    scene: Scene
    send: Send
    mix: Mix
    seed: int
    herd_size: int
    faults: list[Fault] = field(default_factory=list)
    herds: list[Herd] = field(default_factory=list)
    #: The model that the settings do not have at present.
    _away: str | None = None
    daemon_is_up: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed} faults")

    async def do(self, kind: str) -> None:
        """One fault. Those of files wait while the daemon is down."""
        before = time.time()
        try:
            await KINDS[kind](self)
        except* (DeadlineExceeded, OSError, psutil.Error) as errors:
            problem = f"it could not be done: {first_of(errors)}"
            self.faults.append(Fault(kind, None, before, time.time(), problem=problem))

    def shuffled(self, kinds: tuple[str, ...]) -> list[str]:
        return self._random.sample(kinds, len(kinds))

    def pause_s(self, mean_s: float) -> float:
        return self._random.uniform(0.5 * mean_s, 1.5 * mean_s)

    # What all need.

    async def some_ready(self, *models: str) -> tuple[str, Mapping[str, Any], psutil.Process]:
        """A model that is loaded now (of these), what status says of it, and its process."""
        wanted = models or (*self.scene.cast.real, *self.scene.cast.stand_ins)

        async def look() -> tuple[str, Mapping[str, Any], psutil.Process] | None:
            ready = {m: w for m, w in (await self.scene.daemon.workers()).items() if m in wanted and _is_ready(w)}
            if not ready:
                return None
            model = self._random.choice(sorted(ready))
            with suppress(psutil.NoSuchProcess):
                return model, ready[model], psutil.Process(ready[model]["pid"])
            return None

        return await until(look, timeout_s=30, what=f"one of {wanted} is ready")

    async def recovered(self, model: str) -> float | None:
        """When it answered again; None: not in time."""
        give_up = time.time() + _RECOVERY_S
        while time.time() < give_up:
            request = await self.send(self.mix.stream(model, "probe"))
            if is_answer(request):
                return request.ended_at
            await asyncio.sleep(0.2)
        return None

    def note(self, kind: str, model: str | None, began_at: float, **more: Any) -> None:
        """A fault that is over."""
        self.faults.append(Fault(kind, model, began_at, time.time(), **more))

    async def note_recovered(self, kind: str, model: str, began_at: float, **more: Any) -> None:
        recovered_at = await self.recovered(model)
        problem = "" if recovered_at else f"{model} did not answer again within {_RECOVERY_S:g} s"
        self.note(kind, model, began_at, recovered_at=recovered_at, **({"problem": problem} | more))

    # Workers.

    async def kill_worker(self) -> None:
        model, worker, process = await self.some_ready()
        began_at = time.time()
        process.kill()
        await self.note_recovered("kill worker", model, began_at, slots=worker["concurrency"])

    async def kill_guardian(self) -> None:
        model, worker, process = await self.some_ready()
        began_at = time.time()
        if guardian := process.parent():
            guardian.kill()
        await self.note_recovered("kill guardian", model, began_at, slots=worker["concurrency"])

    async def kill_loading(self) -> None:
        """Away with one, then ask for it and kill it before it can serve."""
        model = self._random.choice(sorted(set(self.scene.cast.real) - self.scene.cast.slow))
        began_at = time.time()
        await self.unload(model)
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(self.recovered(model))
            pid = await until(lambda: self._loading_pid(model), timeout_s=30, what=f"{model} loads")
            struck_at = time.time()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.note("kill loading", model, began_at, struck_at=struck_at, recovered_at=probe.result())

    async def _loading_pid(self, model: str) -> int:
        worker = (await self.scene.daemon.workers()).get(model, {})
        return (worker.get("pid") or 0) if worker.get("state") in ("loading", "proving", "ready") else 0

    async def hold_worker(self) -> None:
        """For good: it must be found out. As many requests as it takes are sent, so that none comes later."""
        quick = (model for model in self.scene.cast.real if model not in self.scene.cast.slow)
        model, worker, process = await self.some_ready(*quick, *self.scene.cast.stand_ins)
        began_at, slots = time.time(), worker["concurrency"]
        process.suspend()
        probes = [self.mix.stream(model, "probe") for _ in range(slots)]
        try:
            await asyncio.gather(*(self.send(probe) for probe in probes))
        finally:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        deadline_s = STALL_S + max(len(probe.body) for probe in probes) / _PREFILL_BYTES_PER_S + _LOOK_S
        await self.note_recovered("hold worker", model, began_at, slots=slots, deadline_s=deadline_s)

    async def pause_worker(self) -> None:
        """Shorter than a wedge: nobody may notice."""
        model, _, process = await self.some_ready()
        began_at = time.time()
        process.suspend()
        await asyncio.sleep(STALL_S / 4)
        with suppress(psutil.NoSuchProcess):
            process.resume()
        self.note("pause worker", model, began_at)

    async def unload(self, model: str | None = None) -> None:
        model = model or (await self.some_ready())[0]
        began_at, away_before = time.time(), self._away
        status, body = await self.scene.daemon.ask("POST", f"/roost/v1/models/{model}/unload")
        # The other lane may have taken this very model away meanwhile.
        right = status == 200 or (status == 404 and model in (away_before, self._away))
        self.note("unload", model, began_at, problem="" if right else f"{status} {body[:100]!r}")

    async def herd(self) -> None:
        """Many at once for a model that is not loaded."""
        unloaded_at = time.time()
        await self.unload(DEFT)
        began_at = time.time()
        first: list[float] = []

        async def one(asked: Asked) -> None:
            request = await self.send(asked)
            first.append(request.ended_at)

        await asyncio.gather(*(one(self.mix.quick(DEFT, "herd")) for _ in range(self.herd_size)))
        self.herds.append(Herd(DEFT, self.herd_size, began_at, min(first), unloaded_at))
        self.note("herd", DEFT, began_at)

    async def log_flood(self) -> None:
        began_at = time.time()
        asked = self.mix.stream(CALM, "probe")
        body = json.loads(asked.body)
        body["x_stand_in"] = {"log_bytes": _FLOOD_BYTES}
        await self.send(replace(asked, body=json.dumps(body).encode(), text=None))
        self.note("log flood", CALM, began_at)

    # The daemon.

    async def kill_daemon(self) -> None:
        """SIGKILL; every worker must go with it; the next start must find everything in order."""
        daemon = self.scene.daemon
        async with self.daemon_is_up:
            began_at, problem = time.time(), ""
            await daemon.kill()
            try:
                await until(lambda: not processes_of(daemon.home), timeout_s=_ORPHANS_S)
            except DeadlineExceeded:
                problem = f"{len(processes_of(daemon.home))} processes outlived it by {_ORPHANS_S:g} s"
            await daemon.start()
        # `ended_at` is the ready line: no request after it may suffer.
        self.note("kill daemon", None, began_at, recovered_at=time.time(), problem=problem)

    # Settings.

    async def _settings_for_a_while(self, kind: str, model: str, text: str) -> None:
        began_at = time.time()
        self._put(self.scene.daemon.settings, text.encode())
        await asyncio.sleep(_WRONG_S)
        await self.send(self.mix.stream(model, "probe"))
        self._put(self.scene.daemon.settings, self.scene.settings().encode())
        mended_at = time.time()
        await self._settings_taken(mended_at)
        self._away = None
        await self.note_recovered(kind, model, began_at, mended_at=mended_at)

    async def _settings_taken(self, since: float) -> None:
        await until(lambda: "settings taken" in self._events(since), timeout_s=15, what="the settings are taken")

    def _events(self, since: float) -> list[str]:
        """Names of what the daemon's log told since then; the log's end is enough."""
        found = []
        with (self.scene.daemon.logs / "daemon.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 200_000))
            for line in log.read().splitlines()[1:]:
                with suppress(ValueError, KeyError):
                    told = json.loads(line)
                    at = datetime.fromisoformat(told["timestamp"]).timestamp()
                    found += [told["event"]] if at >= since - 0.01 else []
        return found

    async def harmless_settings(self) -> None:
        began_at = time.time()
        self._put(self.scene.daemon.settings, self.scene.change_nothing_that_runs().encode())
        await self._settings_taken(began_at)
        await asyncio.sleep(0.5)
        restarted = self._events(began_at).count("restarting with changed settings")
        self.note("harmless settings", None, began_at, problem=f"{restarted} workers restarted" if restarted else "")

    async def settings_that_restart(self) -> None:
        began_at = time.time()
        self._put(self.scene.daemon.settings, self.scene.change_the_environment_of_calm().encode())
        await self._settings_taken(began_at)
        await self.note_recovered("settings that restart", CALM, began_at)

    async def broken_settings(self) -> None:
        began_at = time.time()
        self._put(self.scene.daemon.settings, self.scene.settings(more="[gateway\n").encode())
        await self._until_told("settings_problem", True)
        self._put(self.scene.daemon.settings, self.scene.settings().encode())
        await self._until_told("settings_problem", False)
        self.note("broken settings", None, began_at)

    async def knob_that_cannot_be(self) -> None:
        table = f'[models."{DEFT}".engine]\nkv_cache_type = "q8_0"\n'
        await self._settings_for_a_while("a knob that cannot be", DEFT, self.scene.settings(more=table))

    async def command_that_fails(self) -> None:
        tables = {DEFT: f'[models."{DEFT}".command]\ncmd = "false"\n'}
        await self._settings_for_a_while("a command that fails", DEFT, self.scene.settings(tables=tables))

    async def model_taken_away(self) -> None:
        self._away = DEFT
        await self._settings_for_a_while("a model taken away", DEFT, self.scene.settings(tables={DEFT: ""}))

    async def _until_told(self, problem: str, there: bool) -> None:
        async def told() -> bool:
            return bool((await self.scene.daemon.status())[problem]) is there

        await until(told, timeout_s=15, what=f"{problem} is {'told' if there else 'over'}")

    # Registry.

    async def broken_registry(self) -> None:
        began_at, registry = time.time(), self.scene.daemon.registry
        good = registry.read_bytes()
        self._put(registry, good[: len(good) // 2])
        await self._until_told("registry_problem", True)
        self._put(registry, good)
        await self._until_told("registry_problem", False)
        self.note("broken registry", None, began_at)

    async def registry_by_hand(self) -> None:
        began_at, model = time.time(), self.scene.other_coding()
        self._put(self.scene.daemon.registry, self.scene.names(model))
        await until(lambda: self._coding_is(model), timeout_s=15, what=f"coding is {model}")
        self.note("registry by hand", None, began_at)

    async def _coding_is(self, model: str) -> bool:
        roles = (await self.scene.daemon.status())["roles"]
        return any(role["role"] == "coding" and role["resolves_to"] == model for role in roles)

    async def registry_by_request(self) -> None:
        """Who has the file open while it is written reads the old one to its end."""
        began_at, model = time.time(), self.scene.other_coding()
        path = self.scene.daemon.registry
        before = path.read_bytes()
        with path.open("rb") as reader:
            status, _ = await self.scene.daemon.ask("PUT", "/roost/v1/roles/coding", {"model": model})
            problem = "" if reader.read() == before else "the file was changed under a reader"
        self.scene.coding = model
        after = json.loads(path.read_bytes())
        expected = json.loads(self.scene.names())
        if status != 200 or after != expected:
            problem = problem or f"{status}, and the file holds {after}"
        self.note("registry by request", None, began_at, problem=problem)

    async def full_disk(self) -> None:
        """No file may grow: the order is refused, and both the registry and its copy are what they were."""
        daemon = self.scene.daemon
        files = [daemon.registry, daemon.registry.with_name("registry.json.bak")]
        before = [_content(path) for path in files]
        process, began_at = psutil.Process(daemon.pid), time.time()
        process.rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            status, _ = await daemon.ask("PUT", "/roost/v1/roles/coding", {"model": self.scene.other_coding()})
        finally:
            process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        problem = "" if status == 503 else f"the order was answered {status}"
        if [_content(path) for path in files] != before:
            problem = "the registry or its copy was damaged"
            self._put(daemon.registry, self.scene.names())
        self.note("full disk", None, began_at, problem=problem)

    def _put(self, path: Path, data: bytes) -> None:
        """In one step, as editors do."""
        temporary = path.with_name(f"{path.name}.edited")
        temporary.write_bytes(data)
        temporary.replace(path)


def first_of(error: BaseException) -> BaseException:
    """The first single error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_ready(worker: Mapping[str, Any]) -> bool:
    return worker["state"] == "ready" and bool(worker["pid"])


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


KINDS: dict[str, Callable[[Injector], Coroutine[Any, Any, None]]] = {
    "kill daemon": Injector.kill_daemon,
    "kill worker": Injector.kill_worker,
    "kill guardian": Injector.kill_guardian,
    "kill loading": Injector.kill_loading,
    "hold worker": Injector.hold_worker,
    "pause worker": Injector.pause_worker,
    "unload": Injector.unload,
    "herd": Injector.herd,
    "log flood": Injector.log_flood,
    "harmless settings": Injector.harmless_settings,
    "settings that restart": Injector.settings_that_restart,
    "broken settings": Injector.broken_settings,
    "a knob that cannot be": Injector.knob_that_cannot_be,
    "a command that fails": Injector.command_that_fails,
    "a model taken away": Injector.model_taken_away,
    "broken registry": Injector.broken_registry,
    "registry by hand": Injector.registry_by_hand,
    "registry by request": Injector.registry_by_request,
    "full disk": Injector.full_disk,
}
#: Two lanes, each one fault after another.
OF_PROCESSES = ("kill worker", "kill guardian", "kill loading", "hold worker", "pause worker", "unload", "herd")
OF_FILES = tuple(kind for kind in KINDS if kind not in OF_PROCESSES and kind != "kill daemon")
