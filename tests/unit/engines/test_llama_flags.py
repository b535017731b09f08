from __future__ import annotations

import json
from pathlib import Path

import pytest

from roost.config.settings import Knobs
from roost.engines.llama_flags import (
    NATIVE_ENVIRONMENT,
    OWNED_FLAGS,
    embedded_config,
    embedded_problems,
    native_flags,
    native_problems,
)
from roost.engines.llama_shape import LlamaShape, shape_of
from tests.unit.engines.specs import gguf

SOCKET = Path("/run/w.sock")


def shape(**knobs: object) -> LlamaShape:
    return shape_of(gguf(), Knobs.model_validate(knobs))


def value_of(flags: list[str], flag: str) -> str:
    return flags[flags.index(flag) + 1]


def test_one_request_may_use_the_whole_context_in_both_renderings() -> None:
    wanted = shape(context=4096, max_sequences=3)
    attributes = embedded_config(wanted, SOCKET, ())["attributes"]
    assert (attributes["n_ctx"], attributes["n_parallel"], attributes["kv_unified"]) == (4096, 3, True)
    flags = native_flags(wanted, SOCKET, ())
    assert (value_of(flags, "--ctx-size"), value_of(flags, "--parallel")) == ("4096", "3")
    assert "--kv-unified" in flags


def test_an_idle_conversation_stays_in_the_pool() -> None:
    assert embedded_config(shape(), SOCKET, ())["attributes"]["cache_idle_slots"] is False
    # A variable: builds before the flag pass over it.
    assert NATIVE_ENVIRONMENT == {"LLAMA_ARG_CACHE_IDLE_SLOTS": "0"}
    assert native_problems(["--cache-idle-slots"])


def test_batch_and_micro_batch_are_equal_in_both_renderings() -> None:
    attributes = embedded_config(shape(prefill_batch=640), SOCKET, ())["attributes"]
    assert attributes["n_batch"] == attributes["n_ubatch"] == 640
    flags = native_flags(shape(prefill_batch=640), SOCKET, ())
    assert value_of(flags, "--batch-size") == value_of(flags, "--ubatch-size") == "640"


def test_the_server_is_shut_off_from_pages_and_the_network() -> None:
    attributes = embedded_config(shape(), SOCKET, ())["attributes"]
    assert (attributes["cors_origins"], attributes["ui"], attributes["offline"]) == ("localhost", False, True)
    flags = native_flags(shape(), SOCKET, ())
    assert {"--no-ui", "--offline"} <= set(flags)
    assert value_of(flags, "--cors-origins") == "localhost"


def test_kv_type_and_pooling_reach_both_renderings() -> None:
    wanted = shape(kv_cache_type="q8_0", reasoning_parser="deepseek-legacy")
    assert embedded_config(wanted, SOCKET, ())["enumerations"] == {
        "pooling_type": "MEAN",
        "cache_type_k": "Q8_0",
        "cache_type_v": "Q8_0",
        "reasoning_format": "DEEPSEEK_LEGACY",
    }
    flags = native_flags(wanted, SOCKET, ())
    assert value_of(flags, "--cache-type-k") == value_of(flags, "--cache-type-v") == "q8_0"
    assert value_of(flags, "--pooling") == "mean"
    assert value_of(flags, "--reasoning-format") == "deepseek-legacy"


def test_template_arguments_keep_their_json_types() -> None:
    wanted = shape(chat_template_args={"enable_thinking": False, "effort": "low"})
    attributes = embedded_config(wanted, SOCKET, ())["attributes"]
    assert attributes["default_template_kwargs"] == {"enable_thinking": "false", "effort": '"low"'}
    sent = json.loads(value_of(native_flags(wanted, SOCKET, ()), "--chat-template-kwargs"))
    assert sent == {"enable_thinking": False, "effort": "low"}


def test_every_flag_that_roost_writes_is_owned() -> None:
    wanted = shape(kv_cache_type="q8_0", gpu_layers=3, threads=2, reasoning_parser="none", chat_template_args={"a": 1})
    written = [flag for flag in native_flags(wanted, SOCKET, ()) if flag.startswith("--")]
    assert set(written) <= OWNED_FLAGS


def test_a_rerank_model_is_started_for_reranking() -> None:
    flags = native_flags(shape_of(gguf(capabilities=frozenset({"rerank"})), Knobs()), SOCKET, ())
    assert "--reranking" in flags
    assert value_of(flags, "--pooling") == "rank"


def test_extra_parameters_are_typed() -> None:
    extra = ("n_cache_reuse=256", "swa_full=true", "rope_freq_base = 1e6")
    assert embedded_problems(extra) == []
    attributes = embedded_config(shape(), SOCKET, extra)["attributes"]
    assert (attributes["n_cache_reuse"], attributes["swa_full"], attributes["rope_freq_base"]) == (256, True, 1e6)


@pytest.mark.parametrize("argument", ["n_ctx=1", "ctx_shift=true", "hf_token=x", "swa_full", "--threads", "nonsense=1"])
def test_owned_and_unknown_parameters_are_refused(argument: str) -> None:
    (problem,) = embedded_problems([argument])
    assert argument in problem


@pytest.mark.parametrize("argument", ["n_cache_reuse=many", "swa_full=maybe", "rope_freq_base="])
def test_a_parameter_of_the_wrong_type_is_refused(argument: str) -> None:
    assert len(embedded_problems([argument])) == 1


@pytest.mark.parametrize("argument", ["--host", "--host=0.0.0.0", "-m", "--ctx-size", "--slot-save-path=/x", "-c"])
def test_owned_flags_are_refused(argument: str) -> None:
    (problem,) = native_problems([argument, "7"])
    assert argument in problem


def test_other_flags_pass_to_the_end_of_the_command() -> None:
    assert native_problems(["--flash-attn", "on"]) == []
    assert native_flags(shape(), SOCKET, ("--flash-attn", "on"))[-2:] == ["--flash-attn", "on"]
