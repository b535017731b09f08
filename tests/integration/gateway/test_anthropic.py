"""Anthropic's Messages over a real socket, by its official SDK and by hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2 as httpx
import pytest

from roost.catalog.spec import ModelSpec
from roost.config.settings import GatewaySettings, Settings
from roost.engines.types import EngineTraits
from roost.errors import ModelNotResident
from roost.store.keys import Consumer
from roost.testing.engine import Behaviour
from roost.testing.pool import ALL_SURFACES
from tests.integration.gateway.front import MODEL, Front, front, spec
from tests.unit.toolcalls.corpus import LAMP, LISTED, hermes

HI: anthropic.types.MessageParam = {"role": "user", "content": "What is two plus two?"}
TOOLS: list[Any] = [{"name": one["function"]["name"], "input_schema": one["function"]["parameters"]} for one in LISTED]
LEAK = hermes([LAMP])


def sdk(gate: Front, **more: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=gate.url,
        api_key="anything",
        max_retries=0,
        # Reading the certificates of this machine would take longer than the tests.
        http_client=httpx.AsyncClient(verify=False),
        **more,
    )


def behave(gate: Front, **told: Any) -> None:
    gate.engine.state.behave = Behaviour().updated(told)


def sent(gate: Front) -> dict[str, Any]:
    """The body that reached the engine last."""
    body: dict[str, Any] = json.loads(gate.engine.recorder.requests[-1].body)
    return body


async def test_a_message_whole_and_streamed(gate: Front) -> None:
    behave(gate, text="one two")
    async with sdk(gate) as client:
        whole = await client.messages.with_raw_response.create(model="coding", max_tokens=9, messages=[HI])
        message = await whole.parse()
        assert whole.headers["x-roost-model"] == MODEL and whole.headers["request-id"] == whole.headers["x-request-id"]
        async with client.messages.stream(model="coding", max_tokens=9, messages=[HI], system="Be brief.") as stream:
            texts = [text async for text in stream.text_stream]
            streamed = await stream.get_final_message()
    assert (message.model, message.stop_reason) == (MODEL, "end_turn")
    assert [block.text for block in message.content if block.type == "text"] == ["one two"]
    assert "".join(texts) == "one two" and streamed.stop_reason == "end_turn"
    assert streamed.usage.output_tokens == message.usage.output_tokens == 2
    assert streamed.usage.input_tokens > 0
    body = sent(gate)
    assert gate.engine.recorder.requests[-1].path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"]) == ("stand-in", 9)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    row = await gate.row(2)
    assert (row.route, row.requested, row.resolved) == ("/v1/messages", "coding", MODEL)


async def test_leaked_calls_are_tool_uses_whole_and_streamed(gate: Front) -> None:
    pieces = [LEAK[at : at + 3] for at in range(0, len(LEAK), 3)]
    behave(gate, pieces=pieces)
    async with sdk(gate, default_headers={"x-roost-tools": "full"}) as client:
        whole = await client.messages.create(model="default", max_tokens=99, messages=[HI], tools=TOOLS)
        async with client.messages.stream(model="default", max_tokens=99, messages=[HI], tools=TOOLS) as stream:
            streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        assert [(block.name, block.input) for block in message.content if block.type == "tool_use"] == [LAMP]


async def test_a_tool_turn_goes_on_with_its_result(gate: Front) -> None:
    behave(gate, text="done")
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"}
    turns: list[Any] = [HI, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    async with sdk(gate) as client:
        await client.messages.create(model="default", max_tokens=9, messages=turns, tools=TOOLS)
    assert [message["role"] for message in sent(gate)["messages"]] == ["user", "assistant", "tool"]
    assert sent(gate)["messages"][2]["tool_call_id"] == "toolu_1"


async def test_thoughts_are_blocks(short_path: Path) -> None:
    thinker: ModelSpec = spec(MODEL, "chat", "completion", "thinking", chat_template="{{ enable_thinking }}")
    async with front(short_path, model=thinker) as gate, sdk(gate) as client:
        behave(gate, text="four", reasoning="two and two")
        whole = await client.messages.create(
            model="default", max_tokens=99, messages=[HI], thinking={"type": "enabled", "budget_tokens": 1024}
        )
        async with client.messages.stream(model="default", max_tokens=99, messages=[HI]) as stream:
            streamed = await stream.get_final_message()
        for message in (whole, streamed):
            assert [block.type for block in message.content] == ["thinking", "text"]
            assert message.content[0].type == "thinking" and message.content[0].thinking.strip() == "two and two"
        await client.messages.create(model="default", max_tokens=99, messages=[HI], thinking={"type": "disabled"})
        assert sent(gate)["chat_template_kwargs"] == {"enable_thinking": False}


async def test_what_a_coding_agent_sends_is_taken(gate: Front) -> None:
    """Query strings, betas, fields and tools that nobody here knows, a system text among the messages."""
    behave(gate, text="ok")
    body = {
        "model": "default",
        "max_tokens": 32000,
        "stream": True,
        "system": [{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "The date is known."},
        ],
        "tools": [*TOOLS, {"type": "web_search_20250305", "name": "web_search"}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "u"},
    }
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-2025-01-01,b-2030-01-01"}
    async with gate.session.post(f"{gate.url}/v1/messages?beta=true", json=body, headers=headers) as response:
        text = (await response.read()).decode()
    assert response.status == 200 and response.headers["x-roost-ignored"] == "web_search"
    assert text.startswith("event: message_start\n") and text.endswith('{"type":"message_stop"}\n\n')
    assert [one["function"]["name"] for one in sent(gate)["tools"]] == [one["name"] for one in TOOLS]
    assert sent(gate)["messages"][-1]["content"] == "hi\n\nThe date is known."


async def test_errors_are_told_in_their_shape(gate: Front) -> None:
    async with sdk(gate) as client:
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.messages.create(model="nobody/has", max_tokens=9, messages=[HI])
        body: Any = missing.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
        assert body["request_id"] == missing.value.request_id
        gate.worker.refusal = ModelNotResident("rotation is never", should_retry=False)
        with pytest.raises(anthropic.InternalServerError) as away:
            await client.messages.create(model="default", max_tokens=9, messages=[HI])
        assert away.value.status_code == 503 and away.value.response.headers["x-should-retry"] == "false"
        gate.keys.owners["k"] = Consumer("id", "someone")
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="default", max_tokens=9, messages=[HI])
        keyed = client.with_options(api_key="k")
        gate.worker.refusal = None
        assert (await keyed.messages.create(model="default", max_tokens=9, messages=[HI])).type == "message"
    async with gate.session.get(f"{gate.url}/v1/messages") as response:
        assert (response.status, (await response.json())["type"]) == (405, "error")


async def test_a_prompt_over_the_window_is_told_as_clients_know_it(short_path: Path) -> None:
    async def count(route: str, body: bytes) -> int:
        return 18_240

    traits = EngineTraits(cancels_non_stream=True, context_check="count", surfaces=ALL_SURFACES)
    worker = {"traits": traits, "context_length": 512, "count_prompt_tokens": count}
    async with front(short_path, worker=worker) as gate, sdk(gate) as client:
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: .*18,240 tokens .* window of 512"):
            await client.messages.create(model="default", max_tokens=9, messages=[HI])
        counted = await client.messages.count_tokens(model="default", messages=[HI])
        assert counted.input_tokens == 18_240
    assert not gate.engine.recorder.requests


async def test_an_engine_that_cannot_count_says_so(gate: Front) -> None:
    async with sdk(gate) as client:
        with pytest.raises(anthropic.BadRequestError, match="cannot count tokens: the engine of"):
            await client.messages.count_tokens(model="default", messages=[HI])


async def test_a_stream_that_breaks_ends_in_an_error_event(gate: Front) -> None:
    behave(gate, text="one two three", abort_after_tokens=2)
    async with sdk(gate) as client:
        with pytest.raises(anthropic.APIStatusError) as broken:
            async with client.messages.stream(model="default", max_tokens=9, messages=[HI]) as stream:
                async for _ in stream.text_stream:
                    pass
    body: Any = broken.value.body
    assert body["error"]["type"] == "api_error"


async def test_silence_is_filled_with_pings(short_path: Path) -> None:
    settings = Settings(gateway=GatewaySettings(heartbeat_s=0.05))
    async with front(short_path, settings=settings) as gate:
        gate.worker.loaded.clear()
        body = {"model": "default", "max_tokens": 9, "stream": True, "messages": [HI]}
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(gate.session.post(f"{gate.url}/v1/messages", json=body).__aenter__())
            response = await answer
            first = await response.content.readuntil(b"\n\n")
            assert first.startswith(b": roost ") and first.endswith(b'\nevent: ping\ndata: {"type":"ping"}\n\n')
            gate.worker.loaded.set()
            rest = await response.read()
        assert b"event: message_stop" in rest


async def test_the_sdk_lists_models(gate: Front) -> None:
    async with sdk(gate) as client:
        listed = [model async for model in client.models.list()]
        assert {MODEL, "default", "coding"} <= {model.id for model in listed}
        assert all(model.type == "model" and model.display_name for model in listed)
        assert (await client.models.retrieve(MODEL)).id == MODEL
