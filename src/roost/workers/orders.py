"""What the pool is given, and what it derives for one start."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.catalog.types import CatalogView
from roost.config.layout import layout_of
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings, Settings
from roost.engines.types import Available, Engine, StandsBy, WorkerPlace
from roost.errors import ModelNotFound, ModelUnavailable
from roost.host.memory_types import MemorySensor
from roost.host.types import Host
from roost.workers.holding import Holdings
from roost.workers.logs_path import worker_log_name
from roost.workers.peaks import PeakBook
from roost.workers.residency import Rules
from roost.workers.saved_cache import SavedPlace
from roost.workers.saved_files import Allowance
from roost.workers.start import RunPaths, StartOrder


@dataclass(frozen=True)
class World:
    """Everything outside the pool, injected."""

    host: Host
    #: Readings of this machine's memory: starts are admitted by them.
    memory: MemorySensor
    catalog: CatalogView
    paths: Paths
    settings: Callable[[], Settings]
    #: The engine that serves a model; raises RoostError.
    choose_engine: Callable[[ModelSpec, Knobs, ModelSettings], Engine]
    #: Served beside the resident: the targets of embedding and rerank that no chat role names.
    is_auxiliary: Callable[[ModelSpec], bool]
    #: The default role's model and the preloaded ones.
    is_home: Callable[[str], bool]
    #: Told each time a worker has proven itself.
    on_ready: Callable[[str], None] = field(default=lambda model_id: None)
    #: What starts were seen to take.
    peaks: PeakBook = field(default_factory=PeakBook)
    #: By which means starts are held to their memory.
    holdings: Holdings = field(default_factory=Holdings)
    #: 0 to 1, for the jitter of back-offs.
    random: Callable[[], float] = field(default=random.random)
    #: By name: those that can stand by are asked for spares.
    engines: Mapping[str, Engine] = field(default_factory=dict)


def find_spec(world: World, model_id: str) -> ModelSpec:
    """Raises ModelNotFound, ModelUnavailable."""
    match world.catalog.get(model_id):
        case None:
            raise ModelNotFound(f'cannot serve {model_id!r}: no such model here; see "roost models list"')
        case UnavailableModel(reason=reason):
            raise ModelUnavailable(f"cannot serve {model_id}: {reason}")
        case spec:
            return spec


def start_order(world: World, model_id: str) -> StartOrder:
    """The engine and knobs for one start, as the settings say now. Raises RoostError."""
    spec = find_spec(world, model_id)
    settings = world.settings()
    model = settings.models.get(spec.id, ModelSettings())
    engine = world.choose_engine(spec, settings.knobs(spec.id), model)
    knobs = settings.knobs(spec.id, engine.name)
    parks = engine.name in settings.park.engines
    return StartOrder(spec, engine, knobs, model, spare_digest(engine, knobs), parks)


#: A place that no start has: what differs between two plans for it differs by the settings alone.
_NOWHERE = WorkerPlace(Path("/nowhere/w.sock"), Path("/nowhere/w"), 1, "key", "nonce")


def effective_command(order: StartOrder) -> str:
    """A digest of all that a start's settings and files decide: command, environment, input, endpoint, priority.
    Two orders with the same digest would start the same worker. Raises RoostError."""
    plan = order.engine.launch(order.spec, order.knobs, order.model, _NOWHERE)
    watched = (order.knobs.idle_ttl_s, order.knobs.stall_s, order.knobs.process_priority)
    parts = (order.spec.fingerprint, plan.argv, sorted(plan.env.items()), plan.stdin, plan.endpoint, plan.stop_argv)
    return hashlib.sha256(repr((*parts, plan.context_length, plan.concurrency, watched)).encode()).hexdigest()


def spare_digest(engine: Engine, knobs: Knobs) -> str | None:
    """A digest of the spare that these knobs ask for: one with the same digest may become their worker. None: they
    ask for none, or the engine has none. Blocking; reads the disk."""
    if not knobs.standby or not isinstance(engine, StandsBy):
        return None
    plan = engine.standby(knobs, _NOWHERE)
    if plan is None:
        return None
    parts = (plan.argv, sorted(plan.env.items()), plan.cwd, plan.installation, knobs.process_priority)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class WantedSpare:
    """The one spare that is kept for an engine, as the settings for all its models say."""

    digest: str
    version: str


def wanted_spares(world: World) -> dict[str, WantedSpare]:
    """By engine. Blocking; reads the disk."""
    settings, found = world.settings(), {}
    for name, engine in world.engines.items():
        if digest := spare_digest(engine, settings.knobs("", name)):
            state = engine.availability()
            found[name] = WantedSpare(digest, state.version if isinstance(state, Available) else "")
    return found


def run_paths(world: World, model_id: str) -> RunPaths:
    return RunPaths(
        run_dir=world.paths.run,
        records=world.paths.run / "workers",
        log=world.paths.logs / f"{worker_log_name(model_id)}.log",
        log_cap_bytes=world.settings().log.worker_cap_bytes,
        saved=SavedPlace(world.paths.saved, lambda engine: allowance(world.settings(), model_id, engine)),
    )


def allowance(settings: Settings, model_id: str, engine: str) -> Allowance:
    """What may be kept of a model's conversations while it is away, as the settings say now."""
    bound = settings.resume.max_bytes if settings.resume.enabled else 0
    return Allowance(bound, model=settings.knobs(model_id, engine).resume)


def rules(settings: Settings) -> Rules:
    """Made once for each settings value: sets of models are parsed here."""
    return Rules(
        policy=settings.rotation.policy,
        min_idle_s=settings.rotation.min_idle_s,
        min_residency_s=settings.rotation.min_residency_s,
        max_wait_s=settings.queue.max_wait_s,
        max_overtaken_s=settings.queue.max_overtaken_s,
        max_resident=settings.residency.max_resident,
        layout=layout_of(settings.residency),
        max_parked=settings.park.max_parked if settings.park.engines else 0,
        parked_s=settings.park.stop_after_s,
    )
