"""Who should be loaded at rest: the default role's model, then the preload list. Loads them, says when it is ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from roost.catalog.catalog import Catalog
from roost.catalog.compose import EMBEDDED_ID
from roost.catalog.progress import Step
from roost.catalog.spec import ModelSpec
from roost.catalog.types import KnownIds
from roost.config.layout import layout_of, together
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.daemon.elsewhere import FarRole, far_role
from roost.daemon.names import Names, node_name
from roost.daemon_types import Announcer, UpOptions
from roost.errors import InsufficientMemory, ModelNotFound, RoostError, ShuttingDown
from roost.nodes.types import Nodes
from roost.registry.resolve import resolve
from roost.registry.write import set_role
from roost.workers.residency import Kind
from roost.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)

#: How soon a default that found no memory is tried again.
TRY_AGAIN_S = 60.0


@dataclass(frozen=True)
class Situation:
    """Which weights the default is."""

    #: As the registry names it.
    target: str | None
    #: The physical id, when this machine has it.
    default: str | None
    fingerprint: str
    #: What it means on a paired machine; None: it does not.
    far: FarRole | None = None


class Residents:
    """Loads what belongs at home, at the start and whenever the default role is pointed elsewhere."""

    def __init__(
        self,
        paths: Paths,
        catalog: Catalog,
        names: Names,
        pool: Supervisor,
        settings: Callable[[], Settings],
        options: UpOptions,
        announce: Announcer,
        address: Callable[[], tuple[str, int]],
        engine_for: Callable[[str], str],
        takes_a_place: Callable[[str], bool],
        nodes: Nodes,
    ) -> None:
        self._address, self._engine_for, self._takes_a_place = address, engine_for, takes_a_place
        self._paths, self._catalog, self._names = paths, catalog, names
        self._pool, self._settings, self._options, self._announce = pool, settings, options, announce
        self._nodes = nodes
        self._changed = asyncio.Event()
        self._ready_told = False
        self._come_back = False
        #: When memory may let the default in that kept it out; None: it did not, or never will.
        self._try_at: float | None = None
        self._why = "the registry's default"
        self.problem: str | None = None
        self.mend: str | None = None

    def names_changed(self) -> None:
        self._changed.set()

    def come_back(self) -> None:
        """There is room again for those that had to go for whoever works here."""
        self._come_back = True
        self._changed.set()

    def wanted(self) -> tuple[str, ...]:
        """Physical ids that may always take a free place: the default's, then the preloaded ones."""
        found = (self._physical(name) for name in ("default", *self._settings().residency.preload))
        return tuple(dict.fromkeys(model_id for model_id in found if model_id))

    async def run(self) -> None:
        """Until cancelled: brings the default up, then follows it."""
        await self._choose_default()
        tried: Situation | None = None
        used = self._settings()
        while True:
            self._changed.clear()
            situation, before, used = self._situation(), used, self._settings()
            if situation == tried and self._is_due():
                await self._bring_up(situation, again=True)
            elif situation != tried or (self.problem is not None and used != before):
                tried = situation
                await self._bring_up(situation)
            elif used.residency != before.residency:
                await self._preload()
            if self._come_back:
                self._come_back = False
                await self._load(one for one in self.wanted() if one in self._pool.gave_way())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_again_s(situation)):
                    await self._changed.wait()

    def _look_again_s(self, situation: Situation) -> float | None:
        """Whether a machine elsewhere is there changes without a word to us."""
        if situation.far is not None:
            return self._settings().nodes.look_every_s
        return TRY_AGAIN_S if self._try_at is not None else None

    def _is_due(self) -> bool:
        """Whether a default that found no memory is tried again: never to push out what somebody loaded instead."""
        if self._try_at is None or time.monotonic() < self._try_at:
            return False
        return not any(view.pid and view.kind == Kind.CHAT.value for view in self._pool.views())

    def became_ready(self, model_id: str) -> None:
        """A worker is proven. A default that failed at the start may have been brought up by a request since."""
        if model_id == self._physical("default"):
            self.problem = self.mend = self._try_at = None
            self._tell_ready(model_id)

    def _situation(self) -> Situation:
        """What must change before another load makes sense: one that failed is also tried with other settings, and
        none pushes out, for a setting, what was loaded or unloaded since."""
        default = self._physical("default")
        spec = self._catalog.get(default) if default else None
        fingerprint = spec.fingerprint if isinstance(spec, ModelSpec) else str(spec)
        registry = self._names.state().registry
        far = (
            far_role("default", registry, KnownIds(self._catalog), self._local_node(), self._nodes)
            if default is None
            else None
        )
        return Situation(registry.roles.get("default"), default, fingerprint, far)

    async def _choose_default(self) -> None:
        """`--model`, else the registry's default, else the embedded model."""
        if self._options.model:
            self._names.force_default(self._options.model)
            self._why = "as --model says"
            return
        target = self._names.state().registry.roles.get("default")
        if target is None or (target == EMBEDDED_ID and self._catalog.get(EMBEDDED_ID) is None):
            self._why = "the one that roost brings along"
            await self._take_embedded()

    async def _take_embedded(self) -> None:
        try:
            await asyncio.to_thread(self._fetch_embedded, asyncio.get_running_loop())
        except RoostError as error:
            self._tell_problem(error.message, "roost use default ID")
            return
        if not self._paths.registry.exists():
            # The very first run: what serves becomes visible where people look for it.
            await asyncio.to_thread(set_role, self._paths.registry, "default", EMBEDDED_ID)
        self._names.fall_back(EMBEDDED_ID)

    def _fetch_embedded(self, loop: asyncio.AbstractEventLoop) -> None:
        def tell(step: Step) -> None:
            label = f"{step.verb} {step.subject}"
            loop.call_soon_threadsafe(self._announce.progress, label, step.done_bytes, step.total_bytes)

        self._catalog.ensure_embedded(tell)

    async def _bring_up(self, situation: Situation, *, again: bool = False) -> None:
        """Loads the default and then the others. `again`: it was said before why that fails."""
        model_id, target = situation.default, situation.target
        self._try_at = None
        if situation.far is not None:
            self._follow_far(situation.far)
            return
        if model_id is None:
            text = f"the default role names {target}, which is not here" if target else "no default role is set"
            self._tell_problem(text, f"roost models add {target}" if target else "roost use default ID")
            return
        try:
            if not self._ready_told and not again:
                self._announce.step(f"model {model_id}: {self._why}")
                self._announce.step(f"engine {self._engine_for(model_id)}")
            await self._pool.load(model_id)
        except ShuttingDown:
            # Who pressed Ctrl-C while it loaded knows why it did not.
            return
        except RoostError as error:
            view = next((view for view in self._pool.views() if view.model_id == model_id), None)
            mend = view.mend if view and view.mend else f"roost logs {model_id}"
            self._tell_problem(error.message, mend, aloud=not again)
            if isinstance(error, InsufficientMemory) and error.should_retry:
                self._try_at = time.monotonic() + TRY_AGAIN_S
            return
        self.became_ready(model_id)
        await self._preload()

    def _follow_far(self, far: FarRole) -> None:
        if not far.reachable:
            self._tell_problem(f"the default role is {far.model_id}, and {far.note}", far.mend)
            return
        self.problem = self.mend = None
        self._tell_ready(far.model_id, f"roost@{far.node}")

    async def _preload(self) -> None:
        """In the order of the settings, one after the other: none of them is to push out one before it."""
        residency = self._settings().residency
        fitting = together(self.wanted(), layout_of(residency), self._takes_a_place, residency.max_resident)
        await self._load(fitting[1:])

    async def _load(self, model_ids: Iterable[str]) -> None:
        for model_id in model_ids:
            try:
                await self._pool.load(model_id)
            except RoostError as error:
                log.warning("preload failed", model=model_id, reason=error.message)

    def _tell_ready(self, model_id: str, engine: str | None = None) -> None:
        if self._ready_told:
            return
        self._ready_told = True
        if engine is None:
            engine = next((view.engine for view in self._pool.views() if view.model_id == model_id), "")
        tls = self._settings().gateway.tls_certificate is not None
        self._announce.ready(*self._address(), model_id, engine, tls=tls)

    def _tell_problem(self, text: str, mend: str | None, *, aloud: bool = True) -> None:
        if aloud and text != self.problem:
            self._announce.problem(text, mend)
        self.problem, self.mend = text, mend

    def _local_node(self) -> str:
        return self._settings().nodes.name or node_name()

    def _physical(self, name: str) -> str | None:
        try:
            found = resolve(
                name, self._names.state().registry, known=KnownIds(self._catalog), local_node=self._local_node()
            )
        except ModelNotFound:
            return None
        return found.model_id
