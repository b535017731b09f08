"""vllm-mlx: continuous batching on MLX, in an environment of its own, on a unix socket through our launcher."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from roost.catalog.spec import ModelSpec
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines import mlx_worker
from roost.engines.caches import ask_to_drop
from roost.engines.http import ask, generate_one
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
from roost.engines.parks import ParkFailed
from roost.engines.types import (
    Available,
    CannotKeep,
    EngineTraits,
    Health,
    LaunchPlan,
    NotInstalled,
    Restored,
    StandbyPlan,
    WorkerHttp,
    WorkerPlace,
)
from roost.engines.vllm_mlx_parsers import parser_flags, parser_problems, reasoning_parser
from roost.errors import Unavailable
from roost.memory.types import DryRunPlan, LoadShape

ENGINE = EnvironmentEngine(
    name="vllm-mlx",
    variable="ROOST_ENGINE_VLLM_MLX_PYTHON",
    # Older ones mix up the prefixes of requests (waybarrios/vllm-mlx#384, #385).
    minimum_version=(0, 6),
    # It installs a `vllm_mlx` package and a `vllm-mlx` command of its own.
    impostor="rapid-mlx",
)
NAME = ENGINE.name
#: Private memory of a parked worker at most: 88 to 99 MiB of imports were measured on Linux, without torch.
PARKED_BYTES = 256 * 2**20

#: Its own wall clock, for a whole reply and between chunks; the gateway ends what makes no progress.
TIMEOUT_S = 365 * 24 * 3600
#: The engine reads this variable; `mlx_worker.BUFFER_CACHE_BYTES`.
BUFFER_CACHE = {"MLX_BUFFER_CACHE_LIMIT": f"{mlx_worker.BUFFER_CACHE_BYTES // 10**9}GB"}
#: Resident memory of a spare that has imported PyTorch, as the one for macOS may; without it 130 MB were measured.
SPARE_BYTES = 800 * 10**6
#: Tokens in one block of the paged cache, the engine's own default.
BLOCK_TOKENS = 64
#: The engine's own default, where the model's header does not tell how large a token's KV is.
DEFAULT_BLOCKS = 1000
_KV_BITS = {"q8_0": "8", "q4_0": "4"}

_UNSUPPORTED = (
    ("checkpoints", "it keeps none; remove it"),
    ("gpu_layers", "MLX runs all layers on one device; remove it"),
    ("threads", "MLX chooses its threads itself; remove it"),
    ("speculative_decoding", "it has no draft models for text; turn it off or use llama.cpp"),
)
_OWNED = """
--models-config --served-model-name --host --port --continuous-batching --max-num-seqs --completion-batch-size
--cache-memory-mb --cache-memory-percent --disable-prefix-cache --enable-prefix-cache --use-paged-cache
--max-cache-blocks --paged-cache-block-size --no-memory-aware-cache --kv-cache-quantization
--kv-cache-quantization-bits --ssd-cache-dir --ssd-cache-max-gb --warm-prompts --max-kv-size --max-tokens
--max-request-tokens --gpu-memory-utilization --chunked-prefill-tokens --prefill-step-size
--enable-auto-tool-choice --tool-call-parser --reasoning-parser --default-chat-template-kwargs --timeout --api-key
--rate-limit --offline --trust-remote-code --mcp-config --auto-unload-idle-seconds --lazy-load-model
--stream-interval --embedding-model --rerank-model --help
"""
#: Flags of `vllm-mlx serve` that roost sets, or that would undo what it promises.
OWNED_FLAGS = frozenset(_OWNED.split())


class VllmMlx:
    """Safetensors folders. The weights are not mapped after the load: the proof is argv and digests at spawn."""

    name = NAME

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._paths = paths
        self._environ = environ

    def availability(self) -> Available | NotInstalled:
        return find_engine(ENGINE, self._paths, self._environ)

    def refusal(self, spec: ModelSpec) -> str | None:
        if spec.adapter is not None:
            return f"{NAME} loads no adapters; use mlx-lm"
        return mlx_worker.refusal(NAME, spec)

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        found = shared_problems(NAME, spec, knobs) + unsupported(NAME, knobs, _UNSUPPORTED)
        found += cache_problems(knobs) + parser_problems(NAME, spec, knobs)
        return found + flag_problems(NAME, knobs.extra_args, OWNED_FLAGS)

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        mlx_worker.require_no_problems(NAME, spec, [self.refusal(spec), *self.problems(spec, knobs)])
        engine = self.availability()
        if isinstance(engine, NotInstalled):
            raise Unavailable(f"cannot start {spec.id}: {engine.reason}; run {engine.mend!r}", should_retry=False)
        worker = MlxWorker(
            environment=environment(engine),
            command=("vllm-mlx", "serve"),
            arguments=arguments(spec, knobs),
            traits=traits(spec, engine.device, reasoning_parser(NAME, spec, knobs) is not None),
            configuration={"log_level": knobs.engine_log_level},
            kernels=mlx_worker.kernels(NAME, environment(engine), self._paths),
        )
        return mlx_worker.plan(worker, spec, knobs, place, self._environ)

    def load_shape(self, spec: ModelSpec, knobs: Knobs) -> LoadShape:
        engine = self.availability()
        device = engine.device if isinstance(engine, Available) else "cpu"
        # Only the KV of cached prefixes is quantized, never that of running requests.
        return mlx_worker.load_shape(NAME, spec, knobs, device, None)

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

    def cache_facts(self, spec: ModelSpec, knobs: Knobs) -> Mapping[str, Any] | CannotKeep:
        if refusal := cache_refusal(spec, knobs):
            return CannotKeep(refusal)
        engine = self.availability()
        return {
            "weights": spec.fingerprint,
            "template": spec.chat_template_sha256,
            "program": [engine.version, engine.device] if isinstance(engine, Available) else [],
            "arguments": list(arguments(spec, knobs)),
            "env": dict(knobs.env),
        }

    async def save_cache(self, worker: WorkerHttp, folder: Path, max_bytes: int) -> int:
        """The engine writes all entries; within `knobs.prefix_cache_mb`, which may be more than `max_bytes`."""
        await _move_cache(worker, "save", folder)
        return saved_tokens(folder)

    async def restore_cache(self, worker: WorkerHttp, folder: Path, *, check: bool) -> Restored:
        tokens = saved_tokens(folder)
        entries = await _move_cache(worker, "restore", folder)
        # It says how many entries it took; none of a full folder means that it refuses its own files.
        return Restored(tokens if entries else 0, reused=entries > 0)

    @property
    def parked_bytes(self) -> int:
        return PARKED_BYTES

    def can_park(self) -> bool:
        return True

    async def memory_settings(self, worker: WorkerHttp) -> Mapping[str, Any]:
        told = await _tell(worker, "GET", "/roost/sizes")
        if not isinstance(told, dict):
            raise ParkFailed("it does not tell its sizes")
        return told

    async def park(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        await _tell(worker, "POST", "/roost/park")

    async def wake(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        await _tell(worker, "POST", "/roost/wake")

    async def drop_caches(self, worker: WorkerHttp) -> None:
        await ask_to_drop(worker)

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        return await mlx_worker.count_prompt_tokens(worker, body)


async def _tell(worker: WorkerHttp, method: str, path: str) -> Any:
    """Raises ParkFailed."""
    try:
        answer = await ask(worker, method, path)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ParkFailed(f"it does not answer to {path}: {error}") from error
    if answer.status not in (200, 202):
        raise ParkFailed(f"it answers {answer.status} to {path}: {answer.error_text()}")
    return answer.json()


def cache_refusal(spec: ModelSpec, knobs: Knobs) -> str | None:
    """Why this model's prefixes are not saved; None: they are."""
    if not knobs.prefix_cache or knobs.prefix_cache_mb == 0:
        return "it reuses no prompt"
    if knobs.paged_cache:
        return f"{NAME} cannot save its paged cache"
    if spec.attention.hybrid or spec.attention.sliding_window:
        return "the cache of a hybrid, recurrent or sliding-window model cannot be cut to a prefix"
    return None


