"""mlx-lm: which knobs become which flags, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roost.catalog.spec import ModelFormat, ModelSpec, Source, SourceKind
from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.mlx_lm import MlxLm, arguments

FOLDER = Path("/models/smol")


def spec_of(**values: object) -> ModelSpec:
    base: dict[str, object] = {
        "id": "org/smol",
        "format": ModelFormat.SAFETENSORS,
        "path": FOLDER,
        "source": Source(kind=SourceKind.FOLDER, location=str(FOLDER)),
        "context_length": 8192,
        "capabilities": frozenset({"chat", "completion"}),
    }
    return ModelSpec.model_validate(base | values)


def engine() -> MlxLm:
    return MlxLm(Paths.from_environment({"ROOST_HOME": "/nowhere", "HOME": "/nowhere"}), {})


def flags_of(spec: ModelSpec, **knobs: object) -> dict[str, str]:
    words = arguments(spec, Knobs.model_validate(knobs))
    return dict(zip(words[::2], words[1::2], strict=True))


def problems_of(**knobs: object) -> str:
    return "\n".join(engine().problems(spec_of(), Knobs.model_validate(knobs)))


def test_the_plain_knobs_have_no_problem() -> None:
    assert engine().problems(spec_of(), Knobs()) == []
    assert engine().problems(None, Knobs()) == []


def test_a_gguf_file_is_refused() -> None:
    assert "safetensors" in str(engine().refusal(spec_of(format=ModelFormat.GGUF)))


def test_an_embedding_model_is_refused() -> None:
    assert "generates text only" in str(engine().refusal(spec_of(capabilities=frozenset({"embedding"}))))


def test_an_adapter_in_another_format_is_refused() -> None:
    assert engine().refusal(spec_of(adapter=FOLDER / "adapters.safetensors")) is None
    assert "adapters.safetensors" in str(engine().refusal(spec_of(adapter=FOLDER / "adapter_model.safetensors")))


def test_replies_are_not_cut_at_the_engines_own_default() -> None:
    assert int(flags_of(spec_of())["--max-tokens"]) > 10**9
    assert flags_of(spec_of(), generation_cap=100)["--max-tokens"] == "100"


def test_the_prefix_cache_has_the_size_of_the_knob() -> None:
    assert flags_of(spec_of(), prefix_cache_mb=7)["--prompt-cache-bytes"] == str(7 * 2**20)
    off = flags_of(spec_of(), prefix_cache=False)
    assert (off["--prompt-cache-size"], off["--prompt-cache-bytes"]) == ("0", "0")


def test_one_after_another_is_a_batch_of_one() -> None:
    flags = flags_of(spec_of(), continuous_batching=False)
    assert (flags["--decode-concurrency"], flags["--prompt-concurrency"]) == ("1", "1")


def test_a_completion_batch_never_exceeds_what_is_admitted() -> None:
    assert flags_of(spec_of(), completion_batch=2, max_sequences=4)["--decode-concurrency"] == "2"
    assert flags_of(spec_of(), completion_batch=9, max_sequences=4)["--decode-concurrency"] == "4"


def test_template_arguments_travel_as_json() -> None:
    flags = flags_of(spec_of(), chat_template_args={"enable_thinking": False})
    assert json.loads(flags["--chat-template-args"]) == {"enable_thinking": False}


def test_a_quantized_kv_cache_needs_batching_off() -> None:
    assert "continuous_batching = false" in problems_of(kv_cache_type="q8_0")
    assert problems_of(kv_cache_type="q8_0", continuous_batching=False) == ""
    assert flags_of(spec_of(), kv_cache_type="q4_0", continuous_batching=False)["--kv-bits"] == "4"


@pytest.mark.parametrize(
    "knobs",
    [
        {"paged_cache": True},
        {"paged_cache": True, "prefix_sharing": True},
        {"gpu_memory_share": 0.5},
        {"gpu_layers": 3},
        {"threads": 2},
        {"tool_parser": "hermes"},
        {"reasoning_parser": "qwen3"},
        {"speculative_decoding": True, "draft_model": "x"},
        {"kv_cache_type": "f16"},
        {"chunked_prefill": False},
    ],
)
def test_a_knob_that_it_cannot_honour_names_the_engine_and_the_knob(knobs: dict[str, object]) -> None:
    assert f"mlx-lm: {next(iter(knobs))}" in problems_of(**knobs)


@pytest.mark.parametrize("argument", ["--host", "--model=/other", "--trust-remote-code", "--prompt-cache-b", "--draft"])
def test_an_extra_argument_of_roosts_own_is_refused_also_when_abbreviated(argument: str) -> None:
    assert "set by roost" in problems_of(extra_args=(argument,))


def test_another_extra_argument_is_appended() -> None:
    assert problems_of(extra_args=("--temp", "0.2")) == ""
    assert arguments(spec_of(), Knobs(extra_args=("--temp", "0.2")))[-2:] == ("--temp", "0.2")
