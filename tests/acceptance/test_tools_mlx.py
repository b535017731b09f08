"""A conversation with tools through real mlx-lm, by the official SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.acceptance.conftest import Roost

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}


@pytest.fixture
def client(roost: Roost, mlx_model_folder: Path, mlx_lm_python: Path) -> openai.OpenAI:
    roost.settings('[models."mlx-smol".engine]\nname = "mlx-lm"\n')
    roost.cli("models", "add", str(mlx_model_folder), "--id", "mlx-smol")
    roost.registry(default="mlx-smol")
    return roost.start().client(timeout=120)


def ask(client: openai.OpenAI, *messages: Any, **more: Any) -> Any:
    return client.chat.completions.create(
        model="default",
        messages=list(messages),
        tools=[WEATHER],
        temperature=0,
        **{"max_tokens": 16, **more},
    )


def test_a_turn_with_tools_and_their_result_is_answered(client: openai.OpenAI) -> None:
    first = ask(client, QUESTION).choices[0]
    assert first.finish_reason in ("stop", "length", "tool_calls")
    function = {"name": "get_weather", "arguments": json.dumps({"city": "Paris"})}
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": function}],
    }
    result = {"role": "tool", "tool_call_id": "1", "content": '{"degrees": 21}'}
    second = ask(client, QUESTION, called, result).choices[0]
    assert second.message.content and second.finish_reason in ("stop", "length")
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in ask(client, QUESTION, called, result, stream=True)
        if chunk.choices
    )
    assert streamed == second.message.content


@pytest.mark.thorough
def test_prose_is_no_answer_where_a_call_was_demanded(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, {"role": "user", "content": "Say hello."}, tool_choice="required")
    assert (caught.value.status_code, caught.value.code) == (502, "unusable_answer")
