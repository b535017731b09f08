"""Digests: of header and samples (identity that is cheap to check), of a whole file (what `models verify` compares)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from roost.catalog import samples
from roost.catalog.gguf import MAGIC, read_gguf
from roost.catalog.reading import open_regular
from roost.catalog.safetensors import read_safetensors
from roost.catalog.spec import FileRole, ModelFile

#: Large enough that hashing, not the calls, takes the time; small enough for a smooth bar.
_CHUNK_BYTES = 4 * 2**20
_IDENTITY_ROLES = frozenset({FileRole.WEIGHTS, FileRole.PROJECTOR, FileRole.ADAPTER})
#: Ollama names blobs sha256-HEX, the Hugging Face cache names large ones HEX.
_BLOB_NAME = re.compile(r"^(?:sha256-)?([0-9a-f]{64})$")


def fingerprint(files: Iterable[ModelFile]) -> str:
    """sha256 over the sorted lines `role:size:identity digest` of weights, projector and adapter."""
    lines = sorted(f"{file.role}:{file.size_bytes}:{file.identity_sha256}\n" for file in files if identifies(file))
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def identifies(file: ModelFile) -> bool:
    """Whether the file is part of the fingerprint."""
    return file.role in _IDENTITY_ROLES


def identity_sha256(path: Path) -> str:
    """The digest of a weights file's header and samples as the catalog records it. Raises ModelRefused or OSError.

    Bounds-checked like the inspector, but in this process: for files whose header it has accepted before.
    """
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        magic = file.read(4)
        file.seek(0)
        if magic == MAGIC:
            return samples.identity_sha256(file, size_bytes, read_gguf(file, size_bytes).sha256)
        return samples.identity_sha256(file, size_bytes, read_safetensors(file, size_bytes).sha256)


def file_sha256(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """sha256 of a whole file; `on_bytes` is told the size of each piece."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(_CHUNK_BYTES):
            digest.update(piece)
            if on_bytes:
                on_bytes(len(piece))
    return digest.hexdigest()


def named_sha256(path: Path) -> str | None:
    """The digest that a content-addressed store gives a file as its name; None elsewhere."""
    real = path.resolve()
    match = _BLOB_NAME.match(real.name)
    return match.group(1) if match and real.parent.name == "blobs" else None
