"""What a model takes and whether it fits, as text and as values."""

from __future__ import annotations

import json

import pytest

from roost.catalog.spec import ModelSpec
from roost.cli import plan_text
from roost.cli.fits import FitRow, fit_table, row_of
from roost.cli.output import plain
from roost.config.settings import MemorySettings
from roost.host.memory_types import Gpu, GpuKind, HostMemory, Swap, UnreadableGpu
from roost.memory.placement import placed
from roost.memory.plan import Machine, Plan, Question, machine_of, plan
from roost.memory.sizing import Sizer
from roost.memory.types import LoadShape
from tests.unit.engines.specs import declared
from tests.unit.memory.specs import CODER, SMOL, gguf, llama_shape

GIB = 2**30
AVX2 = ("x86_64", frozenset({"avx2"}))
SHAPE = llama_shape(32_768, 4, unified=True, cache_bytes=GIB // 2)


def machine(settings: MemorySettings, *gpus: Gpu | UnreadableGpu) -> Machine:
    return machine_of(HostMemory(16 * GIB, 14 * GIB, Swap(0)), gpus, AVX2, settings)


def answer(
    spec: ModelSpec = CODER,
    shape: LoadShape | None = SHAPE,
    settings: MemorySettings | None = None,
    gpus: tuple[Gpu | UnreadableGpu, ...] = (),
    declared_gb: float | None = None,
) -> tuple[Plan, str, dict[str, object]]:
    """The plan, its text, and its JSON read back."""
    chosen = settings or MemorySettings()
    here = machine(chosen, *gpus)
    sizer = Sizer(spec, placed(shape, here.gpu_memory), here.repacked_types) if shape else None
    found = plan(Question(spec, "llama.cpp", sizer, declared_gb, None, (20e9, "measured on this CPU")), here, chosen)
    text = "\n".join(plan_text.lines(found, here))
    return found, text, json.loads(json.dumps(plain(plan_text.values(found, here))))


def test_every_figure_stands_with_where_it_comes_from() -> None:
    found, text, told = answer()
    for piece in (
        "model         org/a with llama.cpp, 32,768 tokens, 4 at once in one window",
        "463 MiB  weights           header      tensors of the files",
        "384 MiB  KV cache          formula     12,288 bytes a token × 32,768 cells, f16",
        "512 MiB  prompt cache      setting     its cap, set at the start",
        "one more token of context: 12.0 KiB",
        "verdict       fits",
        "tier          interactive",
        "cache a token, at 20.0 GB/s measured on this CPU",
    ):
        assert piece in text, text
    assert (found.starts, told["verdict"]["verdict"], told["kv_bytes_per_token"]) == (True, "fits", 12_288)  # type: ignore[index]
    assert sum(term["size_bytes"] for term in told["terms"]) == told["total_bytes"]  # type: ignore[union-attr,index]


def test_a_margin_is_shown_apart() -> None:
    _, text, told = answer()
    need = told["need"]
    assert isinstance(need, dict)
    assert need["total_bytes"] - need["margin_bytes"] == told["total_bytes"]
    assert "margin, by formula" in text


def test_what_does_not_fit_says_why_and_what_would() -> None:
    found, text, told = answer(settings=MemorySettings(max_gb=2.45))
    assert not found.starts
    assert "does not fit: needs" in text
    assert "what binds is memory.max_gb" in text
    assert "would fit     a context of" in text
    assert told["tier"] == "overnight"


def test_with_leave_to_clamp_it_says_with_which_sizes_it_starts() -> None:
    found, text, told = answer(settings=MemorySettings(max_gb=2.45, allow_clamp=True))
    assert found.starts
    assert "fits smaller: a context of" in text
    assert told["verdict"]["context"] < 32_768  # type: ignore[index]


H100 = Gpu("GPU-1", "H100", 0, GpuKind.OWN, 80 * GIB, 79 * GIB)


def test_a_gpu_has_a_column_and_its_uuid_in_the_verdict() -> None:
    on_gpu = llama_shape(32_768, 4, unified=True, device="cuda")
    _, text, told = answer(shape=on_gpu, gpus=(H100, UnreadableGpu("GPU-2", "Mystery", "it does not tell")))
    assert "on the GPU" in text
    assert "verdict       fits on GPU-1" in text
    assert "not used      Mystery: it does not tell" in text
    assert set(told["verdict"]["devices"]) == {"host", "GPU-1"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("spec", "shape", "declared_gb", "piece"),
    [
        (declared(), None, None, "size unknown: measured while it runs"),
        (declared(), None, 3.0, "3.0 GiB, by declared size"),
        (gguf("mystery", {}), SHAPE, None, "does not fit: roost does not know the cache of the architecture 'mystery'"),
        (gguf("mystery", {}), SHAPE, 2.0, "2.0 GiB, by declared size"),
    ],
)
def test_an_unknown_size_is_never_guessed(
    spec: ModelSpec, shape: LoadShape | None, declared_gb: float | None, piece: str
) -> None:
    found, text, told = answer(spec, shape, declared_gb=declared_gb)
    assert piece in text
    assert told["terms"] == []
    assert (found.need is None) == (declared_gb is None)


def test_an_engine_that_did_not_answer_is_named() -> None:
    here = machine(MemorySettings())
    sizer = Sizer(SMOL, SHAPE, here.repacked_types)
    found = plan(Question(SMOL, "llama.cpp", sizer, None, "it ended without an answer"), here, MemorySettings())
    assert "the engine was asked and did not tell: it ended without an answer" in "\n".join(
        plan_text.lines(found, here)
    )


def test_a_list_has_a_line_for_each_model_and_a_reason_where_nothing_is_known() -> None:
    fits, _, _ = answer()
    alone, _, _ = answer(declared(), None)
    gone = FitRow("gone", None, "unknown", None, None, None, None, "unavailable: volume not mounted")
    header, first, second, third = fit_table([row_of(fits), row_of(alone), gone])
    assert header.split()[:4] == ["ID", "NEEDS", "TIER", "NOW"]
    assert "interactive  fits   32,768   4        formula" in first
    assert "alone" in second
    assert third.endswith("unavailable: volume not mounted")
