"""Model families, told apart by the text of the chat template alone: which parsers fit, and how thinking is switched.

A name proves nothing (fine-tunes keep their base's template and change everything else); engines detect by the
template too. Parsers were read in the sources of vllm-mlx 0.6 and mlx-lm 0.31-0.32; llama.cpp needs no names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Attention(StrEnum):
    """What the KV cache can do."""

    #: Every layer sees everything: a prefix can be cut anywhere, and saved KV restores.
    FULL = "full"
    #: Some layers see a window only: cutting a prefix needs checkpoints.
    WINDOW = "window"
    #: Recurrent layers beside attention: only whole states can be kept.
    HYBRID = "hybrid"
    #: Compressed KV: small, otherwise like FULL.
    LATENT = "latent"


@dataclass(frozen=True)
class Thinking:
    """How a template is told to think: the name of its argument; None: it always does."""

    argument: str | None
    #: What the template does when nothing is said.
    default_on: bool = True


@dataclass(frozen=True)
class Family:
    name: str
    #: All of these stand in the template.
    needs: tuple[str, ...]
    #: (tool parser, reasoning parser) by their names in vllm-mlx; None: it has none for this family.
    vllm_mlx: tuple[str | None, str | None] = (None, None)
    #: What mlx-lm infers by itself; None: tool calls stay in the text.
    mlx_lm: str | None = None
    thinking: Thinking | None = None
    attention: Attention = Attention.FULL

    def tool_parser(self, engine: str) -> str | None:
        """The name to start `engine` with, or that it infers; None: tool calls of this family are not parsed there."""
        return {"vllm-mlx": self.vllm_mlx[0], "mlx-lm": self.mlx_lm}.get(engine)

    def reasoning_parser(self, engine: str) -> str | None:
        """The name to start `engine` with; None: reasoning stays in the text or the engine needs no name."""
        return self.vllm_mlx[1] if engine == "vllm-mlx" else None


_ENABLE = Thinking("enable_thinking")
_ALWAYS = Thinking(None)

#: The first that matches wins: special markers first, the widely copied `<|im_start|>` + `<tool_call>` last.
FAMILIES: tuple[Family, ...] = (
    Family(
        "gpt-oss",
        needs=("<|start|>", "<|channel|>"),
        vllm_mlx=("harmony", "gpt_oss"),
        thinking=Thinking("reasoning_effort"),
        attention=Attention.WINDOW,
    ),
    Family(
        "gemma-4",
        needs=("<|turn>",),
        vllm_mlx=("gemma4", "gemma4"),
        mlx_lm="gemma4",
        thinking=_ENABLE,
        attention=Attention.WINDOW,
    ),
    Family("gemma-3", needs=("<start_of_turn>",), attention=Attention.WINDOW),
    Family(
        "kimi-k2-thinking",
        needs=("<|im_middle|>", "<think>"),
        vllm_mlx=("kimi_k2", None),
        mlx_lm="kimi_k2",
        thinking=_ALWAYS,
        attention=Attention.LATENT,
    ),
    Family(
        "kimi-k2", needs=("<|im_middle|>",), vllm_mlx=("kimi_k2", None), mlx_lm="kimi_k2", attention=Attention.LATENT
    ),
    Family("minimax-m2", needs=("]~b]",), vllm_mlx=("minimax_m2", None), mlx_lm="minimax_m2", thinking=_ALWAYS),
    Family("seed-oss", needs=("<seed:",), thinking=Thinking("thinking_budget")),
    Family(
        "glm-4.7",
        needs=("[gMASK]", "<arg_key>", "clear_thinking"),
        vllm_mlx=("glm47", "glm4"),
        mlx_lm="glm47",
        thinking=_ENABLE,
    ),
    Family("glm-4.5", needs=("[gMASK]", "<arg_key>"), vllm_mlx=("glm4", "glm4"), mlx_lm="glm47", thinking=_ENABLE),
    Family(
        "deepseek-v4",
        needs=("｜DSML｜", "reasoning_effort"),
        vllm_mlx=("deepseek_v4", "deepseek_v4"),
        thinking=Thinking("reasoning_effort"),
        attention=Attention.HYBRID,
    ),
    Family(
        "deepseek-v3.2",
        needs=("｜DSML｜",),
        vllm_mlx=("deepseek_v4", "deepseek_v4"),
        thinking=Thinking("thinking", default_on=False),
        attention=Attention.LATENT,
    ),
    Family(
        "deepseek-r1",
        needs=("<｜User｜>", "```json", "</think>"),
        vllm_mlx=("deepseek_r1", "deepseek_r1"),
        thinking=_ALWAYS,
    ),
    Family(
        "deepseek-v3",
        needs=("<｜User｜>", "```json"),
        vllm_mlx=("deepseek_v3", "deepseek_r1"),
        attention=Attention.LATENT,
    ),
    Family(
        "deepseek-v3.1",
        needs=("<｜User｜>", "<｜tool▁call"),
        vllm_mlx=("deepseek_v3", "deepseek_r1"),
        thinking=Thinking("thinking", default_on=False),
        attention=Attention.LATENT,
    ),
    Family("llama-4", needs=("<|header_start|>",), vllm_mlx=("llama4", None), attention=Attention.WINDOW),
    Family("llama-3", needs=("<|start_header_id|>", "ipython"), vllm_mlx=("llama", None)),
    Family(
        "mistral-thinking",
        needs=("[INST]", "[TOOL_CALLS]", "[THINK]"),
        vllm_mlx=("mistral", "mistral"),
        mlx_lm="mistral",
        thinking=_ALWAYS,
    ),
    Family("mistral", needs=("[INST]", "[TOOL_CALLS]"), vllm_mlx=("mistral", None), mlx_lm="mistral"),
    Family(
        "granite-3",
        needs=("<|start_of_role|>", "<|tool_call|>"),
        vllm_mlx=("granite", None),
        thinking=Thinking("thinking", default_on=False),
    ),
    Family(
        "granite-4",
        needs=("<|start_of_role|>", "<tool_call>"),
        vllm_mlx=("hermes", None),
        mlx_lm="json_tools",
        attention=Attention.HYBRID,
    ),
    Family("lfm2", needs=("<|tool_list_start|>",), mlx_lm="pythonic", attention=Attention.HYBRID),
    Family("lfm2.5", needs=("List of tools: [",), mlx_lm="pythonic", attention=Attention.HYBRID),
    Family("jamba", needs=("<tool_calls>",), attention=Attention.HYBRID),
    Family("nemotron-nano-2", needs=("<TOOLCALL>",), attention=Attention.HYBRID),
    Family(
        "nemotron-3",
        needs=("<function=", "truncate_history_thinking"),
        vllm_mlx=("nemotron3", "qwen3"),
        mlx_lm="qwen3_coder",
        thinking=_ENABLE,
        attention=Attention.HYBRID,
    ),
    Family("smollm3", needs=("xml_tools", "python_tools"), vllm_mlx=("hermes", "qwen3"), thinking=_ENABLE),
    Family(
        "qwen3.6",
        needs=("<function=", "preserve_thinking"),
        vllm_mlx=("qwen3.5", "qwen3"),
        mlx_lm="qwen3_coder",
        thinking=_ENABLE,
        attention=Attention.HYBRID,
    ),
    Family(
        "qwen3.5",
        needs=("<function=", "enable_thinking"),
        vllm_mlx=("qwen3.5", "qwen3"),
        mlx_lm="qwen3_coder",
        thinking=_ENABLE,
        attention=Attention.HYBRID,
    ),
    Family("qwen3-coder", needs=("<function=", "<parameter="), vllm_mlx=("qwen3_coder", None), mlx_lm="qwen3_coder"),
    Family("phi-4-mini", needs=("<|tool|>", "<|end|>")),
    Family("phi-4", needs=("<|im_sep|>",)),
    Family(
        "hermes-4",
        needs=("<|im_start|>", "<tool_call>", "deep thinking AI"),
        vllm_mlx=("hermes", None),
        mlx_lm="json_tools",
        thinking=Thinking("thinking", default_on=False),
    ),
    Family(
        "qwen3",
        needs=("<|im_start|>", "<tool_call>", "enable_thinking"),
        vllm_mlx=("qwen3", "qwen3"),
        mlx_lm="json_tools",
        thinking=_ENABLE,
    ),
    Family(
        "qwen3-thinking",
        needs=("<|im_start|>", "<tool_call>", "<think>", "reasoning_content"),
        vllm_mlx=("qwen3", "qwen3"),
        mlx_lm="json_tools",
        thinking=_ALWAYS,
    ),
    Family(
        "qwq",
        needs=("<|im_start|>", "<tool_call>", "<think>"),
        vllm_mlx=("hermes", "deepseek_r1"),
        mlx_lm="json_tools",
        thinking=_ALWAYS,
    ),
    Family("qwen2.5", needs=("<|im_start|>", "<tool_call>"), vllm_mlx=("hermes", None), mlx_lm="json_tools"),
    Family("smollm2", needs=("<|im_start|>", "SmolLM")),
)


def family_of(template: str) -> Family | None:
    """The family whose markers this chat template holds; None: unknown, so no parser may be assumed."""
    return next((family for family in FAMILIES if all(marker in template for marker in family.needs)), None)
