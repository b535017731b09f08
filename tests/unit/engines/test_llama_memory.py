"""How a llama.cpp start is sized, and its own account as recorded in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.config.settings import Knobs
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.llama_memory import DRY_RUN_DATA_BYTES, dry_run_command, load_shape, parse_dry_run
from roost.engines.llama_program import Embedded, Native
from roost.engines.llama_shape import MINIMUM_BATCH_TOKENS, OUTPUT_BUDGET_BYTES, shape_of
from roost.memory.types import Part, TellsMemory
from tests.unit.engines.specs import EMBEDDED, PATHS, Models, gguf

MIB = 2**20
#: Of xllamacpp 2026.10.11549 with Qwen2.5-Coder-0.5B Q4_K_M, 4 sequences, steps of 768 tokens, embeddings on.
RECORDED = """\
0.02.183.563 I load_tensors:          CPU model buffer size =     0.00 MiB
0.02.183.564 I load_tensors:   CPU_REPACK model buffer size =     0.00 MiB
0.02.195.771 I llama_context:        CPU  output buffer size =     2.33 MiB
0.02.196.270 I llama_kv_cache:        CPU KV buffer size =     0.00 MiB
0.02.196.277 I llama_kv_cache: size =   96.00 MiB (  8192 cells,  24 layers,  4/1 seqs), K (f16):   48.00 MiB, \
V (f16):   48.00 MiB
0.02.211.340 I sched_reserve:        CPU compute buffer size =   472.90 MiB
0.02.211.534 I common_memory_breakdown_print: | memory breakdown [MiB] | total   free    self   model   context   \
compute    unaccounted |
0.02.211.535 I common_memory_breakdown_print: |   - Host               |                 1003 =   434 +      96 + \
    472                |
0.02.211.536 I common_memory_breakdown_print: |   - CPU_REPACK         |                   28 =    28 +       0 + \
      0                |
