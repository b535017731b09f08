"""How streams begin, breathe and end."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from roost.engines.types import EngineTraits
from roost.errors import InsufficientMemory
from roost.testing.engine import Behaviour, EngineOptions, serve
from roost.testing.pool import ALL_SURFACES
from roost.testing.wait import until
from tests.integration.gateway.front import MODEL, Front, chat_body, front, gateway_settings


def last_event(body: bytes) -> Any:
    """The data of the last event."""
    return json.loads(body.rstrip().rpartition(b"data: ")[2])


async def test_a_stream_ends_with_a_finish_reason_and_done(gate: Front) -> None:
    response, body = await gate.chat(stream=True)
    assert response.status == 200
    assert body.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason": "stop"' in body


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ({"tokens": 4, "abort_after_tokens": 2}, "upstream_disconnected"),
        ({"tokens": 4, "eof_without_done": True}, "upstream_disconnected"),
        ({"tokens": 4, "no_finish": True}, "upstream_disconnected"),
        ({"tokens": 4, "error_frame_after": 2}, "internal_error"),
        ({"raw": 'data: {"choices":[]}\n\ndata: nonsense\n\n'}, "upstream_disconnected"),
        ({"raw": 'data: {"choices":[]}\n\ndata: [1]\n\n'}, "upstream_disconnected"),
        (
            {"raw": 'data: {}\n\ndata: {"choices":[],"model":"a","model":"b"}\n\ndata: [DONE]\n\n'},
            "upstream_disconnected",
        ),
        ({"raw": 'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'}, "upstream_disconnected"),
        (
            {"raw": 'data: {"choices":[{"index":0,"finish_reason":"stop"},{"index":1}]}\n\ndata: [DONE]\n\n'},
            "upstream_disconnected",
        ),
    ],
)
async def test_a_broken_stream_ends_in_an_error_frame_without_done(
    gate: Front, behaviour: dict[str, Any], code: str
) -> None:
    raw = {"content_type": "text/event-stream"} if "raw" in behaviour else {}
    response, body = await gate.chat(stream=True, x_stand_in=behaviour | raw)
    assert response.status == 200
    assert b"[DONE]" not in body
    assert last_event(body)["error"]["code"] == code
    row = await gate.row()
    assert row.code == code
    assert gate.worker.running == 0


async def test_the_text_before_a_break_is_kept(gate: Front) -> None:
    _, body = await gate.chat(stream=True, x_stand_in={"tokens": 6, "abort_after_tokens": 3})
    assert body.count(b'"content": "') == 3


async def test_the_sdk_raises_for_a_broken_stream(gate: Front) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gate.url}/v1", api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="default",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_body={"x_stand_in": {"tokens": 3, "eof_without_done": True}},
        )
        with pytest.raises(openai.APIError) as raised:
            async for _ in stream:
                pass
        assert raised.value.code == "upstream_disconnected"


async def test_an_error_before_the_first_token_is_a_real_status(gate: Front) -> None:
    response, body = await gate.chat(stream=True, x_stand_in={"error_frame_after": 0})
    assert response.status == 500
    assert json.loads(body)["error"]["code"] == "internal_error"


async def test_a_load_is_covered_by_heartbeats(short_path: Path) -> None:
    worker = {"state": "loading"}
    async with front(short_path, settings=gateway_settings(heartbeat_s=0.02), worker=worker) as gate:
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=chat_body(stream=True)) as response:
            assert response.status == 200
            assert await response.content.readuntil(b"\n\n") == b": roost loading 50%\n\n"
            assert await response.content.readuntil(b"\n\n") == b": roost loading 50%\n\n"
            gate.worker.loaded.set()
            rest = await response.read()
        assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_queue_is_covered_by_heartbeats_that_tell_the_place(short_path: Path) -> None:
    settings, worker = gateway_settings(heartbeat_s=0.02), {"concurrency": 1}
    async with front(short_path, settings=settings, worker=worker) as gate:
        held = chat_body(stream=True, x_stand_in={"tokens": 3, "hold_after_tokens": 1})
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=held) as first:
            await first.content.readuntil(b"\n\n")
            async with gate.session.post(f"{gate.url}/v1/chat/completions", json=chat_body(stream=True)) as second:
                assert await second.content.readuntil(b"\n\n") == b": roost queued position=1\n\n"
                gate.engine.state.released.set()
                assert (await second.read()).endswith(b"data: [DONE]\n\n")


async def test_prefill_is_covered_by_heartbeats(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(heartbeat_s=0.02)) as gate:
        body = chat_body(stream=True, x_stand_in={"tokens": 2, "hold_after_tokens": 0})
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as response:
            assert await response.content.readuntil(b"\n\n") == b": roost ready\n\n"
            gate.engine.state.released.set()
            assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_a_failure_after_a_heartbeat_is_an_error_frame(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(heartbeat_s=0.02)) as gate:
        body = chat_body(stream=True, x_stand_in={"status": 400, "body": '{"error":{"message":"no","code":400}}'})
        gate.worker.loaded.clear()
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as response:
            await response.content.readuntil(b"\n\n")
            gate.worker.loaded.set()
            rest = await response.read()
        assert response.status == 200
        assert last_event(rest)["error"]["code"] == "invalid_request"
        assert (await gate.row()).status == 400


async def test_a_worker_that_dies_before_its_first_byte_is_tried_once_more(short_path: Path) -> None:
    async with serve(EngineOptions()) as fresh:
        for stream in (True, False):
            async with front(short_path, worker={"second_url": fresh.url}) as gate:
                response, body = await gate.chat(stream=stream, x_stand_in={"abort_after_tokens": 0, "tokens": 1})
                # The second server is told to abort as well: the retry is the only one.
                assert response.status == 502
                assert json.loads(body)["error"]["code"] == "upstream_crashed"
                assert response.headers["Retry-After"] == "1"
                assert len(gate.pool.tickets[0].failures) == 1
            (short_path / "c.sock").unlink(missing_ok=True)
        assert len(fresh.recorder.requests) == 2


async def test_a_lost_worker_is_502_and_says_why(gate: Front) -> None:
    gate.worker.why_lost = "killed by signal 9"
    response, body = await gate.chat(x_stand_in={"abort_after_tokens": 0})
    error = json.loads(body)["error"]
    assert (response.status, error["code"]) == (502, "upstream_crashed")
    assert "killed by signal 9" in error["message"]
    assert (await gate.row()).cause == "killed by signal 9"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stalled_worker_is_504_and_not_tried_again(gate: Front, stream: bool) -> None:
    gate.worker.why_lost = "stalled: no token for 30 s"
    gate.worker.second_url = gate.engine.url
    response, body = await gate.chat(stream=stream, x_stand_in={"abort_after_tokens": 0})
    assert response.status == 504
    assert json.loads(body)["error"]["code"] == "upstream_stalled"
    assert gate.pool.tickets[0].failures == []


async def test_a_stall_in_a_stream_is_named_in_its_frame(gate: Front) -> None:
    gate.worker.why_lost = "stalled"
    _, body = await gate.chat(stream=True, x_stand_in={"tokens": 3, "abort_after_tokens": 2})
    assert last_event(body)["error"]["code"] == "upstream_stalled"


@pytest.mark.parametrize("stream", [True, False])
async def test_comments_without_an_end_are_no_progress_and_end_as_a_stall(short_path: Path, stream: bool) -> None:
    traits = EngineTraits(cancels_non_stream=stream, context_check="none", surfaces=ALL_SURFACES)
    async with front(short_path, worker={"traits": traits, "overdue": True}) as gate:
        response, body = await gate.chat(stream=stream, x_stand_in={"chatter": True})
        assert response.status == (200 if stream else 504)
        assert last_event(body if stream else b"data: " + body)["error"]["code"] == "upstream_stalled"
        assert gate.pool.tickets[0].beats == 0
        await until(lambda: gate.engine.recorder.requests[0].disconnected_at is not None)


async def test_a_request_that_is_cancelled_for_memory_ends_with_its_reason(short_path: Path) -> None:
    short = InsufficientMemory("a was stopped in mid-answer: memory is short", should_retry=True, retry_after_s=30)
    async with front(short_path, worker={"revoked": short}) as gate:
        _, body = await gate.chat(stream=True, x_stand_in={"tokens": 10_000, "token_delay_s": 0.01})
        error = last_event(body)["error"]
        assert (error["code"], error["message"]) == ("insufficient_memory", short.message)
        await until(lambda: gate.engine.recorder.requests[0].disconnected_at is not None)
        body_of_relay = chat_body(stream=True, x_stand_in={"tokens": 10_000, "token_delay_s": 0.01})
        url = f"{gate.url}/upstream/{MODEL}/v1/chat/completions"
        async with asyncio.timeout(10), gate.session.post(url, json=body_of_relay) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (503, "insufficient_memory")
        await until(lambda: gate.engine.recorder.requests[1].disconnected_at is not None)


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_one_that_waits_for_its_first_byte_is_cancelled_for_memory_at_once(
    short_path: Path, stream: bool, cancels: bool
) -> None:
    traits = EngineTraits(cancels_non_stream=cancels, context_check="none", surfaces=ALL_SURFACES)
    short = InsufficientMemory("a was stopped in mid-answer: memory is short", should_retry=True, retry_after_s=30)
    async with front(short_path, worker={"traits": traits}) as gate, asyncio.TaskGroup() as group:
        asked = group.create_task(gate.chat(stream=stream, x_stand_in={"delay_s": 60.0}))
        await until(lambda: bool(gate.engine.recorder.requests))
        told = gate.pool.workers[MODEL].on_revoked
        assert told is not None
        told(short)
        response, body = await asyncio.wait_for(asked, 10)
        error = json.loads(body)["error"]
        assert (response.status, error["code"], error["message"]) == (503, "insufficient_memory", short.message)
        await until(lambda: gate.engine.recorder.requests[0].disconnected_at is not None)
        assert gate.pool.workers[MODEL].on_revoked is None and not gate.pool.tickets[0].failures


async def test_a_relayed_stream_of_comments_is_no_progress_either(short_path: Path) -> None:
    async with front(short_path, worker={"overdue": True}) as gate:
        body = chat_body(stream=True, x_stand_in={"chatter": True})
        url = f"{gate.url}/upstream/{MODEL}/v1/chat/completions"
        async with asyncio.timeout(10), gate.session.post(url, json=body) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (504, "upstream_stalled")
        assert gate.pool.tickets[0].beats == 0


async def test_comments_before_the_first_token_end_nothing_while_they_may_come(gate: Front) -> None:
    _, body = await gate.chat(stream=True, x_stand_in={"comments": 50, "split_bytes": 5})
    assert body.endswith(b"data: [DONE]\n\n")


async def test_each_chunk_is_a_beat_of_the_wedge_watch(gate: Front) -> None:
    await gate.chat(stream=True, x_stand_in={"tokens": 5})
    assert gate.pool.tickets[0].tokens == 7


@pytest.mark.parametrize("tool", [True, False])
async def test_an_engine_that_ignores_disconnects_is_streamed_and_assembled(short_path: Path, tool: bool) -> None:
    traits = EngineTraits(cancels_non_stream=False, context_check="none", surfaces=ALL_SURFACES)
    async with front(short_path, worker={"traits": traits}) as gate:
        told = {"tool_call": {"name": "add", "arguments": '{"a": 2}'}} if tool else {"reasoning": "hm", "text": "a b c"}
        response, body = await gate.chat(x_stand_in=told)
        answer = json.loads(body)
        assert response.content_type == "application/json"
        assert (answer["object"], answer["model"]) == ("chat.completion", MODEL)
        message = answer["choices"][0]["message"]
        if tool:
            assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 2}'}
            assert answer["choices"][0]["finish_reason"] == "tool_calls"
        else:
            assert (message["content"], message["reasoning_content"]) == ("a b c", "hm")
        assert answer["usage"]["prompt_tokens"] == 5
        sent = json.loads(gate.engine.recorder.requests[0].body)
        assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


async def test_an_assembled_answer_that_breaks_is_an_error(short_path: Path) -> None:
    traits = EngineTraits(cancels_non_stream=False, context_check="none", surfaces=ALL_SURFACES)
    async with front(short_path, worker={"traits": traits}) as gate:
        response, body = await gate.chat(x_stand_in={"tokens": 4, "eof_without_done": True})
        assert response.status == 502
        assert json.loads(body)["error"]["code"] == "upstream_disconnected"


async def leave_at(gate: Front, stage: str, stream: bool) -> None:
    """Start a request, reach the stage, leave."""
    told = {"tokens": 50, "hold_after_tokens": 2 if stage == "mid-stream" else 0}
    body = chat_body(stream=stream, x_stand_in=told)
    before = len(gate.pool.tickets)

    async def ask() -> None:
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as response:
            await response.read()

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        if stage in ("loading", "queued"):
            await until(lambda: len(gate.pool.tickets) > before)
        else:
            await until(lambda: gate.engine.recorder.running == 1)
            if stage == "mid-stream":
                await until(lambda: gate.engine.recorder.requests[-1].tokens_sent == 2)
        asking.cancel()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("stage", ["loading", "prefill", "mid-stream"])
async def test_a_client_that_leaves_frees_its_slot_and_stops_the_engine(gate: Front, stage: str, stream: bool) -> None:
    if stage == "mid-stream" and not stream:
        pytest.skip("a whole answer has no middle")
    if stage == "loading":
        gate.worker.loaded.clear()
    await leave_at(gate, stage, stream)
    row = await gate.row()
    assert (row.status, row.code) == (499, "client_closed")
    assert gate.worker.running == 0
    assert gate.pool.tickets[0].left
    await until(lambda: gate.engine.recorder.running == 0, timeout_s=1)


async def test_a_client_that_leaves_the_queue_is_forgotten(short_path: Path) -> None:
    async with front(short_path, worker={"concurrency": 1}) as gate:
        held = chat_body(stream=True, x_stand_in={"tokens": 3, "hold_after_tokens": 1})
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=held) as first:
            await first.content.readuntil(b"\n\n")
            await leave_at(gate, "queued", stream=False)
            assert (await gate.row()).status == 499
            assert len(gate.worker.waiting) == 0
            gate.engine.state.released.set()
            assert (await first.read()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("told", "last", "status", "code"),
    [
        ({"hold_after_done": True}, b"data: [DONE]\n\n", 200, None),
        ({"tokens": 4, "error_frame_after": 2}, b'"code": "internal_error"}}\n\n', 500, "internal_error"),
    ],
)
async def test_a_client_that_goes_after_the_last_event_was_served(
    gate: Front, told: dict[str, Any], last: bytes, status: int, code: str | None
) -> None:
    body = json.dumps(chat_body(stream=True, x_stand_in=told)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await reader.readuntil(last)
    writer.transport.abort()
    row = await gate.row()
    assert (row.status, row.code) == (status, code)
    gate.engine.state.released.set()


async def test_requests_that_outgrow_a_shared_window_in_mid_stream_are_told_so(gate: Front) -> None:
    grown = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
    begun = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    raw = "".join(f"data: {json.dumps(value)}\n\n" for value in (begun, grown))
    _, body = await gate.chat(stream=True, x_stand_in={"raw": raw, "content_type": "text/event-stream"})
    assert last_event(body)["error"]["code"] == "concurrency_limit"
    assert b'"content": "a"' in body and b"[DONE]" not in body


async def test_a_slow_reader_is_dropped_and_does_not_fill_the_memory(short_path: Path) -> None:
    body = json.dumps(chat_body(stream=True, x_stand_in={"tokens": 4000, "huge_token_bytes": 20_000})).encode()
    async with front(short_path, settings=gateway_settings(write_deadline_s=0.2)) as gate:
        with closing(socket.create_connection(("127.0.0.1", gate.port))) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            row = await gate.row()
        assert (row.status, row.cause) == (499, "the client took no byte for 0.2 s")
        # 80 MB were to come; the sockets' own buffers hold a few.
        assert row.bytes_out < 20_000_000
        assert gate.worker.running == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_the_retry_on_a_fresh_worker_answers(short_path: Path, stream: bool) -> None:
    async with front(short_path, options=EngineOptions(behave=Behaviour(abort_after_tokens=0))) as gate:
        async with serve(EngineOptions()) as fresh:
            gate.worker.second_url = fresh.url
            response, body = await gate.chat(stream=stream)
            assert response.status == 200
            assert b"stand-in" in body
        assert (await gate.row()).cause == "retried on a fresh worker"
