from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from roost.catalog.spec import ModelFormat
from roost.config.settings import Knobs, ModelSettings
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.llama_program import device_of, version_in
from roost.engines.types import Available, NotInstalled, ProofKind, UnixEndpoint
from roost.errors import BadConfiguration, Unavailable
from tests.unit.engines.specs import EMBEDDED, PATHS, PLACE, Models, gguf


def embedded(environ: Mapping[str, str] | None = None, *models: object) -> LlamaCpp:
    return LlamaCpp(PATHS, environ or {}, Models(*models), embedded=lambda: EMBEDDED)  # type: ignore[arg-type]


def absent(environ: Mapping[str, str]) -> LlamaCpp:
    return LlamaCpp(PATHS, environ, embedded=lambda: None)


def test_the_model_stands_in_argv_and_the_rest_in_standard_input() -> None:
    plan = embedded().launch(gguf(), Knobs(), ModelSettings(), PLACE)
    assert plan.argv == ("/env/bin/python", "-I", "/env/launcher.py", "/models/a.gguf")
    assert plan.stdin is not None
    config = json.loads(plan.stdin)
    assert (config["alias"], config["socket"]) == ("org/a", "/roost/run/w.sock")
    assert plan.endpoint == UnixEndpoint(PLACE.socket_path)


def test_what_is_shown_to_people_holds_the_parameters() -> None:
    plan = embedded().launch(gguf(), Knobs(context=4096), ModelSettings(), PLACE)
    assert plan.shown is not None
    assert plan.shown[:4] == plan.argv
    assert {"n_ctx=4096", "pooling_type=MEAN", "alias=org/a"} <= set(plan.shown)


def test_the_plan_says_how_to_treat_the_worker() -> None:
    plan = embedded().launch(gguf(), Knobs(max_sequences=3), ModelSettings(), PLACE)
    assert (plan.proof, plan.served_name, plan.context_length, plan.concurrency) == (
        ProofKind.MAPPED,
        "org/a",
        8192,
        3,
    )
    assert plan.traits.cancels_non_stream
    assert plan.traits.context_check == "engine"
    assert not plan.traits.vision
    assert embedded().launch(gguf(projector="/m/mmproj.gguf"), Knobs(), ModelSettings(), PLACE).traits.vision


def test_its_heap_gives_large_blocks_back_unless_the_model_says_otherwise() -> None:
    name = "MALLOC_MMAP_THRESHOLD_"
    assert embedded().launch(gguf(), Knobs(), ModelSettings(), PLACE).env[name] == "4194304"
    own = Knobs(env={name: "1048576"})
    assert embedded().launch(gguf(), own, ModelSettings(), PLACE).env[name] == "1048576"


def test_a_model_in_another_format_is_refused() -> None:
    folder = gguf(format=ModelFormat.SAFETENSORS, path=Path("/models/a"))
    assert "GGUF files only" in (embedded().refusal(folder) or "")
    with pytest.raises(BadConfiguration, match="GGUF files only"):
        embedded().launch(folder, Knobs(), ModelSettings(), PLACE)


def test_an_adapter_that_is_no_gguf_is_refused() -> None:
    assert "adapter" in (embedded().refusal(gguf(adapter="/m/adapter.safetensors")) or "")
    assert embedded().refusal(gguf(adapter="/m/adapter.gguf")) is None


def test_a_start_with_a_problem_is_refused_with_all_of_them() -> None:
    with pytest.raises(BadConfiguration) as caught:
        embedded().launch(gguf(), Knobs(tool_parser="x", paged_cache=True), ModelSettings(), PLACE)
    assert len(caught.value.problems) == 2


def test_a_draft_model_is_looked_up_in_the_catalog() -> None:
    knobs = Knobs(speculative_decoding=True, draft_model="tiny")
    draft = gguf(id="tiny", path=Path("/models/tiny.gguf"))
    plan = embedded({}, draft).launch(gguf(), knobs, ModelSettings(), PLACE)
    assert plan.stdin is not None
    assert json.loads(plan.stdin)["draft"] == "/models/tiny.gguf"
    (problem,) = embedded().problems(gguf(), knobs)
    assert "roost models add" in problem


def test_without_any_program_the_mend_is_named(tmp_path: Path) -> None:
    state = absent({"PATH": str(tmp_path)}).availability()
    assert isinstance(state, NotInstalled)
    assert "pip install xllamacpp" in state.mend
    with pytest.raises(Unavailable, match="not installed"):
        absent({"PATH": str(tmp_path)}).launch(gguf(), Knobs(), ModelSettings(), PLACE)


def test_a_named_program_that_is_not_there_is_no_silent_fallback() -> None:
    state = embedded({"ROOST_ENGINE_LLAMA_CPP_SERVER": "/nowhere/llama-server"}).availability()
    assert isinstance(state, NotInstalled)
    assert "/nowhere/llama-server" in state.reason


def test_the_embedded_server_is_preferred_to_one_on_the_path() -> None:
    assert embedded({"PATH": "/usr/bin"}).availability() == Available("2026.10.1", "/env/bin/python", "cpu")


@pytest.mark.parametrize(
    ("version", "tag", "device"),
    [
        ("2026.10.1", "Tag: cp311-abi3-manylinux_2_28_x86_64", "cpu"),
        ("2026.10.1", "Tag: cp311-abi3-macosx_11_0_arm64", "metal"),
        ("2026.10.1", "Tag: cp311-abi3-macosx_11_0_x86_64", "cpu"),
        ("2026.10.1+cu128", "Tag: cp311-abi3-manylinux_2_28_x86_64", "cuda"),
        ("2026.10.1+rocm63", "", "rocm"),
        ("2026.10.1+vulkan", "", "vulkan"),
    ],
)
def test_the_wheel_tells_the_device(version: str, tag: str, device: str) -> None:
    assert device_of(version, f"Wheel-Version: 1.0\n{tag}\n") == device


def test_a_version_is_that_of_the_headers_alone() -> None:
    headers = "Metadata-Version: 2.4\nName: xllamacpp\nVersion: 2026.1.0+cu128\nLicense-File: LICENSE\n"
    assert version_in(f"{headers}\nText\n\nVersion: 1\n") == "2026.1.0+cu128"
    assert version_in("Name: xllamacpp\n\nVersion: 1\n") == "unknown"
