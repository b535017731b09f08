"""The tuning of engines as one frozen value; a part of the settings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from roost.config.section import Section


class Knobs(Section):
    """Tuning of an engine. `[engine]` holds for all, `[engines.NAME]` for one engine, `[models."ID".engine]` for one
    model; the narrower wins field by field. A knob that the chosen engine cannot honour is an error naming it."""

    name: str = Field(
        "auto",
        description="Engine: auto, llama.cpp, mlx-lm, vllm-mlx, external or command. auto takes an installed MLX "
        "engine on Apple Silicon for safetensors, else llama.cpp.",
    )
    context: int | None = Field(
        None,
        ge=256,
        description="Context window in tokens of one request; unset: the trained one, at most 32768, because KV is "
        "reserved for the whole of it.",
    )
    max_sequences: int = Field(4, ge=1, le=256, description="Requests generated at once; the only concurrency setting.")
    generation_cap: int | None = Field(
        None, ge=1, description="Most tokens a reply may have: a model that never stops must not hold the machine."
    )
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Used when a request sets none; a light one (0.1) ends repetition loops."
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Used when a request sets none.")
    prefix_cache: bool = Field(True, description="Reuse the KV of a common prefix between turns.")
    prefix_cache_mb: int = Field(
        512,
        ge=0,
        le=2**30,
        description="Memory reserved for cached prefixes: small and fixed, engines' defaults grow unbounded.",
    )
    checkpoints: int | None = Field(
        None,
        ge=0,
        le=256,
        description="States kept for each running request to go back to, for models with sliding windows or recurrent "
        "layers, whose caches cannot be cut (llama.cpp); unset: its own 32. Each is as large as the whole state.",
    )
    resume: bool = Field(
        True,
        description="Keep the caches of this model's conversations on disk while it is not loaded (llama.cpp, "
        "vllm-mlx); `resume.enabled` turns it off for all.",
    )
    standby: bool = Field(
        False,
        description="Keep one process of this engine waiting, its imports done and no weights in it, for whatever "
        "model is started next (mlx-lm, vllm-mlx), which then waits for no imports. Off, because the process holds "
        "memory for nothing until then; `roost doctor` says where there is room. Only in `[engine]` and "
        "`[engines.NAME]`.",
    )
    kv_cache_type: Literal["auto", "f16", "bf16", "q8_0", "q4_0"] = Field(
        "auto", description="Element type of the KV cache; quantized saves memory and costs quality."
    )
    paged_cache: bool | None = Field(None, description="Paged KV blocks (vllm-mlx); block sharing needs it.")
    prefix_sharing: bool | None = Field(
        None, description="Share prefix blocks between running requests (vllm-mlx); needs paged_cache."
    )
    continuous_batching: bool = Field(True, description="Let requests join a running batch; off: one after another.")
    gpu_memory_share: float | None = Field(
        None, gt=0, le=1, description="Share of GPU memory that the engine may take (vllm-mlx)."
    )
    gpu_layers: int | None = Field(None, ge=0, description="Layers on the GPU (llama.cpp); unset: all that fit.")
    threads: int | None = Field(None, ge=1, le=4096, description="CPU threads (llama.cpp); unset: the physical cores.")
    prefill_batch: int | None = Field(
        None, ge=32, description="Prompt tokens computed in one step; smaller steps make a cancel finer."
    )
    completion_batch: int | None = Field(None, ge=1, description="Sequences decoded in one step (mlx-lm).")
    chunked_prefill: bool | None = Field(
        None, description="Interleave prefill chunks with decoding (vllm-mlx): long prompts do not stall others."
    )
    chat_template_args: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the chat template, such as enable_thinking."
    )
    tools: Literal["auto", "off", "marker", "full"] = Field(
        "auto",
        description="How far roost looks for tool calls that the engine left in the text, when a request brings tools. "
        "off: not at all; marker: the marks of the model's own family; full: every family's, and a whole message in "
        "the shape of a call; auto: as `roost models verify` found to be needed, else marker. A request may say "
        "otherwise: `x-roost-tools`.",
    )
    unknown_tool: Literal["leave", "forward", "reask"] = Field(
        "leave",
        description="What becomes of a call in the model's own marks, in sound form, of a tool that the request does "
        "not bring. leave: it stays text; forward: it is answered as a call under that name, because models recover "
        "when they see the wrong name; reask: the model is asked once more, and told which tools there are.",
    )
    bad_arguments: Literal["leave", "reask"] = Field(
        "leave",
        description="What becomes of a call in sound form whose arguments the tool's schema refuses. leave: it stays "
        "text; reask: the model is asked once more, and told what is wrong. The tokens of both answers count.",
    )
    thinking: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether a model that can thinks before it answers, by whatever switch its template has; auto: as "
        "its template does. A request may say otherwise: `reasoning_effort` (none: off).",
    )
    thinking_budget: int | None = Field(
        None,
        ge=0,
        description="Tokens that it may think before it must answer (llama.cpp, vllm-mlx). A request may say "
        "otherwise: `thinking_budget_tokens`.",
    )
    tool_parser: str | None = Field(None, description="Tool-call parser; unset: by the chat template's family.")
    reasoning_parser: str | None = Field(None, description="Reasoning parser; unset: by the chat template's family.")
    speculative_decoding: bool = Field(False, description="Off: a draft model costs memory; measure before turning on.")
    draft_model: str | None = Field(None, description="Draft model's id for speculative decoding.")
    load_deadline_s: float = Field(
        120.0, gt=0, description="A load that shows no sign of life (CPU, memory, output) for so long has failed."
    )
    idle_ttl_s: float = Field(0.0, ge=0, description="Unload after so long without a request; 0: never.")
    stall_s: float = Field(
        30.0,
        gt=0,
        description="A stream without a token for so long is stalled; the first token "
        "gets more, in proportion to the prompt. SSE comments are no tokens.",
    )
    process_priority: Literal["normal", "high"] = Field(
        "normal", description="Scheduling of the worker; never background: that costs an order of magnitude."
    )
    engine_log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The engine's own log.")
    env: dict[str, str] = Field(default_factory=dict, description="Environment added to the worker's clean one.")
    extra_args: tuple[str, ...] = Field((), description="Flags appended to the engine's; roost's own are refused.")
