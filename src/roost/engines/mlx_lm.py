"""mlx-lm: Apple's own server, in an environment of its own, on a unix socket through our launcher."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from roost.catalog.spec import ModelSpec
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines import mlx_worker
from roost.engines.caches import ask_to_drop
from roost.engines.http import generate_one
from roost.engines.interpreters import EnvironmentEngine, find_engine
from roost.engines.knobs import shared_problems, unsupported
from roost.engines.mlx_worker import (
    PREFILL_STEP_TOKENS,
    UNLIMITED_TOKENS,
    MlxEnvironment,
    MlxWorker,
    flag_problems,
    sequences,
)
from roost.engines.types import (
    Available,
    EngineTraits,
    Health,
    LaunchPlan,
    NotInstalled,
    StandbyPlan,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import Unavailable
from roost.memory.types import DryRunPlan, LoadShape

ENGINE = EnvironmentEngine(
    name="mlx-lm",
    variable="ROOST_ENGINE_MLX_LM_PYTHON",
    # Older ones answer 200 to /health before the weights are in, and for ever after a failed load.
    minimum_version=(0, 32, 2),
)
NAME = ENGINE.name

TRAITS = EngineTraits(
    # Our launcher looks at the client before each step; the engine alone would run to max_tokens.
    cancels_non_stream=True,
    # The launcher refuses with both numbers when the engine has tokenized the prompt, once and exactly.
    context_check="engine",
    surfaces=frozenset({"chat", "completions"}),
    vision=False,
    splits_thoughts=True,
)

_UNSUPPORTED = (
    ("paged_cache", "it has no paged KV blocks; remove it or use vllm-mlx"),
    ("prefix_sharing", "running requests never share KV; remove it or use vllm-mlx"),
    ("gpu_memory_share", "it takes the memory that it needs; remove it or use vllm-mlx"),
    ("checkpoints", "it keeps none; remove it"),
    ("gpu_layers", "MLX runs all layers on one device; remove it"),
    ("threads", "MLX chooses its threads itself; remove it"),
    ("thinking_budget", "it knows no such limit; remove it or use llama.cpp"),
    ("tool_parser", "it infers the parser from the chat template; remove it or use vllm-mlx"),
    ("reasoning_parser", "it infers the parser from the tokenizer; remove it or use vllm-mlx"),
    ("speculative_decoding", "a draft model ends batching in it; turn it off or use llama.cpp"),
)
_KV_BITS = {"q8_0": "8", "q4_0": "4"}
_OWNED = """
--model --adapter-path --host --port --allowed-origins --draft-model --num-draft-tokens --trust-remote-code
--log-level --max-tokens --chat-template-args --decode-concurrency --prompt-concurrency --prefill-step-size
--prompt-cache-size --prompt-cache-bytes --kv-bits --pipeline --help
"""
#: Flags of mlx_lm.server that roost sets, or that would undo what it promises.
OWNED_FLAGS = frozenset(_OWNED.split())
#: Resident memory of a spare: 80 MB on Linux, rounded up.
SPARE_BYTES = 150 * 10**6
#: Distinct prefixes kept at the most; their bytes are bounded by prefix_cache_mb.
_PREFIXES = 64


class MlxLm:
    """Safetensors folders. The weights are not mapped after the load: the proof is argv and digests at spawn."""

    name = NAME

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._paths = paths
        self._environ = environ

    def availability(self) -> Available | NotInstalled:
        return find_engine(ENGINE, self._paths, self._environ)

    def refusal(self, spec: ModelSpec) -> str | None:
        if spec.adapter is not None and spec.adapter.name != "adapters.safetensors":
            return f"{NAME} needs the adapter as adapters.safetensors and {spec.adapter.name} is something else"
        return mlx_worker.refusal(NAME, spec)

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        found = shared_problems(NAME, spec, knobs) + unsupported(NAME, knobs, _UNSUPPORTED) + kv_problems(knobs)
        if knobs.chunked_prefill is False:
            found.append(f"{NAME}: chunked_prefill: it always interleaves prefill with decoding; remove it")
        return found + flag_problems(NAME, knobs.extra_args, OWNED_FLAGS)

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        mlx_worker.require_no_problems(NAME, spec, [self.refusal(spec), *self.problems(spec, knobs)])
        engine = self.availability()
        if isinstance(engine, NotInstalled):
            raise Unavailable(f"cannot start {spec.id}: {engine.reason}; run {engine.mend!r}", should_retry=False)
        worker = MlxWorker(
            environment=environment(engine),
            command=("mlx_lm.server", "--model"),
            arguments=arguments(spec, knobs),
            traits=TRAITS,
            configuration={"buffer_cache_bytes": mlx_worker.BUFFER_CACHE_BYTES},
            kernels=mlx_worker.kernels(NAME, environment(engine), self._paths),
        )
        return mlx_worker.plan(worker, spec, knobs, place, self._environ)

    def load_shape(self, spec: ModelSpec, knobs: Knobs) -> LoadShape:
        engine = self.availability()
        device = engine.device if isinstance(engine, Available) else "cpu"
        return mlx_worker.load_shape(
            NAME, spec, knobs, device, knobs.kv_cache_type if knobs.kv_cache_type in _KV_BITS else None
        )

    def dry_run(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, home: Path) -> DryRunPlan | None:
        engine = self.availability()
        if isinstance(engine, NotInstalled) or self.refusal(spec):
            return None
        return mlx_worker.dry_run_plan(engine.where, engine.device, spec, knobs.env, home, self._environ)

    @property
    def spare_bytes(self) -> int:
        return SPARE_BYTES

    def standby(self, knobs: Knobs, place: WorkerPlace) -> StandbyPlan | None:
        engine = self.availability()
        if isinstance(engine, NotInstalled):
            return None
        return mlx_worker.standby(environment(engine), knobs, place, self._environ)

    async def health(self, worker: WorkerHttp) -> Health:
        return await mlx_worker.health_of(worker)

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        await generate_one(worker, served_name, surfaces)

    async def drop_caches(self, worker: WorkerHttp) -> None:
        await ask_to_drop(worker)

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        return await mlx_worker.count_prompt_tokens(worker, body)


def environment(engine: Available) -> MlxEnvironment:
    return MlxEnvironment(engine.where, "mlx_lm.py", variables={}, device=engine.device, version=engine.version)


def kv_problems(knobs: Knobs) -> list[str]:
    if knobs.kv_cache_type in ("f16", "bf16"):
        return [f"{NAME}: kv_cache_type: it keeps KV in the type of the weights; set it to auto"]
    if knobs.kv_cache_type in _KV_BITS and knobs.continuous_batching:
        return [
            f"{NAME}: kv_cache_type: a quantized KV cache ends batching in it; set continuous_batching = false "
            "(one request at a time) or kv_cache_type = auto"
        ]
    return []


def arguments(spec: ModelSpec, knobs: Knobs) -> tuple[str, ...]:
    """Flags of mlx_lm.server for these knobs; `problems` must have found nothing."""
    flags = {
        "--max-tokens": knobs.generation_cap or UNLIMITED_TOKENS,
        "--decode-concurrency": min(knobs.completion_batch or sequences(knobs), sequences(knobs)),
        "--prompt-concurrency": sequences(knobs),
        "--prefill-step-size": knobs.prefill_batch or PREFILL_STEP_TOKENS,
        "--prompt-cache-size": _PREFIXES if knobs.prefix_cache else 0,
        "--prompt-cache-bytes": knobs.prefix_cache_mb * 2**20 if knobs.prefix_cache else 0,
        "--kv-bits": _KV_BITS.get(knobs.kv_cache_type),
        "--adapter-path": spec.adapter.parent if spec.adapter else None,
        "--chat-template-args": json.dumps(knobs.chat_template_args) if knobs.chat_template_args else None,
        "--log-level": knobs.engine_log_level.upper(),
    }
    own = (text for flag, value in flags.items() if value is not None for text in (flag, str(value)))
    return (*own, *knobs.extra_args)
