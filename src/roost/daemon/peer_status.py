"""How this machine stands, as its paired machines are told: what it serves itself, and nothing of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.config.settings import Settings
from roost.daemon.status import LOADING_STATES, RESIDENT_STATES, Sources, role_targets
from roost.host.memory_types import Gpu, GpuKind, MemorySensor, SensorFailed
from roost.memory.budget import host_limits
from roost.nodes.shapes import ModelSaid, PeerStatus
from roost.workers.types import WorkerView


def own_gpu_bytes(memory: MemorySensor) -> int:
    """Memory of all GPUs that have their own; blocks."""
    try:
        gpus = memory.gpus()
    except SensorFailed:
        return 0
    return sum(gpu.total_bytes for gpu in gpus if isinstance(gpu, Gpu) and gpu.kind is GpuKind.OWN)


class PeerStatusBuilder:
    """Asked every few seconds by each paired machine."""

    def __init__(self, sources: Sources, addresses: Callable[[], tuple[str, ...]], memory: MemorySensor) -> None:
        self._sources, self._addresses, self._memory = sources, addresses, memory
        #: Looked up at the first question: until somebody asks it costs nothing.
        self._gpu_bytes: int | None = None
        self._settings: Settings | None = None
        self._contexts: dict[str, int | None] = {}

    async def build(self) -> PeerStatus:
        if self._gpu_bytes is None:
            self._gpu_bytes = await asyncio.to_thread(own_gpu_bytes, self._memory)
        sources = self._sources
        views = {view.model_id: view for view in sources.workers()}
        budget = host_limits(sources.settings().memory, sources.host.memory().total_bytes).day_bytes + self._gpu_bytes
        promised = sum(view.promised_bytes or view.resident_bytes or 0 for view in views.values())
        return PeerStatus(
            name=sources.node,
            version=sources.version,
            draining=sources.draining(),
            addresses=self._addresses(),
            models=tuple(self._model(model, views.get(model.id)) for model in self._listed()),
            roles=role_targets(sources),
            budget_bytes=budget,
            free_bytes=max(0, budget - promised),
        )

    def _listed(self) -> list[ModelSpec]:
        own = self._sources.settings().models
        hidden = {name for name, model in own.items() if model.unlisted or model.draft_only}
        return [
            model
            for model in self._sources.catalog.all()
            if not isinstance(model, UnavailableModel) and model.id not in hidden
        ]

    def _model(self, model: ModelSpec, view: WorkerView | None) -> ModelSaid:
        verdict = self._sources.verdict(model)
        return ModelSaid(
            id=model.id,
            fingerprint=model.fingerprint,
            state=_state(view),
            context_length=(view.context_length if view else None) or self._context(model),
            capabilities=frozenset(model.capabilities),
            running=view.running if view else 0,
            queued=view.queued if view else 0,
            verdict=verdict.word if verdict else None,
        )

    def _context(self, model: ModelSpec) -> int | None:
        """Kept for as long as the settings are the same: merging them costs more than all the rest."""
        settings = self._sources.settings()
        if settings is not self._settings:
            self._settings, self._contexts = settings, {}
        if model.id not in self._contexts:
            self._contexts[model.id] = settings.knobs(model.id).context or model.context_length
        return self._contexts[model.id]


def _state(view: WorkerView | None) -> str:
    if view is not None and view.state in RESIDENT_STATES:
        return "resident"
    if view is not None and view.state in LOADING_STATES | {"starting"}:
        return "loading"
    return "on-disk"
