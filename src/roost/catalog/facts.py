"""What one inspection found, as plain values that travel as JSON from the throw-away process.

No pydantic here: the inspector starts once a model, and importing it would be most of its time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

#: What a set of files is; only a model can be served alone.
MODEL, PROJECTOR, ADAPTER = "model", "projector", "adapter"


@dataclass(frozen=True)
class FileFacts:
    """A file as it was when its header was read; the fields of `spec.ModelFile`."""

    path: str
    role: str
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    identity_sha256: str

    @classmethod
    def of(cls, path: Path, role: str, file: BinaryIO, identity_sha256: str) -> FileFacts:
        status = os.fstat(file.fileno())
        return cls(str(path), role, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino, identity_sha256)


@dataclass(frozen=True)
class TemplateFacts:
    text: str | None = None
    sha256: str | None = None
    tool_markers: tuple[str, ...] = ()
    reasoning_markers: tuple[str, ...] = ()
    #: Of tools and thinking.
    capabilities: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Fields as in `spec.ModelSpec`; `kind` says whether it is a model at all."""

    kind: str
    format: str
    #: The (first) weights file, or the folder.
    path: str
    files: tuple[FileFacts, ...]
    architecture: str | None = None
    name: str | None = None
    parameters_total: int | None = None
    parameters_active: int | None = None
    weights_bytes: int = 0
    quantization: str | None = None
    bits_per_weight: float | None = None
    context_length: int | None = None
    vocabulary_size: int | None = None
    longest_token_bytes: int | None = None
    template: TemplateFacts = TemplateFacts()
    capabilities: tuple[str, ...] = ()
    #: Fields of `spec.AttentionShape`.
    attention: dict[str, Any] = field(default_factory=dict)
    #: Fields of `spec.WeightsShape`.
    weights: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    #: Width of what a projector hands to its model; it must equal the model's embedding length.
    projection_length: int | None = None


def bits_per_weight(weights_bytes: int, parameters: int | None) -> float | None:
    """Effective bits: everything stored for the weights, scales included, over the number of parameters."""
    return round(weights_bytes * 8 / parameters, 3) if parameters else None


def active_parameters(total: int, in_experts: int, experts: int | None, used: int | None) -> int | None:
    """Of a mixture of experts: all shared weights and the used share of the experts'. None when the header names
    experts but not how many are used."""
    if not experts or not in_experts:
        return total
    return total - in_experts + in_experts * used // experts if used and used <= experts else None
