"""What one llama.cpp server shall look like, decided from model and knobs alone; rendered in `llama_flags`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs
from roost.engines.knobs import DEFAULT_CONTEXT_TOKENS, context_tokens, shared_problems, unsupported

NAME = "llama.cpp"
Purpose = Literal["chat", "embedding", "rerank"]
Pooling = Literal["mean", "rank"]

#: Which routes a server with this purpose answers.
SURFACES: Mapping[Purpose, frozenset[str]] = {
    "chat": frozenset({"chat", "completions", "embeddings"}),
    "embedding": frozenset({"embeddings"}),
    "rerank": frozenset({"rerank"}),
}
#: llama.cpp's own default, and the least that is worth starting with.
MINIMUM_BATCH_TOKENS = 512
#: The most a chat worker computes in one step: larger steps gain nothing and make a cancel coarser.
MAXIMUM_BATCH_TOKENS = 2048
#: With embeddings on, llama.cpp holds logits for every token of a batch twice, where they are computed and where they
#: are handed out: 2 * batch * vocabulary * 4 bytes (llama-context.cpp, n_outputs_max = n_batch). A long text to embed
#: touches all of it. This is what a chat worker may spend on that; with more, the embedded default (a vocabulary of
#: 49,152) would not fit beside the desktop of a machine with 4 GiB.
OUTPUT_BUDGET_BYTES = 7 * 2**26
LOGIT_BYTES = 2 * 4

#: States kept for each sequence to go back to: the server's own number. Models that can cut their cache keep none.
CHECKPOINTS = 32

REASONING_FORMATS = ("none", "auto", "deepseek", "deepseek-legacy")
VERBOSITY = {"error": 1, "warning": 2, "info": 3, "debug": 4}  # 5 would print the tokens of prompts

_UNSUPPORTED = (
    ("paged_cache", "it has no paged KV blocks; remove it or use vllm-mlx"),
    ("prefix_sharing", "running requests never share KV blocks; remove it or use vllm-mlx"),
    ("gpu_memory_share", "it fits whole layers into GPU memory; set gpu_layers instead"),
    ("tool_parser", "it reads tool calls by the chat template itself; remove it"),
    ("completion_batch", "it decodes all running requests in one step; set max_sequences instead"),
    ("standby", "its start is no imports but the load; set it under [engines.mlx-lm] or [engines.vllm-mlx]"),
)


@dataclass(frozen=True)
class LlamaShape:
    """One server. Sizes in tokens unless named otherwise."""

    model: Path
    alias: str
    purpose: Purpose
    context: int
    sequences: int
    #: Both batch and micro-batch: embedding mode needs them equal, and an embedding input must fit into one.
    batch: int
    #: None: what the model's own header says.
    pooling: Pooling | None
    prefix_cache_mib: int
    prefix_cache: bool
    checkpoints: int
    kv_type: str | None
    continuous_batching: bool
    gpu_layers: int | None
    threads: int | None
    reasoning_format: str | None
    verbosity: int
    projector: Path | None = None
    adapter: Path | None = None
    draft: Path | None = None
    template_args: Mapping[str, Any] = field(default_factory=dict)


def purpose_of(spec: ModelSpec) -> Purpose:
    """A model that can chat is a chat worker even when it can embed too."""
    if spec.capabilities & {"chat", "completion"}:
        return "chat"
    if "rerank" in spec.capabilities:
        return "rerank"
    return "embedding" if "embedding" in spec.capabilities else "chat"


def shape_of(spec: ModelSpec, knobs: Knobs, draft: Path | None = None) -> LlamaShape:
    """The server for this model; `problems_of` must have found nothing. `spec.path` is set: it is a GGUF file."""
    assert spec.path is not None
    purpose = purpose_of(spec)
    context = context_tokens(spec, knobs) or DEFAULT_CONTEXT_TOKENS
    return LlamaShape(
        model=spec.path,
        alias=spec.id,
        purpose=purpose,
        context=context,
        sequences=knobs.max_sequences,
        batch=batch_tokens(spec, knobs, purpose, context),
        pooling=pooling_of(spec, purpose),
        prefix_cache_mib=knobs.prefix_cache_mb if knobs.prefix_cache and purpose == "chat" else 0,
        prefix_cache=knobs.prefix_cache,
        checkpoints=CHECKPOINTS if knobs.checkpoints is None else knobs.checkpoints,
        kv_type=None if knobs.kv_cache_type == "auto" else knobs.kv_cache_type,
        continuous_batching=knobs.continuous_batching,
        gpu_layers=knobs.gpu_layers,
        threads=knobs.threads,
        reasoning_format=knobs.reasoning_parser,
        verbosity=VERBOSITY[knobs.engine_log_level],
        projector=spec.projector,
        adapter=spec.adapter,
        draft=draft,
        template_args=knobs.chat_template_args,
    )


def batch_tokens(spec: ModelSpec, knobs: Knobs, purpose: Purpose, context: int) -> int:
    """Tokens of one step. An input longer than the micro-batch cannot be embedded or ranked (llama.cpp answers 500),
    so an auxiliary worker takes its whole context; a chat worker takes what its vocabulary allows."""
    if purpose != "chat":
        return context
    if knobs.prefill_batch is not None:
        return min(knobs.prefill_batch, context)
    affordable = OUTPUT_BUDGET_BYTES // (LOGIT_BYTES * (spec.vocabulary_size or 2**18)) // 128 * 128
    return min(max(affordable, MINIMUM_BATCH_TOKENS), MAXIMUM_BATCH_TOKENS, context)


def pooling_of(spec: ModelSpec, purpose: Purpose) -> Pooling | None:
    """Chat models say nothing about pooling, so mean; an embedding model's own header wins (CLS or last token)."""
    if purpose == "rerank":
        return "rank"
    own = f"{spec.architecture}.pooling_type" in spec.metadata
    return "mean" if purpose == "chat" or (spec.metadata and not own) else None


def problems_of(spec: ModelSpec | None, knobs: Knobs) -> list[str]:
    """Knobs that llama.cpp cannot honour, one sentence each with the mend."""
    found = shared_problems(NAME, spec, knobs) + unsupported(NAME, knobs, _UNSUPPORTED)
    if knobs.chunked_prefill is False:
        found.append(f"{NAME}: chunked_prefill: it always interleaves prefill with decoding; remove it")
    if knobs.reasoning_parser not in (None, *REASONING_FORMATS):
        found.append(
            f"{NAME}: reasoning_parser: {knobs.reasoning_parser!r} is not one of {', '.join(REASONING_FORMATS)}; "
            "remove it, the chat template decides"
        )
    if spec is not None and knobs.prefill_batch is not None and purpose_of(spec) != "chat":
        found.append(f"{NAME}: prefill_batch: an embedding or rerank model takes its whole context at once; remove it")
    return found
