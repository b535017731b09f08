from __future__ import annotations

import pytest

from roost.catalog.spec import AttentionShape, ModelFormat, ModelSpec, Source, SourceKind
from roost.gateway.ollama.shapes import capabilities, description, row, short_count

MODEL = ModelSpec(
    id="Some-Model",
    format=ModelFormat.GGUF,
    path=None,
    source=Source(kind=SourceKind.FILE, location="x"),
    fingerprint="ab" * 32,
    architecture="llama",
    parameters_total=134_515_008,
    weights_bytes=96_000_000,
    quantization="Q4_1",
    capabilities=frozenset({"chat", "completion", "tools", "vision"}),
    attention=AttentionShape(layers=30, heads=9, embedding_length=576),
)
DECLARED = MODEL.model_copy(update={"format": ModelFormat.DECLARED, "fingerprint": "", "architecture": None})


def test_a_model_is_listed_with_what_pickers_show() -> None:
    listed = row("coding", MODEL, 1_790_000_000)
    assert listed["name"] == listed["model"] == "coding"
    assert listed["digest"] == "ab" * 32
    assert listed["modified_at"] == "2026-09-21T14:13:20Z"
    assert listed["capabilities"] == ["completion", "tools", "vision"]
    assert listed["details"] == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.5M",
        "quantization_level": "Q4_1",
    }


def test_the_window_stands_under_the_architecture() -> None:
    info = description(MODEL, 8192, 0)["model_info"]
    assert info["general.architecture"] == "llama" and info["llama.context_length"] == 8192
    assert description(DECLARED, 4096, 0)["model_info"]["unknown.context_length"] == 4096
    assert "unknown.context_length" not in description(DECLARED, None, 0)["model_info"]


def test_a_model_without_files_has_a_digest_that_can_be_cut() -> None:
    assert row("m", DECLARED, 0)["digest"][:12] == "0" * 12


def test_rerank_is_no_word_of_theirs() -> None:
    assert capabilities(MODEL.model_copy(update={"capabilities": frozenset({"rerank"})})) == []


@pytest.mark.parametrize(("count", "text"), [(None, ""), (999, "999"), (30_532_122_624, "30.5B"), (10**12, "1.0T")])
def test_counts_are_short(count: int | None, text: str) -> None:
    assert short_count(count) == text
