"""Snippets are cut from the families' own templates: enough of each to tell it from its neighbours."""

from __future__ import annotations

import pytest

from roost.engines.families import FAMILIES, family_of

CHATML = "{{- '<|im_start|>' + message.role + '\\n' }}"
TOOL_CALL = '\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call>'
XML = "<tool_call>\\n<function=example_function_name>\\n<parameter=example_parameter_1>"

SNIPPETS = {
    "gpt-oss": "{{- '<|start|>assistant<|channel|>analysis<|message|>' + message.thinking }}",
    "gemma-4": "{{- '<|turn>' + role }}{%- if enable_thinking %}<|channel>thought",
    "gemma-3": "{{ '<start_of_turn>' + role + '\\n' }}",
    "kimi-k2": "<|im_user|>{{ role }}<|im_middle|>{{ content }}<|tool_calls_section_begin|>",
    "kimi-k2-thinking": "<|im_user|>{{ role }}<|im_middle|><think>{{ rc }}</think>",
    "minimax-m2": "{{- ']~!b[' ~ ']~b]system' }}<minimax:tool_call>",
    "seed-oss": "{{ bos_token }}<seed:tool_call>\\n<function=f>\\n<parameter=a>{{ thinking_budget }}",
    "glm-4.7": "[gMASK]<sop><tool_call>{function-name}<arg_key>{arg-key-1}</arg_key>{{ clear_thinking }}",
    "glm-4.5": "[gMASK]<sop>\\n<tool_call>{function-name}\\n<arg_key>{arg-key-1}</arg_key>{{ enable_thinking }}",
    "deepseek-v4": "<｜User｜><｜DSML｜function_calls>{{ reasoning_effort }}",
    "deepseek-v3.2": "<｜User｜><｜DSML｜function_calls><｜DSML｜invoke name=",
    "deepseek-r1": "{{'<｜User｜>'}}{{'<｜tool▁calls▁begin｜>'}}```json {{ content.split('</think>')[-1] }}<think>",
    "deepseek-v3": "{{'<｜User｜>'}}{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'}}function```json",
    "deepseek-v3.1": "{% if not thinking is defined %}<｜User｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜></think>",
    "llama-4": "{{- '<|header_start|>' + message.role + '<|header_end|>' }}",
    "llama-3": "{{- '<|start_header_id|>system<|end_header_id|>' }}{{- 'Environment: ipython\\n' }}",
    "mistral-thinking": "{{ '[INST]' }}[TOOL_CALLS]{{ '[THINK]' }}",
    "mistral": "{{ '[INST]' + content + '[/INST]' }}{{ '[TOOL_CALLS]' + name + '[ARGS]' }}",
    "granite-3": "{{- '<|start_of_role|>' }}<|tool_call|>",
    "granite-4": "{{- '<|start_of_role|>' }}<tool_call>\\n{...}</tool_call>",
    "lfm2": CHATML + "{{ 'List of tools: <|tool_list_start|>[' }}",
    "lfm2.5": CHATML + "{{ 'List of tools: [' }}",
    "jamba": "<|bom|><|assistant|> {{ '<tool_calls>\\n[' }}",
    "nemotron-nano-2": "<SPECIAL_10>System\\n<TOOLCALL>[{{ call }}]</TOOLCALL>",
    "nemotron-3": CHATML + XML + "{% set truncate_history_thinking = true %}{{ enable_thinking }}",
    "smollm3": CHATML + "{%- if xml_tools or python_tools -%}<tool_call>{{ enable_thinking }}",
    "qwen3.6": CHATML + XML + "{% if preserve_thinking %}{% if enable_thinking %}<think>",
    "qwen3.5": CHATML + XML + "{% if enable_thinking %}<think>",
    "qwen3-coder": CHATML + XML,
    "phi-4-mini": "{{ '<|system|>' + content + '<|tool|>' + tools + '<|/tool|>' + '<|end|>' }}",
    "phi-4": "{{'<|im_start|>user<|im_sep|>'}}",
    "hermes-4": CHATML + TOOL_CALL + "{%- set thinking_prompt = 'You are a deep thinking AI' %}",
    "qwen3": CHATML + TOOL_CALL + "{%- if enable_thinking is false %}<think>\\n\\n</think>{{ reasoning_content }}",
    "qwen3-thinking": CHATML + TOOL_CALL + "{{ reasoning_content }}<|im_start|>assistant\\n<think>\\n",
    "qwq": CHATML + TOOL_CALL + "{{ content.split('</think>')[-1] }}<|im_start|>assistant\\n<think>\\n",
    "qwen2.5": CHATML + TOOL_CALL,
    "smollm2": CHATML + "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_template_tells_its_family(name: str) -> None:
    family = family_of(SNIPPETS[name])
    assert family is not None
    assert family.name == name


def test_every_family_has_a_snippet() -> None:
    assert {family.name for family in FAMILIES} == set(SNIPPETS)


def test_an_unknown_template_is_no_family() -> None:
    assert family_of("{% for m in messages %}{{ m.content }}{% endfor %}") is None
    assert family_of(CHATML) is None


def test_parsers_are_looked_up_by_engine() -> None:
    qwen = family_of(SNIPPETS["qwen3"])
    assert qwen is not None
    assert (qwen.tool_parser("vllm-mlx"), qwen.reasoning_parser("vllm-mlx")) == ("qwen3", "qwen3")
    assert (qwen.tool_parser("mlx-lm"), qwen.reasoning_parser("mlx-lm")) == ("json_tools", None)
    assert (qwen.tool_parser("llama.cpp"), qwen.reasoning_parser("llama.cpp")) == (None, None)


def test_mlx_lm_loses_the_tool_calls_of_these_families() -> None:
    lost = {family.name for family in FAMILIES if family.vllm_mlx[0] and family.mlx_lm is None}
    assert {"gpt-oss", "llama-3", "llama-4", "granite-3", "deepseek-r1"} <= lost
