"""Calls that the engine left in its text reach the client as calls, whole or streamed; everything else as it came."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from roost.config.settings import Settings
from roost.engines.types import EngineTraits
from roost.testing.pool import ALL_SURFACES
from tests.integration.gateway.front import MODEL, Front, front, spec
from tests.unit.toolcalls.corpus import DIM, LAMP, LISTED, MARKED, SHAPED, TIME, WRITERS, fence, hermes, js, qwen_coder

Write = Callable[[list[Any]], str]
LEAK = hermes([LAMP])


def asked(text: str, size: int = 3, **more: Any) -> dict[str, Any]:
    """A request with tools whose answer is this text, in pieces of this length."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return {"tools": LISTED, "x_stand_in": {"pieces": pieces, **more.pop("behave", {})}, **more}


def full(front: Front) -> openai.AsyncOpenAI:
    """The official SDK, which asks for everything to be looked for."""
    return openai.AsyncOpenAI(
        base_url=f"{front.url}/v1",
        api_key="x",
        max_retries=0,
        default_headers={"x-roost-tools": "full"},
        # Reading the certificates of this machine would take longer than the tests.
        http_client=openai.DefaultAsyncHttpxClient(verify=False),
    )


async def whole(front: Front, text: str, **more: Any) -> Any:
    """The answer by the official SDK, and its headers."""
    body = asked(text, **more)
    stand_in = body.pop("x_stand_in")
    async with full(front) as client:
        return await client.chat.completions.with_raw_response.create(
            model="default", messages=[{"role": "user", "content": "go"}], extra_body={"x_stand_in": stand_in}, **body
        )


async def streamed(front: Front, text: str, **more: Any) -> Any:
    """The same as a stream, put together by the SDK."""
    body = asked(text, **more)
    stand_in = body.pop("x_stand_in")
    async with (
        full(front) as client,
        client.chat.completions.stream(
            model="default", messages=[{"role": "user", "content": "go"}], extra_body={"x_stand_in": stand_in}, **body
        ) as stream,
    ):
        try:
            return await stream.get_final_completion()
        except openai.LengthFinishReasonError as cut:
            return cut.completion


