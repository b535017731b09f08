"""`tool_choice` and `response_format` are the gateway's: held by the engine where it can, else looked at, never 200
with something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roost.engines.types import EngineTraits
from roost.testing.pool import ALL_SURFACES
from tests.integration.gateway.front import Front, front
from tests.integration.gateway.test_tools import asked, events
from tests.unit.toolcalls.corpus import DIM, LAMP, LISTED, fence, hermes, js, named

NAMED = {"type": "function", "function": {"name": "set_lamp"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
ENFORCES = EngineTraits(cancels_non_stream=True, context_check="none", surfaces=ALL_SURFACES, enforces_format=True)
TRUSTED = {"worker": {"traits": ENFORCES}}


def calls(body: bytes, stream: bool) -> list[tuple[str, Any]]:
    if not stream:
        made = json.loads(body)["choices"][0]["message"].get("tool_calls") or ()
        return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in made]
    found: dict[int, list[str]] = {}
    for chunk in events(body):
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()) if chunk.get("choices") else ():
            parts = found.setdefault(call["index"], ["", ""])
            parts[0] += call["function"].get("name", "")
            parts[1] += call["function"].get("arguments", "")
    return [(name, json.loads(arguments)) for name, arguments in found.values()]


def sent(gate: Front) -> dict[str, Any]:
    """What the engine was asked last."""
    return json.loads(gate.engine.recorder.requests[-1].body)


both = pytest.mark.parametrize("stream", [False, True], ids=("whole", "streamed"))


@both
async def test_an_engine_that_holds_formats_is_held_to_the_call(short_path: Path, stream: bool) -> None:
    async with front(short_path, **TRUSTED) as gate:
        response, body = await gate.chat(stream=stream, tool_choice="required", **asked(named(*LAMP)))
        assert response.status == 200
        assert calls(body, stream) == [LAMP]
        assert b'"finish_reason":"tool_calls"' in body.replace(b": ", b":")
        assert stream or response.headers["x-roost-tools"] == "constrained"

        asked_for = sent(gate)
        assert asked_for["tools"] == LISTED
        assert "tool_choice" not in asked_for
        assert asked_for["max_tokens"] == 4096
        alternatives = asked_for["response_format"]["json_schema"]["schema"]["anyOf"]
        assert [one["properties"]["name"]["const"] for one in alternatives] == [
            tool["function"]["name"] for tool in LISTED
        ]


@both
async def test_a_named_tool_is_the_only_one(short_path: Path, stream: bool) -> None:
    async with front(short_path, **TRUSTED) as gate:
        _, body = await gate.chat(stream=stream, tool_choice=NAMED, max_tokens=50, **asked(named(*LAMP), 1000))
        assert calls(body, stream) == [LAMP]
        assert b'"finish_reason":"stop"' in body.replace(b": ", b":")
        asked_for = sent(gate)
        assert asked_for["tools"] == LISTED[:1]
        assert asked_for["max_tokens"] == 50
        assert asked_for["response_format"]["json_schema"]["schema"]["properties"]["name"] == {"const": "set_lamp"}


async def test_several_calls_are_let_through_only_if_they_are_asked_for(short_path: Path) -> None:
    text = js([{"name": name, "arguments": arguments} for name, arguments in (LAMP, DIM)])
    async with front(short_path, **TRUSTED) as gate:
        _, body = await gate.chat(tool_choice="required", parallel_tool_calls=True, **asked(text))
        assert calls(body, False) == [LAMP, DIM]
        assert sent(gate)["response_format"]["json_schema"]["schema"]["type"] == "array"
        await gate.chat(tool_choice="required", parallel_tool_calls=False, **asked(text))
        assert "anyOf" in sent(gate)["response_format"]["json_schema"]["schema"]


@both
@pytest.mark.parametrize("trusted", [True, False], ids=("enforced", "looked at"))
async def test_prose_instead_of_a_call_is_an_error(short_path: Path, stream: bool, trusted: bool) -> None:
    async with front(short_path, **(TRUSTED if trusted else {})) as gate:
        response, body = await gate.chat(stream=stream, tool_choice="required", **asked("I would rather talk."))
        assert b"unusable_answer" in body
        assert b"rather" not in body
        assert response.status == (200 if stream and response.status == 200 else 502)
        assert b"[DONE]" not in body


@both
async def test_a_call_that_was_cut_is_an_error_with_its_reason(short_path: Path, stream: bool) -> None:
    async with front(short_path, **TRUSTED) as gate:
        cut = asked(named(*LAMP)[:20], behave={"finish_reason": "length"})
        _, body = await gate.chat(stream=stream, tool_choice="required", **cut)
        assert b"token limit" in body


@both
async def test_an_engine_that_cannot_be_held_is_looked_at(gate: Front, stream: bool) -> None:
    for text in (hermes([LAMP]), fence([LAMP]), f"I turn it on.\n{hermes([LAMP])}"):
        _, body = await gate.chat(stream=stream, tool_choice="required", **asked(text))
        assert calls(body, stream) == [LAMP]
        assert sent(gate)["tool_choice"] == "required"


@both
async def test_another_tool_than_the_named_one_is_an_error(gate: Front, stream: bool) -> None:
    other = hermes([("get_time", {})])
    _, body = await gate.chat(stream=stream, tool_choice=NAMED, **asked(other))
    assert b"unusable_answer" in body


@both
async def test_another_call_of_the_engine_than_the_named_one_is_an_error(gate: Front, stream: bool) -> None:
    call = {"name": "get_time", "arguments": "{}"}
    _, body = await gate.chat(stream=stream, tools=LISTED, tool_choice=NAMED, x_stand_in={"tool_call": call})
    assert b"unusable_answer" in body
    assert b"get_time" not in body


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"tool_choice": "required"}, "tools"),
        ({"tool_choice": "required", "tools": []}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "fly"}}, "tools": LISTED}, "tool_choice"),
        ({"tool_choice": "sometimes", "tools": LISTED}, "tool_choice"),
        ({"tools": "set_lamp"}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"tools": LISTED, "tool_choice": "required", "response_format": FORMAT}, "response_format"),
    ],
)
async def test_demands_that_make_no_sense_are_refused_before_a_worker_is_asked(
    gate: Front, more: dict[str, Any], field: str
) -> None:
    response, body = await gate.chat(**more)
    assert response.status == 400
    assert json.loads(body)["error"]["param"] == field
    assert not gate.engine.recorder.requests


@both
@pytest.mark.parametrize("trusted", [True, False], ids=("enforced", "looked at"))
@pytest.mark.parametrize("wanted", [FORMAT, {"type": "json_object"}], ids=("schema", "object"))
async def test_a_format_that_is_held_is_relayed_as_it_came(
    short_path: Path, stream: bool, trusted: bool, wanted: dict[str, Any]
) -> None:
    text = '{"city": "Köln"}'
    async with front(short_path, **(TRUSTED if trusted else {})) as gate:
        response, body = await gate.chat(stream=stream, response_format=wanted, **asked(text))
        assert response.status == 200
        if stream:
            said = [chunk["choices"][0]["delta"].get("content") or "" for chunk in events(body)]
            assert "".join(said) == text
            assert body.endswith(b"data: [DONE]\n\n")
        else:
            assert json.loads(body)["choices"][0]["message"]["content"] == text


@both
@pytest.mark.parametrize("trusted", [True, False], ids=("enforced", "looked at"))
@pytest.mark.parametrize("text", ["Sure! The city is Köln.", '{"town": "Köln"}', "```json\n{}\n```", ""])
async def test_a_format_that_is_broken_is_an_error(short_path: Path, stream: bool, trusted: bool, text: str) -> None:
    async with front(short_path, **(TRUSTED if trusted else {})) as gate:
        response, body = await gate.chat(stream=stream, response_format=FORMAT, **asked(text))
        assert b"unusable_answer" in body
        assert b"[DONE]" not in body
        if not stream:
            assert response.status == 502
            assert response.headers["x-should-retry"] == "false"
        if not trusted:
            assert "Köln".encode() not in body
