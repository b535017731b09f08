"""What a plan of memory is made from: this machine's readings, a model's engine, and what that engine says itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost.cli.doors import Here, build_engines
from roost.errors import BadConfiguration, Unavailable

if TYPE_CHECKING:
    from roost.catalog.catalog import Catalog
    from roost.catalog.spec import ModelSpec
    from roost.config.settings import Knobs, ModelSettings, Settings
    from roost.engines.types import Engine
    from roost.memory.plan import Machine, Question
    from roost.memory.types import DryRun, LoadShape

#: More threads read no faster.
_BANDWIDTH_THREADS = 4


@dataclass(frozen=True)
class Asker:
    """Makes questions of models; the machine is read once."""

    settings: Settings
    machine: Machine
    engines: dict[str, Engine]
    apple: bool

    def question(
        self, spec: ModelSpec, *, context: int | None = None, sequences: int | None = None, ask: bool = False
    ) -> Question:
        """`ask`: have the engine itself say what it takes, and measure how fast memory is. Raises BadConfiguration
        for sizes or knobs that its engine cannot honour, Unavailable without an engine."""
        from roost.config.settings import ModelSettings
        from roost.engines.table import choose_engine
        from roost.memory.placement import placed
        from roost.memory.plan import Question
        from roost.memory.sizing import Sizer
        from roost.memory.types import TellsMemory

        model = self.settings.models.get(spec.id, ModelSettings())
        engine = choose_engine(spec, self.settings.knobs(spec.id), self.engines, self.apple, model)
        knobs = self._knobs(spec, engine, context, sequences)
        if not isinstance(engine, TellsMemory):
            return Question(spec, engine.name, None, model.memory_gb)
        shape = placed(engine.load_shape(spec, knobs), self.machine.gpu_memory)
        told, why = _dry_run(engine, spec, knobs, model) if ask else (None, None)
        sizer = Sizer(spec, shape, self.machine.repacked_types, told)
        bandwidth = _bandwidth(shape, self.machine) if ask else (None, "")
        return Question(spec, engine.name, sizer, model.memory_gb, why, bandwidth)

    def _knobs(self, spec: ModelSpec, engine: Engine, context: int | None, sequences: int | None) -> Knobs:
        asked = {"context": context, "max_sequences": sequences}
        changes = {name: value for name, value in asked.items() if value is not None}
        knobs = self.settings.knobs(spec.id, engine.name).model_copy(update=changes)
        if found := engine.problems(spec, knobs):
            raise BadConfiguration(f"cannot plan {spec.id}: {'; '.join(found)}", problems=tuple(found))
        return knobs


def asker(place: Here, settings: Settings, catalog: Catalog) -> Asker:
    """Reads the machine. Raises Unavailable when it does not tell its memory."""
    from roost.host.this import this_host

    return Asker(settings, read_machine(settings), build_engines(place, catalog), this_host().is_apple_silicon())


def read_machine(settings: Settings) -> Machine:
    """Raises Unavailable when the system does not tell its memory."""
    from roost.host.memory_types import SensorFailed
    from roost.host.this import this_memory
    from roost.memory.plan import machine_of

    sensor = this_memory()
    try:
        return machine_of(sensor.memory(), sensor.gpus(), sensor.cpu(), settings.memory)
    except SensorFailed as error:
        raise Unavailable(f"cannot tell what fits: {error}", should_retry=False) from error


def _dry_run(engine: object, spec: ModelSpec, knobs: Knobs, model: ModelSettings) -> tuple[DryRun | None, str | None]:
    """The engine's own account, or why it is missing."""
    from roost.memory import dry_run
    from roost.memory.types import TellsMemory

    assert isinstance(engine, TellsMemory)
    told = dry_run.ask(lambda home: engine.dry_run(spec, knobs, model, home))
    if isinstance(told, dry_run.DryRunFailed) and told.crashed:
        raise BadConfiguration(
            f"cannot plan {spec.id}: its engine cannot start with these sizes, asked for them {told.reason}; "
            "ask for a smaller concurrency or context"
        )
    return (None, told.reason) if isinstance(told, dry_run.DryRunFailed) else (told, None)


def _bandwidth(shape: LoadShape, machine: Machine) -> tuple[float | None, str]:
    """Bytes a second at which this start would read its weights, and whose word that is."""
    from roost.host.bandwidth import apple_bandwidth, measured_bandwidth
    from roost.host.this import this_host
    from roost.memory.types import Placement

    if shape.placement is Placement.GPU:
        speeds = [gpu.bandwidth for gpu in machine.gpus if gpu.bandwidth]
        return min(speeds, default=None), "by the GPU's clock"
    if shape.placement is Placement.UNIFIED and (speed := apple_bandwidth(this_host().chip())):
        return speed, "as Apple specifies"
    return measured_bandwidth(min(os.cpu_count() or 1, _BANDWIDTH_THREADS)), "measured on this CPU"