def saved_tokens(folder: Path) -> int:
    """Prompts in the files that the engine wrote: it keeps the token ids of each, four bytes a token."""
    return sum(file.stat().st_size // 4 for file in folder.glob("*/entry_*_tokens.bin"))


async def _move_cache(worker: WorkerHttp, action: str, folder: Path) -> int:
    told = (await ask(worker, "POST", f"/roost/cache/{action}", {"folder": str(folder)})).json()
    entries = told.get("entries") if isinstance(told, dict) else None
    return entries if isinstance(entries, int) else 0


def traits(spec: ModelSpec, device: str, splits_thoughts: bool = False) -> EngineTraits:
    return EngineTraits(
        splits_thoughts=splits_thoughts,
        thinking_budget_field="thinking_token_budget",
        # Noticed within half a second, acted on after the step that is being computed.
        cancels_non_stream=True,
        # It streams its 200 before it has tokenized the prompt, so the length must be asked before.
        context_check="count",
        surfaces=frozenset({"chat", "completions"}),
        # The pinned environment for CPUs leaves out torchvision, which prepares images.
        vision="vision" in spec.capabilities and device != "cpu",
    )


def environment(engine: Available) -> MlxEnvironment:
    return MlxEnvironment(
        engine.where, "vllm_mlx.py", variables=BUFFER_CACHE, device=engine.device, version=engine.version
    )


def cache_problems(knobs: Knobs) -> list[str]:
    found: list[str] = []
    if knobs.paged_cache and not knobs.prefix_cache:
        found.append(f"{NAME}: paged_cache holds the prefix cache; set prefix_cache = true or remove paged_cache")
    if knobs.paged_cache and knobs.prefix_sharing is False:
        found.append(f"{NAME}: prefix_sharing: its paged cache always shares blocks; set paged_cache = false instead")
    if knobs.kv_cache_type in ("f16", "bf16"):
        found.append(f"{NAME}: kv_cache_type: it keeps KV in the type of the weights; set it to auto")
    if knobs.kv_cache_type in _KV_BITS and (knobs.paged_cache or not knobs.prefix_cache):
        found.append(
            f"{NAME}: kv_cache_type: it quantizes the KV of cached prefixes only, and not in pages; set it to auto, "
            "or prefix_cache = true and paged_cache = false"
        )
    return found


def arguments(spec: ModelSpec, knobs: Knobs) -> tuple[str, ...]:
    """Flags of `vllm-mlx serve` for these knobs; `problems` must have found nothing.

    Batching is always on: its simple mode refuses a second request and caches no prefix. One after another is then
    a batch of one.
    """
    prefill = knobs.prefill_batch or PREFILL_STEP_TOKENS
    flags = {
        "--max-num-seqs": sequences(knobs),
        "--completion-batch-size": knobs.completion_batch,
        "--prefill-step-size": prefill,
        "--chunked-prefill-tokens": prefill if knobs.chunked_prefill else None,
        "--gpu-memory-utilization": knobs.gpu_memory_share,
        "--max-tokens": knobs.generation_cap or UNLIMITED_TOKENS,
        "--max-request-tokens": UNLIMITED_TOKENS,
        "--timeout": TIMEOUT_S,
        "--default-chat-template-kwargs": json.dumps(knobs.chat_template_args) if knobs.chat_template_args else None,
    }
    own = (text for flag, value in flags.items() if value is not None for text in (flag, str(value)))
    return (
        "--continuous-batching",
        "--offline",
        *own,
        *cache_flags(spec, knobs),
        *parser_flags(NAME, spec, knobs),
        *knobs.extra_args,
    )


def cache_flags(spec: ModelSpec, knobs: Knobs) -> tuple[str, ...]:
    if not knobs.prefix_cache or knobs.prefix_cache_mb == 0:
        return ("--disable-prefix-cache",)
    if knobs.paged_cache:
        return ("--use-paged-cache", "--max-cache-blocks", str(cache_blocks(spec, knobs.prefix_cache_mb)))
    bits = _KV_BITS.get(knobs.kv_cache_type)
    quantization = ("--kv-cache-quantization", "--kv-cache-quantization-bits", bits) if bits else ()
    return ("--cache-memory-mb", str(knobs.prefix_cache_mb), *quantization)


def cache_blocks(spec: ModelSpec, megabytes: int) -> int:
    """Blocks of the paged cache that fit. KV of a token: 2 (keys, values) * layers * KV heads * head size * 2 bytes."""
    shape = spec.attention
    if not (shape.layers and shape.kv_heads and shape.key_length):
        return DEFAULT_BLOCKS
    heads = sum(shape.kv_heads) if len(shape.kv_heads) > 1 else shape.layers * shape.kv_heads[0]
    token_bytes = 2 * heads * shape.key_length * 2
    return max(1, megabytes * 2**20 // (token_bytes * BLOCK_TOKENS))
