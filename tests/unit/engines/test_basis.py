"""What a verdict stands on changes exactly when answers may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost.catalog.spec import FileRole, ModelFile, ModelFormat, ModelSpec, Source, SourceKind
from roost.config.settings import Settings
from roost.engines.basis import Ground, ground_of
from roost.engines.types import Available
from roost.errors import BadConfiguration

SPEC = ModelSpec(
    id="m",
    format=ModelFormat.GGUF,
    path=Path("/m.gguf"),
    source=Source(kind=SourceKind.FILE, location="/m.gguf"),
    fingerprint="f",
    quantization="Q4_1",
    chat_template_sha256="t",
)


class SomeEngine:
    name = "llama.cpp"

    def __init__(self, version: str = "1") -> None:
        self.version = version

    def availability(self) -> Available:
        return Available(version=self.version, where="here", device="cpu")

    def refusal(self, spec: ModelSpec) -> str | None:
        return None


def ground(spec: ModelSpec = SPEC, version: str = "1", **settings: Any) -> Ground:
    engine: Any = SomeEngine(version)
    return ground_of(spec, Settings.model_validate(settings), {"llama.cpp": engine}, apple=False)


def tokenizer(digest: str) -> ModelFile:
    path = Path("/tokenizer.json")
    sizes = {"size_bytes": 1, "mtime_ns": 1, "device": 1, "inode": 1}
    return ModelFile.model_validate({"path": path, "role": FileRole.TOKENIZER, "identity_sha256": digest, **sizes})


@pytest.mark.parametrize(
    "changed",
    [
        ground(SPEC.model_copy(update={"fingerprint": "other"})),
        ground(SPEC.model_copy(update={"chat_template_sha256": "other"})),
        ground(SPEC.model_copy(update={"quantization": "Q8_0"})),
        ground(SPEC.model_copy(update={"files": (tokenizer("a"),)})),
        ground(version="2"),
        ground(engine={"context": 4096}),
        ground(engine={"kv_cache_type": "q8_0"}),
        ground(engines={"llama.cpp": {"extra_args": ["--temp", "0"]}}),
        ground(models={"m": {"engine": {"chat_template_args": {"enable_thinking": False}}}}),
        ground(models={"m": {"filters": {"set": {"temperature": 0.7}}}}),
    ],
)
def test_what_may_change_an_answer_voids_a_verdict(changed: Ground) -> None:
    assert changed != ground()


@pytest.mark.parametrize(
    "settings",
    [
        {"engine": {"idle_ttl_s": 60}},
        {"engine": {"tools": "full"}},
        {"engine": {"threads": 2}},
        {"models": {"m": {"priority": 3}}},
        {"models": {"other": {"engine": {"context": 512}}}},
        {"queue": {"max_wait_s": 5}},
    ],
)
def test_what_cannot_leaves_it(settings: dict[str, Any]) -> None:
    assert ground(**settings) == ground()


def test_a_model_that_nothing_serves_has_none() -> None:
    with pytest.raises(BadConfiguration):
        ground(engine={"name": "no-such-engine"})