def calls_in(choice: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


async def test_every_family_is_served_as_calls_whole_and_streamed(gate: Front) -> None:
    for write in WRITERS:
        calls = [DIM, TIME] if write is not qwen_coder else [DIM, LAMP]
        one = (await whole(gate, write(calls), size=1000)).parse().choices[0]
        other = (await streamed(gate, write(calls), size=9)).choices[0]

        for choice in (one, other):
            assert calls_in(choice) == calls, write.__name__
            assert choice.finish_reason == "tool_calls"
            assert not choice.message.content
            assert len({call.id for call in choice.message.tool_calls or ()}) == 2 or write in (*MARKED, *SHAPED)


async def test_the_header_and_the_log_say_what_was_done(gate: Front) -> None:
    response = await whole(gate, fence([LAMP]))
    assert response.headers["x-roost-tools"] == "repaired;tier=T2;steps=fence"

    response = await whole(gate, "The lamp is on.")
    assert response.headers["x-roost-tools"] == "passthrough"

    response = await whole(gate, hermes([("open_door", {})]))
    assert response.headers["x-roost-tools"] == "unrepaired;reason=unknown_tool"
    assert response.parse().choices[0].message.content == hermes([("open_door", {})])

    async with gate.session.get(f"{gate.url}/metrics") as metrics:
        text = await metrics.text()
    assert f'roost_tool_answers_total{{model="{MODEL}",outcome="repaired",reason="",tier="T2"}} 1.0' in text
    assert f'roost_tool_answers_total{{model="{MODEL}",outcome="unrepaired",reason="unknown_tool",tier=""}} 1.0' in text


async def test_the_last_chunk_says_it_to_who_asks(gate: Front) -> None:
    headers = {"x-roost-tools": "full;label"}
    async with gate.session.post(
        f"{gate.url}/v1/chat/completions",
        json={"model": "default", "messages": [], "stream": True, **asked(LEAK)},
        headers=headers,
    ) as response:
        body = await response.read()
    assert b'"roost":{"tools":"repaired;tier=T1;steps=marker"}' in body


async def test_text_before_a_call_stays_and_comes_first(gate: Front) -> None:
    text = f"I turn it on.\n\n{LEAK}"
    for choice in ((await whole(gate, text)).parse().choices[0], (await streamed(gate, text)).choices[0]):
        assert choice.message.content == "I turn it on."
        assert calls_in(choice) == [LAMP]


PLAIN = [
    "The lamp is on already, nothing to do.",
    "Use `<tool_call>` like this:\n```\n" + LEAK + "\n```\nThat is all.",
    '{"city": "Köln"}',
    "1 < 2 and [3] > {4}\n\n\n",
    "",
    "   \n ",
    "<tool_call>",
    LEAK[:30],
    "```python\nprint(1)\n```",
    "Ünï 🦇 <",
]


@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_plain_text_is_relayed_byte_for_byte(gate: Front, size: int) -> None:
    """As without tools: every event, every byte."""
    for text, stream in itertools.product(PLAIN, (True, False)):
        body = {"stream": stream, **asked(text, size)}
        _, without = await gate.chat(**{**body, "tools": None, "pad": LISTED})
        response, with_tools = await gate.chat(**body)
        assert response.status == 200
        assert ids_aside(with_tools) == ids_aside(without)


def ids_aside(body: bytes) -> bytes:
    """The stand-in's ids are digests of the request."""
    text = body.decode()
    first = text.find("chatcmpl-")
    return text.replace(text[first : text.index('"', first)], "id").encode() if first >= 0 else body


@pytest.mark.parametrize(
    "more",
    [
        {"tools": None},
        {"tools": []},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"headers": {"x-roost-tools": "off"}},
    ],
    ids=("no tools", "an empty list", "none wanted", "JSON asked for", "switched off"),
)
async def test_the_layer_is_off(gate: Front, more: dict[str, Any]) -> None:
    text = js({"name": "set_lamp", "arguments": {"room": "hall"}})
    headers = {"x-roost-tools": "full", **more.pop("headers", {})}
    body = {"model": "default", "messages": [], **asked(text), **more}
    async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body, headers=headers) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == text
    assert "x-roost-tools" not in response.headers


async def test_the_setting_of_a_model_counts_until_a_request_says_otherwise(short_path: Path) -> None:
    for setting, recovered in (("auto", False), ("marker", False), ("full", True), ("off", False)):
        settings = Settings.model_validate({"models": {MODEL: {"engine": {"tools": setting}}}})
        async with front(short_path, settings=settings) as gate:
            _, body = await gate.chat(**asked(fence([LAMP])))
            assert bool(json.loads(body)["choices"][0]["message"].get("tool_calls")) is recovered
            assert calls_in((await whole(gate, fence([LAMP]))).parse().choices[0]) == [LAMP]
        (short_path / "c.sock").unlink(missing_ok=True)


async def test_only_the_marks_of_the_models_own_template_count(short_path: Path) -> None:
    model = spec(MODEL, chat_template="{% if tools %}[TOOL_CALLS]{% endif %}")
    async with front(short_path, model=model) as gate:
        _, body = await gate.chat(**asked(LEAK))
        assert json.loads(body)["choices"][0]["message"]["content"] == LEAK


async def test_a_mode_that_is_none_is_refused(gate: Front) -> None:
    async with gate.session.post(
        f"{gate.url}/v1/chat/completions",
        json={"model": "default", "messages": [], "tools": LISTED},
        headers={"x-roost-tools": "all"},
    ) as response:
        assert response.status == 400
        assert "off, marker, full" in await response.text()


