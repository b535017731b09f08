"""Which tool and reasoning parser vllm-mlx is started with: the knob, else what the chat template's family needs."""

from __future__ import annotations

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs
from roost.engines.families import family_of

_TOOL_PARSERS = """
auto deepseek deepseek_r1 deepseek_v3 deepseek_v4 dsml functionary gemma4 generic glm4 glm47 gpt-oss granite granite3
harmony hermes kimi kimi_k2 llama llama3 llama4 meetkai minimax minimax_m2 mistral moonshot nemotron nemotron3 nous
poolside_v1 qwen qwen3 qwen3.5 qwen3_coder qwen3_xml step step3p5 xlam
"""
_REASONING_PARSERS = "qwen3 deepseek_r1 deepseek_v4 gpt_oss harmony gemma4 glm4 mistral poolside_v1 step3p5"
#: What vllm-mlx 0.6.0 registers. Several names mean the same parser.
TOOL_PARSERS = frozenset(_TOOL_PARSERS.split())
REASONING_PARSERS = frozenset(_REASONING_PARSERS.split())


def tool_parser(engine: str, spec: ModelSpec, knobs: Knobs) -> str | None:
    """None: the model's template knows no tools, or nobody here can read its calls."""
    if knobs.tool_parser is not None:
        return knobs.tool_parser
    family = family_of(spec.chat_template) if spec.chat_template else None
    return family.tool_parser(engine) if family else None


def reasoning_parser(engine: str, spec: ModelSpec, knobs: Knobs) -> str | None:
    if knobs.reasoning_parser is not None:
        return knobs.reasoning_parser
    family = family_of(spec.chat_template) if spec.chat_template else None
    return family.reasoning_parser(engine) if family else None


def parser_flags(engine: str, spec: ModelSpec, knobs: Knobs) -> tuple[str, ...]:
    tools = tool_parser(engine, spec, knobs)
    reasoning = reasoning_parser(engine, spec, knobs)
    return (
        *(("--enable-auto-tool-choice", "--tool-call-parser", tools) if tools else ()),
        *(("--reasoning-parser", reasoning) if reasoning else ()),
    )


def parser_problems(engine: str, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
    """Names that the engine would not start with, one sentence each."""
    return [
        f"{engine}: {knob}: it has no {chosen!r}; choose one of {', '.join(sorted(known))}, or remove it"
        for knob, chosen, known in (
            ("tool_parser", knobs.tool_parser, TOOL_PARSERS),
            ("reasoning_parser", knobs.reasoning_parser, REASONING_PARSERS),
        )
        if chosen is not None and chosen not in known
    ]
