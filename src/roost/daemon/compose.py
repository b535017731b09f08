"""The rooms put together: who owns what, what runs beside what, and the order of the end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import structlog

import roost
from roost.api import Problem
from roost.catalog.catalog import Catalog
from roost.catalog.spec import ModelSpec
from roost.config.paths import Paths
from roost.config.watch import FileWatch
from roost.daemon.clouds import CloudKeeper
from roost.daemon.coexisting import Coexisting
from roost.daemon.doors import Doors
from roost.daemon.live_settings import LiveSettings
from roost.daemon.names import Names, node_name
from roost.daemon.nodes import Neighbours
from roost.daemon.peaks import PeakKeeper
from roost.daemon.peer_status import PeerStatusBuilder
from roost.daemon.residents import Residents
from roost.daemon.roles import RoleWriter
from roost.daemon.status import Sources, build_status
from roost.daemon.verdicts import Verdicts
from roost.daemon.weights import TravellingModels
from roost.daemon_types import Announcer, UpOptions
from roost.engines.table import build_engines, choose_engine
from roost.engines.types import Available
from roost.gateway.deps import GatewayDeps
from roost.host.this import this_memory, this_power
from roost.host.types import Host
from roost.registry.types import AUXILIARY_ROLES, RegistryState
from roost.registry.watch import RegistryWatcher
from roost.store.activity import ActivityStore
from roost.store.keys import KeyFile
from roost.store.peaks import PeakStore
from roost.store.usage import usage_by_consumer
from roost.workers.holding import holdings_here
from roost.workers.orders import World, start_order
from roost.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)

#: Volumes come and go without any file of ours changing.
CATALOG_REFRESH_S = 20.0


def prepare(
    paths: Paths,
    environ: Mapping[str, str],
    settings: LiveSettings,
    keys: KeyFile,
    host: Host,
    options: UpOptions,
    announce: Announcer,
) -> Daemon:
    """Everything that needs no event loop."""
    catalog = Catalog.open(paths, settings.settings(), environ)
    return Daemon(paths, environ, settings, keys, host, catalog, options, announce)


class Daemon:
    """One running roost. `serve` returns when it has stopped."""

    def __init__(
        self,
        paths: Paths,
        environ: Mapping[str, str],
        settings: LiveSettings,
        keys: KeyFile,
        host: Host,
        catalog: Catalog,
        options: UpOptions,
        announce: Announcer,
    ) -> None:
        self._paths, self._settings, self._keys, self._host, self._catalog = paths, settings, keys, host, catalog
        self._node, self._memory = settings.settings().nodes.name or node_name(), this_memory()
        self._peaks, self._holdings = PeakKeeper(PeakStore(paths.database)), holdings_here()
        self._clouds = CloudKeeper.here(settings.settings, environ, paths)
        self._engines = build_engines(paths, environ, catalog)
        self._verdicts = Verdicts.here(paths, settings.settings, self._engines, host)
        self._registry = RegistryWatcher(paths.registry, self._registry_changed)
        self.names = Names(lambda: self._registry.state)
        self._activity: ActivityStore | None = None
        self._stopping, self._stop_at_once, self._look_again = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._address = (settings.settings().gateway.host, settings.settings().gateway.port)
        self.pool = Supervisor(self._world())
        self._neighbours = Neighbours(
            paths.node, settings.settings, self._node, environ, host, lambda: self._peer_status.build(), announce.step
        )
        self.residents = Residents(
            paths,
            catalog,
            self.names,
            self.pool,
            settings.settings,
            options,
            announce,
            lambda: self._address,
            self._engine_for,
            self._takes_a_place,
            self._neighbours.room,
        )
        self._coexisting = Coexisting(
            this_power(),
            self._memory,
            host,
            self.pool,
            lambda: settings.settings().coexistence,
            self.residents.come_back,
        )
        self._started_at = time.time()
        self._swapped_out_at_start = host.memory().swapped_out_bytes
        self._host_budget(announce)

    def _host_budget(self, announce: Announcer) -> None:
        memory = self._host.memory()
        total, free = memory.total_bytes / 10**9, memory.available_bytes / 10**9
        announce.step(f"{self._host.chip()}: {free:.1f} of {total:.1f} GB memory available")

    # The end.

    def stop(self) -> None:
        """First call: drain. Second: at once."""
        if self._stopping.is_set():
            self._stop_at_once.set()
        self._stopping.set()

    def reload(self) -> None:
        """Look at the files now, whatever their dates say."""
        self._look_again.set()

    # The course.

    async def serve(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._address = listener.getsockname()[:2]
        self._activity = ActivityStore(self._paths.database)
        await asyncio.to_thread(self._peaks.fill)
        await asyncio.to_thread(self._clouds.fill)
        deps, doors = self._deps(), Doors(self._paths.control_socket)
        await doors.open(deps, self._settings.settings().gateway, listener, tls, self._neighbours)
        try:
            async with asyncio.TaskGroup() as group:
                started = asyncio.Event()
                group.create_task(self.pool.run(started), name="pool")
                await started.wait()
                helpers = [
                    group.create_task(self._peaks.run(), name="peaks"),
                    group.create_task(self._clouds.run(), name="clouds"),
                    group.create_task(self._activity.run(), name="activity"),
                    group.create_task(self._registry.run(), name="registry"),
                    group.create_task(self._watch_files(), name="files"),
                    group.create_task(self._reload_when_told(), name="reload"),
                    group.create_task(self._refresh_catalog(), name="catalog"),
                    group.create_task(self.residents.run(), name="residents"),
                    group.create_task(self._coexisting.run(), name="coexistence"),
                    group.create_task(self._neighbours.run(), name="nodes"),
                ]
                await self._stopping.wait()
                log.info("stopping", drain_s=self._settings.settings().drain_s)
                await self._drain(group)
                await doors.close()
                for helper in helpers:
                    helper.cancel()
        finally:
            self._paths.control_socket.unlink(missing_ok=True)
        log.info("stopped")

    async def _drain(self, group: asyncio.TaskGroup) -> None:
        closing = group.create_task(self.pool.close(self._settings.settings().drain_s))
        hurry = group.create_task(self._stop_at_once.wait())
        await asyncio.wait([closing, hurry], return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            await self.pool.close(0)
        hurry.cancel()
        await closing

    # What is given to the rooms.

    def _world(self) -> World:
        return World(
            host=self._host,
            memory=self._memory,
            peaks=self._peaks.book,
            holdings=self._holdings,
            catalog=self._catalog,
            paths=self._paths,
            settings=self._settings.settings,
            choose_engine=lambda spec, knobs, model: choose_engine(
                spec, knobs, self._engines, self._host.is_apple_silicon(), model
            ),
            is_auxiliary=self._is_auxiliary,
            is_home=lambda model_id: model_id in self.residents.wanted(),
            on_ready=lambda model_id: self.residents.became_ready(model_id),
            engines=self._engines,
        )

    def _engine_for(self, model_id: str) -> str:
        """For people: the engine that will serve a model, and why that one. Raises RoostError."""
        order = start_order(self._world(), model_id)
        state = order.engine.availability()
        version = f" {state.version}" if isinstance(state, Available) and state.version != "-" else ""
        automatic = self._settings.settings().knobs(model_id).name == "auto"
        # Who gives a model a command or an address has chosen its engine.
        chosen = not automatic or order.engine.name in ("command", "external")
        why = "as the settings say" if chosen else "the first installed one that can serve it"
        return f"{order.engine.name}{version}: {why}"

    def _is_auxiliary(self, spec: ModelSpec) -> bool:
        """Embedding and rerank models, and whatever these roles name that no chat role names too; and servers that
        run elsewhere, which take no place here."""
        model = self._settings.settings().models.get(spec.id)
        if model is not None and model.external is not None:
            return True
        if spec.capabilities and spec.capabilities <= {"embedding", "rerank"}:
            return True
        roles = self.names.state().registry.roles
        beside = {roles[role] for role in AUXILIARY_ROLES if role in roles}
        chat = {model for role, model in roles.items() if role not in AUXILIARY_ROLES}
        return spec.id in beside - chat

    def _takes_a_place(self, model_id: str) -> bool:
        spec = self._catalog.get(model_id)
        return not (isinstance(spec, ModelSpec) and self._is_auxiliary(spec))

    def _deps(self) -> GatewayDeps:
        assert self._activity is not None
        sources, settings = self._sources(self._activity), self._settings.settings
        self._peer_status = PeerStatusBuilder(sources, lambda: self._neighbours.room.addresses, self._memory)
        return GatewayDeps(
            settings=self._settings.settings,
            registry=self.names.state,
            catalog=self._catalog,
            pool=self.pool,
            activity=self._activity,
            keys=self._keys,
            status=partial(build_status, sources),
            put_role=self._roles(sources).put,
            verdict=self._verdicts.of,
            usage=partial(usage_by_consumer, self._paths.database),
            clouds=self._clouds.clouds,
            draining=self._stopping.is_set,
            node=self._node,
            version=roost.__version__,
            daemon_log=lambda: str(self._paths.logs / "daemon.log"),
            shutdown=self.stop,
            nodes=self._neighbours.room,
            on_battery=lambda: bool(self._coexisting.on_battery),
            pairing=self._neighbours.desk,
            door_hosts=self._neighbours.hosts,
            weights=TravellingModels(
                self._catalog, self._paths.models, self._neighbours.room, lambda: settings().nodes.accept_models
            ),
        )

    def _roles(self, sources: Sources) -> RoleWriter:
        refresh, path = self._registry.refresh, self._paths.registry
        return RoleWriter(self._catalog, self._settings.settings, self._verdicts.of, path, refresh, sources)

    def _sources(self, activity: ActivityStore) -> Sources:
        return Sources(
            host=self._host,
            catalog=self._catalog,
            settings=self._settings.settings,
            registry=self.names.state,
            workers=self.pool.views,
            spares=self.pool.spares,
            recent=partial(activity.recent, 1000),
            draining=self._stopping.is_set,
            keys=self._keys,
            further_problems=partial(self._problems, activity),
            settings_problem=lambda: self._settings.problem,
            address=lambda: self._address,
            registry_path=str(self._paths.registry),
            node=self._node,
            version=roost.__version__,
            started_at=self._started_at,
            swapped_out_at_start=self._swapped_out_at_start,
            coexistence=self._coexisting.report,
            on_battery=lambda: self._coexisting.on_battery,
            verdict=self._verdicts.of,
            nodes=self._neighbours.room,
            clouds=self._clouds.clouds,
        )

    def _problems(self, activity: ActivityStore) -> tuple[Problem, ...]:
        texts = (
            (self._settings.problem, "error", "roost config check"),
            (self._keys.problem(), "error", "roost keys list"),
            (self._keys.shut_out(), "warning", "roost keys add NAME"),
            (self._verdicts.problem(), "warning", "roost models verify ID"),
            (activity.problem() or self._peaks.notice(), "warning", "roost doctor"),
            (self._neighbours.problem(), "warning", "roost node list"),
            (self.pool.memory_problem(), "warning", "roost unload, or close other programs"),
            (self.residents.problem, "error", self.residents.mend),
            (_pending_text(self._settings.pending), "warning", "roost down && roost up"),
        )
        return (*(Problem(severity=s, text=t, mend=m) for t, s, m in texts if t), *self._clouds.problems())

    # What changes while it runs.

    def _registry_changed(self, old: RegistryState, new: RegistryState) -> None:
        log.info("registry", roles=dict(new.registry.roles), problem=new.problem.message if new.problem else None)
        self.residents.names_changed()

    async def _watch_files(self) -> None:
        paths = self._paths
        await FileWatch([paths.settings, paths.system_settings, paths.catalog], self._files_changed).run()

    async def _reload_when_told(self) -> None:
        while await self._look_again.wait():
            self._look_again.clear()
            if self._paths.registry.exists():
                self._registry.refresh()
            await self._files_changed(frozenset({self._paths.settings, self._paths.catalog}))

    async def _files_changed(self, changed: frozenset[Path]) -> None:
        if changed - {self._paths.catalog}:
            await self._settings.reload(changed)
        await self._catalog_again()
        await self.pool.reconsider()

    async def _refresh_catalog(self) -> None:
        while True:
            await asyncio.sleep(CATALOG_REFRESH_S)
            await self._catalog_again()

    async def _catalog_again(self) -> None:
        await asyncio.to_thread(self._catalog.refresh, self._settings.settings())
        self.residents.names_changed()


def _pending_text(pending: tuple[str, ...]) -> str | None:
    return f"{', '.join(pending)} changed in the settings and holds from the next start on" if pending else None