async def test_the_first_delta_of_a_call_carries_its_name(gate: Front) -> None:
    body = {"model": "default", "messages": [], "stream": True, **asked(LEAK)}
    async with gate.session.post(
        f"{gate.url}/v1/chat/completions", json=body, headers={"x-roost-tools": "full"}
    ) as response:
        chunks = events(await response.read())
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"][0]["delta"].get("tool_calls")]
    first = deltas[0]["tool_calls"][0]
    assert (first["index"], first["type"], first["function"]) == (0, "function", {"name": "set_lamp", "arguments": ""})
    assert first["id"].startswith("call_")
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "tool_calls"
    assert all(chunk["model"] == MODEL for chunk in chunks)


def events(body: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


async def test_a_call_that_is_held_back_is_waited_for_with_heartbeats(short_path: Path) -> None:
    settings = Settings.model_validate({"gateway": {"heartbeat_s": 0.05}})
    async with front(short_path, settings=settings) as gate:
        _, body = await gate.chat(stream=True, **asked(LEAK, 12, behave={"token_delay_s": 0.06}))
    before, _, _ = body.partition(b"tool_calls")
    assert before.count(b": roost") >= 2
    assert b"<tool_call" not in body


async def test_a_cut_call_is_relayed_with_its_reason(gate: Front) -> None:
    text = LEAK[:40]
    for choice in (
        (await whole(gate, text, behave={"finish_reason": "length"})).parse().choices[0],
        (await streamed(gate, text, behave={"finish_reason": "length"})).choices[0],
    ):
        assert choice.message.content == text
        assert choice.finish_reason == "length"


async def test_complete_calls_before_a_cut_are_made_and_length_stays(gate: Front) -> None:
    text = hermes([LAMP, DIM])[:-40]
    for choice in (
        (await whole(gate, text, behave={"finish_reason": "length"})).parse().choices[0],
        (await streamed(gate, text, behave={"finish_reason": "length"})).choices[0],
    ):
        assert calls_in(choice) == [LAMP]
        assert choice.finish_reason == "length"


async def test_one_call_at_a_time_if_the_request_says_so(gate: Front) -> None:
    text = hermes([LAMP, DIM])
    for choice in (
        (await whole(gate, text, parallel_tool_calls=False)).parse().choices[0],
        (await streamed(gate, text, parallel_tool_calls=False)).choices[0],
    ):
        assert calls_in(choice) == [LAMP]


async def test_a_call_in_a_thought_that_never_ends_is_made(gate: Front) -> None:
    thought = f"I should turn it on.\n{LEAK}"
    body = {"tools": LISTED, "behave": {"reasoning": thought}}
    for choice in ((await whole(gate, "", **body)).parse().choices[0], (await streamed(gate, "", **body)).choices[0]):
        assert calls_in(choice) == [LAMP]
        assert choice.finish_reason == "tool_calls"


async def test_a_draft_in_a_thought_is_not_made(gate: Front) -> None:
    body = {"behave": {"reasoning": f"Perhaps\n{LEAK}"}}
    for choice in (
        (await whole(gate, "It is on.", **body)).parse().choices[0],
        (await streamed(gate, "It is on.", **body)).choices[0],
    ):
        assert calls_in(choice) == []
        assert choice.message.content == "It is on."
        assert choice.message.reasoning_content == f"Perhaps\n{LEAK}"


async def test_calls_of_the_engine_pass_as_they_came(gate: Front) -> None:
    call = {"name": "set_lamp", "arguments": '{"room": "hall"}'}
    for stream in (True, False):
        body: dict[str, Any] = {"stream": stream, "x_stand_in": {"tool_call": call, "tokens": 4}}
        _, without = await gate.chat(**body, pad=LISTED)
        _, with_tools = await gate.chat(**body, tools=LISTED)
        assert ids_aside(with_tools) == ids_aside(without)


def sse(*deltas: dict[str, Any], finish: str = "tool_calls") -> str:
    chunks = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
               "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]  # fmt: skip
    last = {**chunks[0], "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (*chunks, last)) + "data: [DONE]\n\n"


def piece(arguments: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **more, "function": {"arguments": arguments, **more.pop("function", {})}}]}


