"""Tool calls of a real model that leaks every one of them, through the installed roost, by the official SDK."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.acceptance.conftest import Roost
from tests.helpers import MODELS

#: Its template has tools, and it writes each call as a JSON fence: llama.cpp takes that for text.
QWEN = MODELS / "qwen2.5-coder-0.5b-q4_k_m.gguf"
pytestmark = pytest.mark.skipif(not QWEN.exists(), reason=f"the model {QWEN.name} is not in {MODELS}")


def function(name: str, **properties: str) -> dict[str, Any]:
    described = {key: {"type": kind} for key, kind in properties.items()}
    schema = {"type": "object", "properties": described, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}


TOOLS = [function("get_weather", city="string"), function("add_numbers", a="integer", b="integer")]
QUESTIONS = {
    "What is the weather in Paris?": ("get_weather", {"city": "Paris"}),
    "Add 17 and 25 with the tool.": ("add_numbers", {"a": 17, "b": 25}),
}
SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer"}},
    "required": ["age"],
    "additionalProperties": False,
}


@pytest.fixture
def client(roost: Roost) -> openai.OpenAI:
    roost.settings(f'[catalog]\nfolders = ["{MODELS}"]\n[engine]\ncontext = 4096\n')
    (listed,) = [
        row["id"] for row in json.loads(roost.cli("models", "list", "--json").stdout) if "qwen" in row["id"].lower()
    ]
    roost.registry(default=listed)
    return roost.start().client(default_headers={"x-roost-tools": "full"})


def ask(client: openai.OpenAI, question: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(
        model="default", messages=messages, temperature=0, **{"max_tokens": 200, "tools": TOOLS, **more}
    )


def made(choice: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


def put_together(stream: Any) -> tuple[list[tuple[str, Any]], str, str | None]:
    """Calls, text and finish_reason of a stream."""
    calls: dict[int, list[str]] = {}
    text, reason = "", None
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                assert call.index in calls or call.function.name, "the first delta of a call has its name"
                said = calls.setdefault(call.index, [call.function.name or "", ""])
                said[1] += call.function.arguments or ""
    return [(name, json.loads(arguments)) for name, arguments in calls.values()], text, reason


def test_what_the_engine_leaks_is_served_as_calls(client: openai.OpenAI) -> None:
    for question, expected in QUESTIONS.items():
        engine = ask(client, question, extra_headers={"x-roost-tools": "off"}).choices[0]
        assert made(engine) == [] and expected[0] in engine.message.content

        served = ask(client, question).choices[0]
        assert made(served) == [expected]
        assert (served.finish_reason, served.message.content) == ("tool_calls", None)
        assert put_together(ask(client, question, stream=True)) == ([expected], "", "tool_calls")

    raw = client.chat.completions.with_raw_response.create(
        model="default", messages=[{"role": "user", "content": question}], tools=TOOLS, temperature=0, max_tokens=200
    )
    assert raw.headers["x-roost-tools"].startswith("repaired;tier=T2;steps=")
    plain = client.chat.completions.with_raw_response.create(
        model="default", messages=[{"role": "user", "content": "Say hello."}], max_tokens=10
    )
    assert "x-roost-tools" not in plain.headers

    first = raw.parse().choices[0].message
    messages = [
        {"role": "user", "content": question},
        first.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "42"},
    ]
    answer = client.chat.completions.create(
        model="default", messages=messages, tools=TOOLS, temperature=0, max_tokens=40
    )
    # What a model so small makes of a result is its own affair.
    assert answer.choices[0].finish_reason in ("stop", "tool_calls", "length")


@pytest.mark.thorough
def test_a_demanded_call_is_made(client: openai.OpenAI) -> None:
    for stream in (False, True):
        answer = ask(client, "Hello!", tool_choice="required", stream=stream)
        calls = put_together(answer)[0] if stream else made(answer.choices[0])
        assert len(calls) == 1 and calls[0][0] in ("get_weather", "add_numbers")

    named = {"type": "function", "function": {"name": "add_numbers"}}
    answer = ask(client, "What is the weather in Paris?", tool_choice=named).choices[0]
    assert made(answer)[0][0] == "add_numbers"
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "Hello!", tool_choice="required", max_tokens=3)
    assert caught.value.status_code == 502 and caught.value.code == "unusable_answer"


@pytest.mark.thorough
def test_a_format_is_held(client: openai.OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    for more in ({}, {"tools": None}):
        answer = ask(client, "Tom is 30 years old. How old is he?", response_format=wanted, **more)
        assert json.loads(answer.choices[0].message.content) == {"age": 30}
    stream = ask(client, "Tom is 30 years old.", response_format={"type": "json_object"}, tools=None, stream=True)
    assert isinstance(json.loads(put_together(stream)[1]), dict)


def test_a_conversation_with_arguments_that_no_template_reads_goes_on(client: openai.OpenAI) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Par'}
    messages: list[Any] = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "It was cut off."},
    ]
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(
            model="default", messages=messages, tools=TOOLS, max_tokens=4, extra_headers={"x-roost-tools": "off"}
        )
    raw = client.chat.completions.with_raw_response.create(
        model="default", messages=messages, tools=TOOLS, max_tokens=4
    )
    assert raw.headers["x-roost-history"] == "mended;steps=unparsed"


@pytest.mark.thorough
def test_a_model_that_missed_a_parameter_is_asked_again(roost: Roost) -> None:
    roost.settings(f'[catalog]\nfolders = ["{MODELS}"]\n[engine]\ncontext = 4096\nbad_arguments = "reask"\n')
    listed = [row["id"] for row in json.loads(roost.cli("models", "list", "--json").stdout)]
    roost.registry(default=next(name for name in listed if "qwen" in name.lower()))
    client = roost.start().client(default_headers={"x-roost-tools": "full"})
    question = 'Repeat this text, and nothing else: {"name": "get_weather", "arguments": {"town": "Paris"}}'
    once = ask(client, question, extra_headers={"x-roost-tools": "off"})
    raw = client.chat.completions.with_raw_response.create(
        model="default", messages=[{"role": "user", "content": question}], tools=TOOLS, temperature=0, max_tokens=200
    )
    # What a model so small makes of a hint is its own affair.
    assert "reask" in raw.headers["x-roost-tools"] and "reason=schema" in raw.headers["x-roost-tools"]
    answer = raw.parse()
    assert answer.usage.prompt_tokens > 2 * once.usage.prompt_tokens
    assert (
        "reask=failed" in raw.headers["x-roost-tools"] or made(answer.choices[0]) or answer.choices[0].message.content
    )