0.02.445.079 I common_params_fit_impl: projected to use 1003 MiB of host memory vs. 24105 MiB of total host memory
"""
#: In the form that common/fit.cpp prints for GPUs.
ON_GPUS = """\
print: | memory breakdown [MiB] | total   free     self   model   context   compute    unaccounted |
print: |   - CUDA0 (RTX 5090)   | 32606 = 31057 + (29365 = 28609 +     397 +     358) +       -27816 |
print: |   - CUDA1 (H100 80GB HBM3) | 81559 = 80000 + ( 1200 =  1000 +     100 +     100) +     359 |
print: |   - Host               |                 30956 = 30940 +       0 +      16                |
common_params_fit_impl: projected memory use with initial parameters [MiB]:
""".replace("print:", "common_memory_breakdown_print:")


def test_a_recorded_account_is_read_exactly() -> None:
    told = parse_dry_run(RECORDED)
    assert told is not None
    host, copied = told.parts
    assert (host.context_bytes, host.compute_bytes) == (round(96.005 * MIB), round(472.905 * MIB))
    # The table is cut to whole MiB: 434 may be nearly 435.
    assert (host.model_bytes, copied) == (435 * MIB, Part("CPU_REPACK", 29 * MIB, 0, 0, is_repacked=True))
    assert (told.draft, told.state_bytes) == ((), 0)


def test_gpus_are_told_apart_from_the_host() -> None:
    told = parse_dry_run(ON_GPUS)
    assert told is not None
    assert told.parts == (
        Part("CUDA0", 28610 * MIB, 398 * MIB, 359 * MIB, is_gpu=True),
        Part("CUDA1", 1001 * MIB, 101 * MIB, 101 * MIB, is_gpu=True),
        Part("Host", 30941 * MIB, 0, 17 * MIB),
    )


def test_recurrent_state_is_told_from_the_cache() -> None:
    state = "llama_memory_recurrent: size =   75.38 MiB (     4 cells,  48 layers,  4 seqs  0 rs_seq), R (f32): ..."
    told = parse_dry_run(RECORDED.replace("0.02.211.340", f"0.02.211.340 I {state}\n0.02.211.340"))
    assert told is not None
    assert told.state_bytes == round(75.385 * MIB)
    assert told.parts[0].context_bytes == round(96.005 * MIB) + round(75.385 * MIB)


def test_a_draft_model_has_a_table_of_its_own() -> None:
    *table, projected = RECORDED.splitlines(keepends=True)
    told = parse_dry_run("".join([*table, *table, projected]))
    assert told is not None
    assert [part.device for part in told.draft] == ["Host", "CPU_REPACK"]
    assert told.parts[0].context_bytes == round(96.005 * MIB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "projected",
        RECORDED.partition("projected")[0],
        RECORDED.replace("memory_breakdown_print", "memory_table"),
        "common_params_fit_impl: projected to use 1003 MiB of host memory",
    ],
)
def test_an_account_that_is_not_complete_is_none(text: str) -> None:
    assert parse_dry_run(text) is None


def test_the_account_ends_where_llama_cpp_begins_to_change_its_mind() -> None:
    adjusted = ON_GPUS + RECORDED
    assert parse_dry_run(adjusted) == parse_dry_run(ON_GPUS)


def test_the_sizes_are_those_of_the_start() -> None:
    knobs = Knobs(context=4096, max_sequences=2, kv_cache_type="q8_0", prefix_cache_mb=100, checkpoints=3)
    shape = load_shape(shape_of(gguf(), knobs), EMBEDDED, ("swa_full=true", "no_extra_bufts=1"), None)
    assert (shape.context, shape.sequences, shape.unified, shape.kv_type) == (4096, 2, True, "q8_0")
    assert (shape.cache_bytes, shape.checkpoints) == (100 * MIB, 3)
    assert (shape.full_window, shape.keeps_order) == (True, True)
    assert shape.output_rows == shape.step == 1152


def test_unless_set_checkpoints_are_as_many_as_the_servers_own() -> None:
    shape = load_shape(shape_of(gguf(), Knobs()), EMBEDDED, (), None)
    assert shape.checkpoints == 32


@pytest.mark.parametrize("vocabulary", [49_152, 128_256, 151_936, 262_144])
def test_logits_that_are_held_twice_stay_within_their_budget(vocabulary: int) -> None:
    step = shape_of(gguf(vocabulary_size=vocabulary), Knobs()).batch
    assert step * vocabulary * 4 * 2 <= max(OUTPUT_BUDGET_BYTES, MINIMUM_BATCH_TOKENS * vocabulary * 8)


def test_a_native_servers_flags_count_too() -> None:
    native = Native("b1", "/bin/llama-server")
    shape = load_shape(shape_of(gguf(), Knobs()), native, ("--swa-full", "-nr"), None)
    assert (shape.full_window, shape.keeps_order, shape.device) == (True, True, "native")


def test_a_dry_run_of_the_embedded_server_cannot_load() -> None:
    argv, config = dry_run_command(EMBEDDED, shape_of(gguf(), Knobs(engine_log_level="error")), Path("/h/s.sock"), ())
    assert config is not None
    assert argv[-1] == "/models/a.gguf"
    assert (config["attributes"]["no_alloc"], config["attributes"]["verbosity"]) == (True, 5)
    assert config["data_limit_bytes"] == DRY_RUN_DATA_BYTES
    gpu = Embedded("1", device="cuda")
    assert dry_run_command(gpu, shape_of(gguf(), Knobs()), Path("/h/s.sock"), ())[1]["data_limit_bytes"] is None  # type: ignore[index]


def test_a_dry_run_of_a_native_server_fits_whatever_the_user_says() -> None:
    native = Native("b1", "/bin/llama-server")
    argv, config = dry_run_command(native, shape_of(gguf(), Knobs()), Path("/h/s.sock"), ("--fit", "off"))
    assert config is None
    assert argv[-2:] == ("--fit", "on")


def test_the_engine_tells_its_memory_and_its_plan_has_no_secret(tmp_path: Path) -> None:
    engine = LlamaCpp(PATHS, {"SECRET_TOKEN": "s"}, embedded=lambda: EMBEDDED)
    assert isinstance(engine, TellsMemory)
    plan = engine.dry_run(gguf(), Knobs(), None, tmp_path)  # type: ignore[arg-type]
    assert plan is not None
    assert (plan.env["HOME"], plan.env["GGML_NO_BACKTRACE"]) == (str(tmp_path), "1")
    assert "SECRET_TOKEN" not in plan.env
    assert engine.dry_run(gguf(format="safetensors"), Knobs(), None, tmp_path) is None  # type: ignore[arg-type]


def test_the_draft_model_is_part_of_the_sizes() -> None:
    draft = gguf(id="small")
    engine = LlamaCpp(PATHS, {}, Models(draft), embedded=lambda: EMBEDDED)
    assert engine.load_shape(gguf(), Knobs(speculative_decoding=True, draft_model="small")).draft == draft
    assert engine.load_shape(gguf(), Knobs()).draft is None