async def test_what_engines_get_wrong_in_their_own_calls_is_mended(gate: Front) -> None:
    nameless = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": ""}}]}
    late = {"tool_calls": [{"index": 0, "id": "", "function": {"name": "functions.set_lamp", "arguments": ""}}]}
    quoted = json.dumps('{"room": "hall"}')
    raw = sse({"role": "assistant"}, nameless, late, piece(quoted[:4]), piece(quoted[4:]), finish="stop")
    _, body = await gate.chat(stream=True, tools=LISTED, x_stand_in={"raw": raw, "content_type": "text/event-stream"})
    chunks = events(body)
    told = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert told[0]["function"]["name"] == "set_lamp"
    assert told[0]["id"] == "call_1"
    assert not any("name" in call["function"] for call in told[1:])
    assert json.loads("".join(call["function"].get("arguments", "") for call in told)) == {"room": "hall"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_what_waits_when_the_engine_dies_goes_out_before_the_error(gate: Front) -> None:
    text = f"Wait.\n{LEAK}"
    response, body = await gate.chat(stream=True, **asked(text, 5, behave={"abort_after_tokens": 6}))
    assert response.status == 200
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in events(body) if "choices" in chunk)
    assert said == text[:30]
    assert b"upstream_disconnected" in body
    assert b"[DONE]" not in body


async def test_usage_comes_behind_the_calls(gate: Front) -> None:
    _, body = await gate.chat(stream=True, stream_options={"include_usage": True}, **asked(LEAK))
    chunks = events(body)
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_engine_that_is_streamed_and_assembled_leaks_no_call(short_path: Path) -> None:
    traits = EngineTraits(cancels_non_stream=False, context_check="none", surfaces=ALL_SURFACES)
    async with front(short_path, worker={"traits": traits}) as gate:
        assert calls_in((await whole(gate, LEAK)).parse().choices[0]) == [LAMP]


@pytest.mark.parametrize("stream", [True, False])
async def test_ollamas_clients_get_calls_too(gate: Front, stream: bool) -> None:
    gate.engine.state.behave = gate.engine.state.behave.updated({"pieces": ("<tool_", LEAK[6:])})
    body = {"model": MODEL, "messages": [{"role": "user", "content": "go"}], "tools": LISTED, "stream": stream}
    async with gate.session.post(f"{gate.url}/api/chat", json=body) as response:
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [call["function"]["arguments"] for call in calls] == [{"room": "hall"}]
    assert "tool_call>" not in "".join(line["message"]["content"] for line in lines)


async def test_a_long_answer_is_looked_at_too(gate: Front) -> None:
    text = "x" * 2**21 + f".\n{LEAK}"
    choice = (await whole(gate, text, size=2**20)).parse().choices[0]
    assert calls_in(choice) == [LAMP]


async def test_lots_of_choices_are_looked_at_each(gate: Front) -> None:
    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    pieces = [
        chunk(0, {"content": "It is"}), chunk(1, {"content": LEAK[:9]}), chunk(0, {"content": " on."}),
        chunk(1, {"content": LEAK[9:]}), chunk(0, {}, "stop"), chunk(1, {}, "stop"),
    ]  # fmt: skip
    raw = "".join(f"data: {json.dumps(one)}\n\n" for one in pieces) + "data: [DONE]\n\n"
    _, body = await gate.chat(
        stream=True, n=2, tools=LISTED, x_stand_in={"raw": raw, "content_type": "text/event-stream"}
    )
    by_choice: dict[int, list[Any]] = {0: [], 1: []}
    for event in events(body):
        by_choice[event["choices"][0]["index"]].append(event["choices"][0])
    assert "".join(one["delta"].get("content") or "" for one in by_choice[0]) == "It is on."
    assert by_choice[0][-1]["finish_reason"] == "stop"
    assert by_choice[1][-1]["finish_reason"] == "tool_calls"
