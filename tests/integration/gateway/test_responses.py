"""OpenAI's Responses over a real socket, by its official SDK and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from roost.catalog.spec import ModelSpec
from roost.config.settings import GatewaySettings, Settings
from roost.testing.engine import Behaviour
from tests.integration.gateway.front import MODEL, Front, front, spec
from tests.unit.toolcalls.corpus import LAMP, LISTED, hermes

TOOLS: list[Any] = [{"type": "function", **one["function"]} for one in LISTED]
LEAK = hermes([LAMP])


def sdk(gate: Front, **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{gate.url}/v1",
        api_key="x",
        max_retries=0,
        # Reading the certificates of this machine would take longer than the tests.
        http_client=openai.DefaultAsyncHttpxClient(verify=False),
        **more,
    )


def behave(gate: Front, **told: Any) -> None:
    gate.engine.state.behave = Behaviour().updated(told)


def sent(gate: Front) -> dict[str, Any]:
    """The body that reached the engine last."""
    body: dict[str, Any] = json.loads(gate.engine.recorder.requests[-1].body)
    return body


async def events(gate: Front, **body: Any) -> list[dict[str, Any]]:
    """A stream as a client reads it."""
    asked = {"model": "default", "input": "hi", "stream": True, **body}
    async with gate.session.post(f"{gate.url}/v1/responses", json=asked) as response:
        text = (await response.read()).decode()
    found = []
    for one in text.strip().split("\n\n"):
        lines = [line for line in one.split("\n") if not line.startswith(":")]
        found.append(json.loads(lines[1].removeprefix("data: ")))
        assert lines[0] == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


async def test_a_response_whole_and_streamed(gate: Front) -> None:
    behave(gate, text="one two")
    async with sdk(gate) as client:
        whole = await client.responses.create(model="coding", input="hi", instructions="Be brief.", max_output_tokens=9)
        async with client.responses.stream(model="coding", input="hi") as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_response()
    for response in (whole, streamed):
        assert (response.model, response.status, response.output_text) == (MODEL, "completed", "one two")
        assert response.usage is not None and response.usage.output_tokens == 2 and response.usage.input_tokens > 0
    assert whole.instructions == "Be brief." and whole.max_output_tokens == 9
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert sent(gate)["messages"] == [{"role": "user", "content": "hi"}]
    row = await gate.row(2)
    assert (row.route, row.requested, row.resolved) == ("/v1/responses", "coding", MODEL)


async def test_leaked_calls_are_function_calls_whole_and_streamed(gate: Front) -> None:
    behave(gate, pieces=[LEAK[at : at + 3] for at in range(0, len(LEAK), 3)])
    async with sdk(gate, default_headers={"x-roost-tools": "full"}) as client:
        whole = await client.responses.create(model="default", input="go", tools=TOOLS)
        async with client.responses.stream(model="default", input="go", tools=TOOLS) as stream:
            streamed: Any = await stream.get_final_response()
    for response in (whole, streamed):
        assert response.status == "completed"
        calls = [item for item in response.output if item.type == "function_call"]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [LAMP]
        assert all(call.call_id and call.id != call.call_id for call in calls)


async def test_a_turn_goes_on_with_the_output_of_the_last(gate: Front) -> None:
    behave(gate, text="a", tool_call={"name": "weather", "arguments": '{"city": "Bonn"}'})
    async with sdk(gate) as client:
        first = await client.responses.create(model="default", input="go", tools=TOOLS)
        call = next(item for item in first.output if item.type == "function_call")
        history: list[Any] = [{"role": "user", "content": "go"}, *first.output]
        history.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
        await client.responses.create(model="default", input=history, tools=TOOLS)
    assert [message["role"] for message in sent(gate)["messages"]] == ["user", "assistant", "tool"]
    assert sent(gate)["messages"][1]["tool_calls"][0]["id"] == sent(gate)["messages"][2]["tool_call_id"]


async def test_thoughts_are_items(short_path: Path) -> None:
    thinker: ModelSpec = spec(MODEL, "chat", "completion", "thinking", chat_template="{{ enable_thinking }}")
    async with front(short_path, model=thinker) as gate, sdk(gate) as client:
        behave(gate, text="four", reasoning="two and two")
        whole = await client.responses.create(model="default", input="hi", reasoning={"effort": "low"})
        async with client.responses.stream(model="default", input="hi") as stream:
            streamed: Any = await stream.get_final_response()
        for response in (whole, streamed):
            assert [item.type for item in response.output] == ["reasoning", "message"]
            assert response.output[0].content[0].text.strip() == "two and two"
            assert response.output_text == "four"


async def test_an_answer_that_was_cut_is_incomplete(gate: Front) -> None:
    behave(gate, text="one two three")
    async with sdk(gate) as client:
        whole = await client.responses.create(model="default", input="hi", max_output_tokens=2)
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None and whole.incomplete_details.reason == "max_output_tokens"
    assert (await events(gate, max_output_tokens=2))[-1]["type"] == "response.incomplete"


async def test_a_structured_answer_is_parsed_by_the_sdk(gate: Front) -> None:
    behave(gate, text='{"n":4}')
    given = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    async with sdk(gate) as client:
        answer = await client.responses.create(model="default", input="hi", text={"format": given})  # type: ignore[arg-type]
    assert json.loads(answer.output_text) == {"n": 4}
    assert sent(gate)["response_format"]["json_schema"]["schema"] == {"type": "object"}


async def test_errors_are_told_in_openais_shape(gate: Front) -> None:
    async with sdk(gate) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.responses.create(model="nobody/has", input="hi")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError, match="no response is stored here"):
            await client.responses.create(model="default", input="hi", previous_response_id="resp_1")


async def test_a_stream_that_breaks_ends_in_an_error_and_the_failed_response(gate: Front) -> None:
    behave(gate, text="one two three", abort_after_tokens=2)
    told = await events(gate)
    assert [event["type"] for event in told[-2:]] == ["error", "response.failed"]
    assert told[-1]["response"]["status"] == "failed" and told[-1]["response"]["error"]["code"] == told[-2]["code"]


async def test_silence_is_filled_with_events(short_path: Path) -> None:
    """Clients that wait for events hear no comments; the first of them begins the response."""
    settings = Settings(gateway=GatewaySettings(heartbeat_s=0.05))
    async with front(short_path, settings=settings) as gate:
        behave(gate, text="one", delay_s=0.3)
        kinds = [event["type"] for event in await events(gate)]
        assert kinds[:3] == ["response.created", "response.in_progress", "response.in_progress"]
        assert kinds.count("response.created") == 1 and kinds[-1] == "response.completed"


async def test_what_a_coding_agent_sends_is_taken(gate: Front) -> None:
    behave(gate, text="ok")
    body = {
        "model": "default",
        "instructions": "You help.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        ],
        "tools": [*TOOLS, {"type": "namespace", "name": "files", "tools": []}, {"type": "web_search"}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "client_metadata": {"a": "b"},
    }
    async with gate.session.post(f"{gate.url}/v1/responses", json=body) as response:
        text = (await response.read()).decode()
    assert response.status == 200 and response.headers["x-roost-ignored"] == "files, web_search"
    assert '"type":"response.completed"' in text
    assert sent(gate)["messages"] == [
        {"role": "system", "content": "You help.\n\nRules."},
        {"role": "user", "content": "hi"},
    ]
