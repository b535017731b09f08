"""What engines tell memory about one start: values only, so that engines may import them and nothing else from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs, ModelSettings


class Runtime(StrEnum):
    """Whose rules of allocation hold."""

    #: The whole KV cache is allocated and zeroed at load; all sizes are fixed by then.
    LLAMA_CPP = "llama.cpp"
    #: Caches grow with their sequences, in steps of 256 cells.
    MLX = "mlx"


class Placement(StrEnum):
    """Where weights and KV of a start lie."""

    HOST = "host"
    #: In memory of its own, beside the host's.
    GPU = "gpu"
    #: The GPU's memory is the host's (Apple silicon, GB10, Jetson, AMD APU): one budget holds both.
    UNIFIED = "unified"


@dataclass(frozen=True)
class LoadShape:
    """The sizes of one start, decided by its engine from model and knobs; tokens unless named otherwise."""

    engine: str
    runtime: Runtime
    #: Window of one request.
    context: int
    #: Requests computed at once.
    sequences: int
    #: What the engine computes on, as it says: cpu, metal, cuda, rocm, vulkan; `native`: nothing tells.
    device: str = "cpu"
    #: llama.cpp: all sequences share one pool of `context` cells; else each has its own.
    unified: bool = False
    #: Tokens of a prompt computed in one step.
    step: int = 512
    #: Rows of logits that one step may produce: all of a batch where embeddings are served, else one a sequence.
    output_rows: int = 1
    #: Element type of keys and values (f16, q8_0, …); None: what the engine computes in.
    kv_type: str | None = None
    #: Cap of cached prompts beside the running ones.
    cache_bytes: int = 0
    #: Cap of freed buffers that the engine keeps for reuse.
    reuse_bytes: int = 0
    #: llama.cpp: states kept for each sequence to go back to, for models that cannot cut their cache.
    checkpoints: int = 0
    #: llama.cpp: windowed layers keep the whole context.
    full_window: bool = False
    #: llama.cpp: matrices are not copied into an order that suits the CPU.
    keeps_order: bool = False
    #: Layers on the GPU; None: all.
    gpu_layers: int | None = None
    #: Decided by device and machine together: `placement.placed`.
    placement: Placement = Placement.HOST
    #: llama.cpp: the draft model of speculative decoding.
    draft: ModelSpec | None = None
    #: The server computes fused attention, which needs no matrix of scores, for every head size.
    fused_attention: bool = True


@dataclass(frozen=True)
class Part:
    """What llama.cpp says that it would take on one device, in bytes."""

    #: The engine's own name of it: `Host`, `CPU_REPACK`, `CUDA0`.
    device: str
    model_bytes: int
    context_bytes: int
    compute_bytes: int
    #: Memory of a GPU's own, not the host's.
    is_gpu: bool = False
    #: A second copy of weights that the mapped file holds as well.
    is_repacked: bool = False


@dataclass(frozen=True)
class LlamaDryRun:
    """llama.cpp's own account of a start that did not happen, at exactly the sizes that were asked."""

    parts: tuple[Part, ...]
    #: Parts of the draft model, when there is one.
    draft: tuple[Part, ...] = ()
    #: Of `context_bytes`, what recurrent layers hold for all sequences.
    state_bytes: int = 0


@dataclass(frozen=True)
class CacheKind:
    """Caches of one kind in an MLX model that was built without its weights."""

    #: Layers that have one.
    count: int
    #: Bytes of one more token in one layer, and those that are there whatever the length.
    cell_bytes: int
    fixed_bytes: int = 0
    #: Most tokens that it keeps; None: all.
    window: int | None = None


@dataclass(frozen=True)
class MlxDryRun:
    """An MLX model's own account: its parameters and caches, for any length."""

    parameter_bytes: int
    caches: tuple[CacheKind, ...]
    #: Element type of its activations: f32, f16 or bf16.
    dtype: str


DryRun = LlamaDryRun | MlxDryRun


@dataclass(frozen=True)
class DryRunPlan:
    """How to ask an engine: a process that answers and ends without holding weights, or is ended once it answered."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    #: Written to its standard input, then closed.
    stdin: bytes
    #: Its output so far -> its account; None: not said yet.
    parse: Callable[[str], DryRun | None]
    #: Folder that its sockets and files may use; made and removed by whoever runs the plan.
    home: Path


class Ignorance(StrEnum):
    """Why nothing is known of a model's need."""

    #: Nobody here knows how large its cache is: refused, unless somebody gives the size.
    ARCHITECTURE = "architecture"
    #: The formulas do not cover it and its engine does: ask the engine.
    ASK_ENGINE = "ask-engine"
    #: A command or external model without a declared size: admitted alone, measured while it runs.
    UNDECLARED = "undeclared"


@dataclass(frozen=True)
class Unknown:
    """A need that nobody can tell. Never replaced by a guess."""

    kind: Ignorance
    #: One sentence.
    reason: str


@runtime_checkable
class TellsMemory(Protocol):
    """An engine that can say how its start would be sized. The others cannot (`command`, `external`)."""

    def load_shape(self, spec: ModelSpec, knobs: Knobs) -> LoadShape:
        """The sizes that `Engine.launch` would start with; `Engine.problems` must have found nothing."""
        ...

    def dry_run(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, home: Path) -> DryRunPlan | None:
        """How to ask the engine itself; None: it cannot be asked here."""
        ...
