"""Engines asked in processes of their own: the real ones, whose log format is watched here, and ones that misbehave."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from roost.catalog.compose import model_spec
from roost.catalog.inspect import inspect_model
from roost.catalog.spec import ModelSpec, Source, SourceKind
from roost.config.paths import Paths
from roost.config.settings import Knobs, MemorySettings, ModelSettings
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.mlx_lm import MlxLm
from roost.host.memory_types import HostMemory, Swap
from roost.memory import dry_run
from roost.memory.admission import Admit
from roost.memory.budget import GIB
from roost.memory.decision import decide
from roost.memory.dry_footprint import dry_footprint
from roost.memory.dry_run import DryRunFailed
from roost.memory.footprint import Footprint, TermName
from roost.memory.llama_footprint import llama_footprint
from roost.memory.mlx_footprint import mlx_footprint
from roost.memory.plan import Question, machine_of
from roost.memory.sizing import Sizer
from roost.memory.types import CacheKind, DryRun, DryRunPlan, LlamaDryRun, MlxDryRun
from tests.helpers import MODELS, process_lives

PATHS = Paths.from_environment({"ROOST_HOME": "/nonexistent/roost"})
LLAMA = LlamaCpp(PATHS, os.environ)


def spec_of(path: Path) -> ModelSpec:
    return model_spec("model", inspect_model(path), Source(kind=SourceKind.FILE, location=str(path)))


def ask_llama(spec: ModelSpec, knobs: Knobs) -> LlamaDryRun:
    told = dry_run.ask(lambda home: LLAMA.dry_run(spec, knobs, ModelSettings(), home))
    assert isinstance(told, LlamaDryRun), told
    return told


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(context=2048, max_sequences=1),
        Knobs(context=8192),
        Knobs(context=8192, kv_cache_type="q8_0"),
        Knobs(context=4000, prefill_batch=128),
    ],
    ids=["2k", "8k in 4", "q8_0", "odd context, small steps"],
)
def test_llama_cpp_says_what_the_formula_says(embedded_gguf: Path, knobs: Knobs) -> None:
    spec = spec_of(embedded_gguf)
    shape = LLAMA.load_shape(spec, knobs)
    formula = llama_footprint(spec, shape, frozenset())
    assert isinstance(formula, Footprint)
    told = dry_footprint(spec, shape, ask_llama(spec, knobs))
    assert told.of(TermName.WEIGHTS, TermName.OUTPUTS) == formula.of(TermName.WEIGHTS, TermName.OUTPUTS)
    # The log says MiB with two decimals, rounded; the account is never below the truth.
    assert 0 <= told.of(TermName.KV) - formula.of(TermName.KV) <= 0.02 * 2**20
    assert told.of(TermName.COMPUTE) == pytest.approx(formula.of(TermName.COMPUTE), rel=0.06)


def test_a_larger_model_keeps_a_copy_in_this_cpus_order() -> None:
    path = MODELS / "qwen2.5-coder-0.5b-q4_k_m.gguf"
    if not path.exists():
        pytest.skip("the larger model is not here")
    spec, knobs = spec_of(path), Knobs(context=8192)
    shape = LLAMA.load_shape(spec, knobs)
    told = dry_footprint(spec, shape, ask_llama(spec, knobs))
    assert told.of(TermName.KV) == pytest.approx(8192 * 12_288, rel=0.001)
    copied = told.of(TermName.REPACKED)
    assert copied == 0 or any(abs(copied - size) < 2 * 2**20 for size in spec.weights.matrices_bytes.values()), (
        "one type of matrices is copied on this CPU"
    )


def test_the_drafts_own_account_is_told_apart(embedded_gguf: Path) -> None:
    spec = spec_of(embedded_gguf)
    knobs = Knobs(context=2048, speculative_decoding=True, draft_model="model")
    engine = LlamaCpp(PATHS, os.environ, OneModel(spec))
    told = dry_run.ask(lambda home: engine.dry_run(spec, knobs, ModelSettings(), home))
    assert isinstance(told, LlamaDryRun), told
    assert [part.device for part in told.draft] == ["Host"]
    assert sum(part.context_bytes for part in told.draft) >= 2048 * 23_040


class OneModel:
    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def get(self, model_id: str) -> ModelSpec:
        return self._spec

    def all(self) -> list[ModelSpec]:
        return [self._spec]


def test_the_embedded_default_fits_beside_the_desktop_of_a_machine_with_4_gib(embedded_gguf: Path) -> None:
    spec, knobs = spec_of(embedded_gguf), Knobs()
    memory = HostMemory(round(3.8 * GIB), round(2.5 * GIB), Swap(0))
    machine = machine_of(memory, (), ("x86_64", frozenset()), MemorySettings())
    sizer = Sizer(spec, LLAMA.load_shape(spec, knobs), frozenset(), ask_llama(spec, knobs))
    verdict = decide(Question(spec, "llama.cpp", sizer), machine, lambda shape: 0, allow_clamp=False)
    assert isinstance(verdict, Admit), verdict


def test_the_embedded_server_ends_itself_before_it_would_load(embedded_gguf: Path) -> None:
    spec = spec_of(embedded_gguf)

    def deaf(home: Path) -> DryRunPlan | None:
        plan = LLAMA.dry_run(spec, Knobs(context=2048), ModelSettings(), home)
        return replace(plan, parse=lambda text: None) if plan else None

    told = dry_run.ask(deaf)
    assert isinstance(told, DryRunFailed)
    assert "no_alloc" in told.reason


def test_mlx_says_what_the_formula_says(mlx_lm_python: Path, mlx_model_folder: Path) -> None:
    engine = MlxLm(PATHS, os.environ | {"ROOST_ENGINE_MLX_LM_PYTHON": str(mlx_lm_python)})
    spec, knobs = spec_of(mlx_model_folder), Knobs(context=8192)
    told = dry_run.ask(lambda home: engine.dry_run(spec, knobs, ModelSettings(), home))
    assert told == MlxDryRun(538_060_032, (CacheKind(30, 1536),), "f32")
    shape = engine.load_shape(spec, knobs)
    assert dry_footprint(spec, shape, told).total_bytes == footprint_of(mlx_footprint(spec, shape)).total_bytes


def footprint_of(found: object) -> Footprint:
    assert isinstance(found, Footprint), found
    return found


def plan(home: Path, program: str, parse: Callable[[str], DryRun | None] = lambda text: None) -> DryRunPlan:
    return DryRunPlan((sys.executable, "-c", program), {"PATH": "/usr/bin"}, b"{}", parse, home)


ANSWER = LlamaDryRun(())


def pid_then_answer(text: str) -> DryRun | None:
    return ANSWER if "answer" in text else None


def test_a_process_is_gone_as_soon_as_it_has_answered(tmp_path: Path) -> None:
    program = f"import os, time; print(os.getpid(), file=open('{tmp_path}/pid', 'w')); print('answer', flush=True)"
    started = time.monotonic()
    assert dry_run.run(plan(tmp_path, program + "; time.sleep(600)", pid_then_answer), 30.0) is ANSWER
    assert time.monotonic() - started < 20
    assert not process_lives(int((tmp_path / "pid").read_text()))


def test_one_that_never_answers_is_ended_in_time(tmp_path: Path) -> None:
    told = dry_run.run(plan(tmp_path, "import time; print('hello', flush=True); time.sleep(600)"), 1.0)
    assert isinstance(told, DryRunFailed)
    assert told.reason == "it did not answer in time; its last line was: hello"


def test_one_whose_answer_nobody_waits_for_any_more_is_ended(tmp_path: Path) -> None:
    stop, pids = threading.Event(), []

    def running(text: str) -> DryRun | None:
        pids.extend(int(line) for line in text.split())
        stop.set()
        return None

    started = time.monotonic()
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    told = dry_run.run(plan(tmp_path, program, running), 60.0, stop)
    assert told == DryRunFailed("nobody waits for its answer any more")
    assert time.monotonic() - started < 20 and not process_lives(pids[0])


def test_one_that_ends_says_its_last_line(tmp_path: Path) -> None:
    told = dry_run.run(plan(tmp_path, "raise SystemExit('no such model')"), 30.0)
    assert told == DryRunFailed("it ended without an answer; its last line was: no such model")


def test_one_that_falls_over_its_own_assertion_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    program = "import os; print('ASSERT(a > b) failed', flush=True); os.{}"
    crashed = dry_run.run(plan(tmp_path, program.format("abort()")), 30.0)
    why = "it crashed (SIGABRT) without an answer; its last line was: ASSERT(a > b) failed"
    assert crashed == DryRunFailed(why, crashed=True)
    killed = dry_run.run(plan(tmp_path, program.format("kill(os.getpid(), 9)")), 30.0)
    assert isinstance(killed, DryRunFailed) and not killed.crashed


def test_a_flood_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "OUTPUT_LIMIT_BYTES", 2**20)
    told = dry_run.run(plan(tmp_path, "while True: print('x' * 10000)"), 30.0)
    assert isinstance(told, DryRunFailed)
    assert "more than 1 MiB" in told.reason


def test_a_program_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    missing = replace(plan(tmp_path, ""), argv=("/nonexistent/python",))
    assert dry_run.run(missing, 1.0) == DryRunFailed("cannot start /nonexistent/python: No such file or directory")


def test_the_folder_of_a_dry_run_is_removed() -> None:
    seen: list[Path] = []

    def remember(home: Path) -> None:
        seen.append(home)
        assert home.is_dir()

    assert dry_run.ask(remember) == DryRunFailed("the engine cannot be asked here")
    assert not seen[0].exists()
