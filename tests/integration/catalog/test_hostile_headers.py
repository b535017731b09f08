"""Everything between a hostile file and its facts: an answer or a refusal, never anything else."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.catalog.compose import model_spec
from roost.catalog.folder import inspect_folder
from roost.catalog.gguf_facts import inspect_gguf
from roost.catalog.inspect import dump_facts, parse_facts
from roost.catalog.inspector import answer
from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import Source, SourceKind
from roost.testing.tiny_models import TINY_METADATA, gguf_bytes, write_folder

WHOLE = gguf_bytes()
SOURCE = Source(kind=SourceKind.FILE, location="x")
ODD_VALUES = st.one_of(
    st.integers(-(2**31), 2**32 - 1),
    st.booleans(),
    st.floats(width=32),
    st.text(max_size=8),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    st.lists(st.text(max_size=4), min_size=1, max_size=4),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)

CONFIG_KEYS = (
    *("text_config", "quantization", "quantization_config", "layer_types", "architectures", "model_type"),
    *("num_experts", "num_experts_per_tok", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
    *("full_attention_interval", "_name_or_path", "sliding_window", "vision_config"),
)


def through_to_a_spec(inspect, path):
    """As the daemon does it: facts as JSON, then a spec."""
    facts = parse_facts(dump_facts(inspect(path)), path)
    return model_spec("x", facts, SOURCE)


def inspected(raw):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        path.write_bytes(raw)
        return through_to_a_spec(inspect_gguf, path)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes_make_a_spec_or_a_refusal(changes):
    raw = bytearray(WHOLE)
    for position, value in changes:
        raw[position] = value
    try:
        spec = inspected(bytes(raw))
    except ModelRefused:
        return
    assert spec.weights_bytes <= len(raw)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(TINY_METADATA)), ODD_VALUES, min_size=1, max_size=4))
def test_metadata_of_the_wrong_kind_makes_a_spec_or_a_refusal(metadata):
    try:
        spec = inspected(gguf_bytes(metadata))
    except ModelRefused:
        return
    assert spec.parameters_total == 160


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(CONFIG_KEYS),
        JSON,
        max_size=5,
    ),
    JSON,
)
def test_any_config_makes_a_spec_or_a_refusal(config, template):
    with tempfile.TemporaryDirectory() as folder:
        path = write_folder(Path(folder), config)
        (path / "chat_template.json").write_text(f'{{"chat_template": {json.dumps(template)}}}')
        try:
            spec = through_to_a_spec(inspect_folder, path)
        except ModelRefused:
            return
        assert spec.weights_bytes == 128


@pytest.mark.parametrize("raw", [b"", b"GGUF", b"\0" * 100, b"{}", WHOLE[:-1]])
def test_the_inspector_answers_whatever_it_is_given(tmp_path, raw):
    path = tmp_path / "x.gguf"
    path.write_bytes(raw)
    assert "cannot use x.gguf" in answer(path)["refused"]
