"""Which llama.cpp models are saved, what a file depends on, and what its first tokens are."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from roost.catalog.spec import AttentionShape, ModelSpec
from roost.config.settings import Knobs
from roost.engines.llama_saved import cache_facts, cache_refusal, first_tokens
from roost.engines.llama_shape import shape_of
from roost.engines.types import CannotKeep
from tests.unit.engines.specs import gguf

PROGRAM = {"version": "1", "device": "cpu"}


def facts(spec: ModelSpec | None = None, program: Mapping[str, str] = PROGRAM, **knobs: object) -> Mapping[str, Any]:
    given = Knobs.model_validate(knobs)
    found = cache_facts(spec or gguf(), shape_of(spec or gguf(), given), given, program)
    assert not isinstance(found, CannotKeep)
    return found


@pytest.mark.parametrize(
    ("spec", "knobs", "why"),
    [
        (gguf(attention=AttentionShape(hybrid=True)), {}, "hybrid"),
        (gguf(attention=AttentionShape(sliding_window=1024)), {}, "sliding-window"),
        (gguf(projector=Path("/models/mmproj.gguf")), {}, "projector"),
        (gguf(capabilities=frozenset({"embedding"})), {}, "no conversation"),
        (gguf(), {"prefix_cache": False}, "reuses no prompt"),
    ],
)
def test_a_model_that_gains_nothing_is_not_saved(spec: ModelSpec, knobs: dict[str, object], why: str) -> None:
    assert why in str(cache_refusal(spec, shape_of(spec, Knobs.model_validate(knobs))))


def test_a_plain_chat_model_is_saved() -> None:
    assert cache_refusal(gguf(), shape_of(gguf(), Knobs())) is None


@pytest.mark.parametrize(
    "other",
    [
        {"spec": gguf(fingerprint="ff")},
        {"spec": gguf(chat_template_sha256="ff")},
        {"spec": gguf(adapter=Path("/models/lora.gguf"))},
        {"program": {"version": "2", "device": "cpu"}},
        {"context": 4096},
        {"kv_cache_type": "q8_0"},
        {"max_sequences": 2},
        {"prefill_batch": 640},
        {"extra_args": ("rope_freq_base=10000",)},
        {"env": {"GGML_X": "1"}},
    ],
)
def test_whatever_may_change_the_cache_changes_its_facts(other: dict[str, Any]) -> None:
    assert facts(**other) != facts()


def test_what_cannot_change_the_cache_does_not_throw_it_away() -> None:
    assert facts(threads=3, engine_log_level="error", prefix_cache_mb=64, idle_ttl_s=9) == facts()


def words(*numbers: int) -> bytes:
    return struct.pack(f"<4sII{len(numbers)}i", b"qsgg", 4, len(numbers), *numbers)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        (words(-1, 1, 4, 11, 12, 13, 14, 0) + b"state", (11, 12, 13)),
        (words(11, 12, 13, 14) + b"state", (11, 12, 13)),
        (words(-1, 1, 2, 11, 12, 0), (11, 12)),
        (words(11, -1, 13), ()),
        (words(), ()),
        (b"GGUF" + bytes(60), ()),
        (b"qsgg", ()),
        (b"", ()),
    ],
)
def test_the_first_tokens_are_read_from_both_forms_and_nothing_from_another(
    tmp_path: Path, content: bytes, tokens: tuple[int, ...]
) -> None:
    file = tmp_path / "slot-0.kv"
    file.write_bytes(content)
    assert first_tokens(file, 3) == tokens
