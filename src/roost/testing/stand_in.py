"""The stand-in engine behind the real `Engine` seam, and a small world around it: for tests of the pool."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind, UnavailableModel
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings, Settings
from roost.engines.caches import ask_to_drop
from roost.engines.http import ask_health, generate_one
from roost.engines.types import (
    Available,
    EngineTraits,
    Health,
    Healthy,
    LaunchPlan,
    Loading,
    ProofKind,
    Unhealthy,
    UnixEndpoint,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import BadConfiguration
from roost.host.memory_types import MemorySensor
from roost.host.this import this_host, this_memory
from roost.workers.orders import World
from roost.workers.peaks import PeakBook

SURFACES = frozenset({"chat", "completions", "embeddings", "rerank"})


def declared_spec(model_id: str) -> ModelSpec:
    """A model without files: what it answers is the stand-in's."""
    return ModelSpec(
        id=model_id,
        format=ModelFormat.DECLARED,
        path=None,
        source=Source(kind=SourceKind.DECLARED, location=model_id),
        capabilities=frozenset({"chat", "completion"}),
    )


@dataclass
class FixedCatalog:
    """A catalog that holds what it is told."""

    models: dict[str, ModelSpec | UnavailableModel]

    def get(self, model_id: str) -> ModelSpec | UnavailableModel | None:
        return self.models.get(model_id)

    def all(self) -> Iterable[ModelSpec | UnavailableModel]:
        return tuple(self.models[name] for name in sorted(self.models))


@dataclass
class StandInEngine:
    """Starts `roost.testing.engine` with the flags set for each model; each is proven by its command line."""

    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    concurrency: int = 4
    #: Tokens that running requests share; None: no limit.
    shared_window: int | None = None
    #: Every further start is refused, as by a knob that it cannot honour.
    refuses: bool = False
    name: str = "stand-in"

    def availability(self) -> Available:
        return Available("1", sys.executable)

    def refusal(self, spec: ModelSpec) -> str | None:
        return None

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        return []

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        if self.refuses:
            raise BadConfiguration("the stand-in refuses these settings")
        argv = (sys.executable, "-m", "roost.testing.engine", "--uds", str(place.socket_path), "--model", spec.id)
        return LaunchPlan(
            argv=(*argv, *self.flags.get(spec.id, ())),
            env={"PATH": "/usr/bin:/bin", "HOME": str(place.home), **knobs.env},
            endpoint=UnixEndpoint(place.socket_path),
            served_name=spec.id,
            proof=ProofKind.COMMAND_LINE,
            traits=EngineTraits(cancels_non_stream=True, context_check="none", surfaces=SURFACES),
            context_length=self.shared_window,
            concurrency=self.concurrency,
            shared_window=self.shared_window is not None,
        )

    async def health(self, worker: WorkerHttp) -> Health:
        answer = await ask_health(worker, "/health")
        if isinstance(answer, Loading):
            return answer
        return Healthy() if answer.status == 200 else Unhealthy(answer.error_text())

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        await generate_one(worker, served_name, surfaces)

    async def drop_caches(self, worker: WorkerHttp) -> None:
        await ask_to_drop(worker)

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        return None


def stand_in_world(
    folder: Path,
    engine: StandInEngine,
    model_ids: Iterable[str],
    settings: Callable[[], Settings],
    *,
    auxiliary: Iterable[str] = (),
    home: str | None = None,
    memory: MemorySensor | None = None,
    peaks: PeakBook | None = None,
) -> World:
    """A pool's world below `folder`, in which every model is served by the stand-in."""
    names = tuple(model_ids)
    environ: Mapping[str, str] = {"ROOST_HOME": str(folder), "HOME": str(folder)}
    paths = Paths.from_environment(environ)
    paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = frozenset(auxiliary)
    return World(
        host=this_host(),
        memory=memory or this_memory(),
        peaks=peaks or PeakBook(),
        catalog=FixedCatalog({name: declared_spec(name) for name in names}),
        paths=paths,
        settings=settings,
        choose_engine=lambda spec, knobs, model: engine,
        is_auxiliary=lambda spec: spec.id in beside,
        is_home=lambda model_id: model_id == (home or names[0]),
        random=lambda: 0.0,
    )
