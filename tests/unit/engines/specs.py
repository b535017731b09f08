"""Values that the tests of this room share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind
from roost.config.paths import Paths
from roost.engines.llama_program import Embedded
from roost.engines.types import WorkerPlace

PATHS = Paths.from_environment({"ROOST_HOME": "/roost"})
PLACE = WorkerPlace(
    socket_path=Path("/roost/run/w.sock"), home=Path("/roost/run/w"), port=4711, key="secret-key", nonce="nonce-1"
)
EMBEDDED = Embedded("2026.10.1", where="/env/bin/python", launcher=Path("/env/launcher.py"))


def gguf(**more: Any) -> ModelSpec:
    path = Path("/models/a.gguf")
    values: dict[str, Any] = {
        "id": "org/a",
        "format": ModelFormat.GGUF,
        "path": path,
        "source": Source(kind=SourceKind.FILE, location=str(path)),
        "architecture": "llama",
        "context_length": 8192,
        "vocabulary_size": 49152,
        "capabilities": frozenset({"chat", "completion"}),
        "metadata": {"llama.block_count": 30},
    }
    return ModelSpec.model_validate(values | more)


def declared(location: str = "server --port ${PORT}") -> ModelSpec:
    source = Source(kind=SourceKind.DECLARED, location=location)
    return ModelSpec(id="mine", format=ModelFormat.DECLARED, path=None, source=source)


class Models:
    """A catalog of given models."""

    def __init__(self, *specs: ModelSpec) -> None:
        self._specs: Mapping[str, ModelSpec] = {spec.id: spec for spec in specs}

    def get(self, model_id: str) -> ModelSpec | None:
        return self._specs.get(model_id)

    def all(self) -> list[ModelSpec]:
        return list(self._specs.values())
