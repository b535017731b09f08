"""The stand-in engine itself: tests of every other room lean on what it promises."""

import asyncio
import base64
import json
import os
import signal
import time

import aiohttp
import pytest

from roost.host.this import this_memory
from roost.testing.engine import Behaviour, EngineOptions, serve
from roost.testing.wait import until, until_sync
from tests.helpers import process_lives, short_folder, stand_in_process, unix_session, wait_for_socket

CHAT = "/v1/chat/completions"


def chat(stream=False, **told):
    return {"model": "x", "messages": [{"role": "user", "content": "a b c"}], "stream": stream, "x_stand_in": told}


async def events(response):
    """The data of each SSE event, parsed but for [DONE]."""
    text = (await response.read()).decode()
    data = [part[6:] for part in text.replace("\r\n", "\n").split("\n\n") if part.startswith("data: ")]
    return [part if part == "[DONE]" else json.loads(part) for part in data]


@pytest.fixture
async def engine():
    options = EngineOptions(model="smol", context=50)
    async with serve(options) as serving, aiohttp.ClientSession(base_url=serving.url) as session:
        yield serving, session


async def test_the_reply_names_the_served_model_and_the_bytes_it_read(engine):
    serving, session = engine
    raw = b'{ "model":"other",\t"messages": [] , "n": 1.0 }'
    async with session.post(CHAT, data=raw) as response:
        content = (await response.json())["choices"][0]["message"]["content"]
    (seen,) = serving.recorder.requests
    assert seen.body == raw
    assert content == f"smol read request {seen.digest} ."
    async with session.get("/stand-in/requests") as response:
        (report,) = (await response.json())["requests"]
    assert base64.b64decode(report["body_base64"]) == raw


async def test_a_stream_says_the_same_in_chunks(engine):
    _, session = engine
    body = chat(stream=True) | {"stream_options": {"include_usage": True}}
    async with session.post(CHAT, json=body) as response:
        got = await events(response)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in got[:-2]).startswith("smol read request")
    assert got[-3]["choices"][0]["finish_reason"] == "stop"
    assert got[-2] == got[-2] | {
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
    assert got[-1] == "[DONE]"


async def test_max_tokens_cuts_and_says_length(engine):
    _, session = engine
    async with session.post(CHAT, json=chat() | {"max_tokens": 2}) as response:
        (choice,) = (await response.json())["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("smol read", "length")


async def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(engine):
    _, session = engine
    body = {"messages": [{"role": "user", "content": "word " * 51}]}
    async with session.post(CHAT, json=body) as response:
        error = (await response.json())["error"]
    assert (response.status, error["n_prompt_tokens"], error["n_ctx"]) == (400, 51, 50)


@pytest.mark.parametrize(
    ("told", "last"),
    [
        ({"eof_without_done": True}, None),
        ({"error_frame_after": 2}, {"error": {"code": 500, "message": "stand-in error", "type": "server_error"}}),
        ({"no_finish": True}, "[DONE]"),
        ({"crlf": True, "split_bytes": 3}, "[DONE]"),
        ({"comments": 3}, "[DONE]"),
    ],
)
async def test_a_stream_ends_as_it_was_told(engine, told, last):
    _, session = engine
    async with session.post(CHAT, json=chat(stream=True, **told)) as response:
        got = await events(response)
    finishes = [event["choices"][0]["finish_reason"] for event in got if isinstance(event, dict) and "choices" in event]
    if last is None:
        assert got[-1]["choices"][0]["finish_reason"] is None
    else:
        assert got[-1] == last
    assert ("stop" in finishes) == (last == "[DONE]" and "no_finish" not in told)


async def test_a_status_and_body_are_answered_as_they_are(engine):
    _, session = engine
    async with session.post(CHAT, json=chat(status=418, body="tea", headers={"x-a": "b"})) as response:
        assert (response.status, await response.text(), response.headers["x-a"]) == (418, "tea", "b")


async def test_a_tool_call_arrives_whole_and_in_pieces(engine):
    _, session = engine
    told = {"tool_call": {"name": "add", "arguments": '{"a": 1, "b": 22}'}}
    async with session.post(CHAT, json=chat(**told)) as response:
        (call,) = (await response.json())["choices"][0]["message"]["tool_calls"]
    assert call["function"] == told["tool_call"]
    async with session.post(CHAT, json=chat(stream=True, **told)) as response:
        deltas = [event["choices"][0]["delta"] for event in (await events(response))[:-1]]
    pieces = [delta["tool_calls"][0]["function"]["arguments"] for delta in deltas if "tool_calls" in delta]
    assert len(pieces) > 1
    assert "".join(pieces) == told["tool_call"]["arguments"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_noticed(engine, stream):
    serving, session = engine
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), session.post(CHAT, json=chat(stream=stream, hang_after_tokens=1)) as response:
            await response.read()
    await until(lambda: serving.recorder.requests[0].disconnected_at)
    await until(lambda: serving.recorder.running == 0)


async def test_an_engine_that_ignores_disconnects_runs_to_the_end():
    options = EngineOptions(ignores_disconnect=True, behave=Behaviour(hold_after_tokens=1))
    async with serve(options) as serving, aiohttp.ClientSession(base_url=serving.url) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), session.post(CHAT, json=chat()) as response:
                await response.read()
        assert serving.recorder.running == 1
        async with session.post("/stand-in/release"):
            pass
        await until(lambda: serving.recorder.running == 0)


async def test_a_held_reply_goes_on_when_it_is_released(engine):
    serving, session = engine
    async with session.post(CHAT, json=chat(stream=True, hold_after_tokens=2)) as response:
        await until(lambda: serving.recorder.requests[0].tokens_sent == 2)
        async with session.post("/stand-in/release"):
            pass
        assert (await events(response))[-1] == "[DONE]"


async def test_an_aborted_connection_is_no_clean_end(engine):
    _, session = engine
    async with session.post(CHAT, json=chat(stream=True, abort_after_tokens=2)) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_embeddings_and_rerank_depend_on_their_text(engine):
    _, session = engine
    async with session.post("/v1/embeddings", json={"input": ["a", "b", "a"]}) as response:
        first, second, third = [row["embedding"] for row in (await response.json())["data"]]
    assert first == third != second
    async with session.post("/v1/rerank", json={"query": "red fox", "documents": ["cow", "fox red"]}) as response:
        assert [row["index"] for row in (await response.json())["results"]] == [1, 0]


async def test_a_process_is_503_until_it_has_loaded():
    with short_folder() as folder, stand_in_process("--uds", str(folder / "e"), "--load-s", "0.4"):
        wait_for_socket(folder / "e")
        async with unix_session(folder / "e") as session:
            async with session.get("/health") as response:
                assert response.status == 503
            assert (await until(lambda: health(session), what="health")) == 200


async def health(session):
    async with session.get("/health") as response:
        return response.status if response.status == 200 else None


def test_a_failing_load_exits_with_its_reason_as_the_last_line():
    with stand_in_process("--load-fails", "cannot map weights", "--exit-code", "7") as process:
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr.splitlines()[-1]) == (7, "cannot map weights")


def test_sigterm_ends_it():
    with short_folder() as folder, stand_in_process("--uds", str(folder / "e")) as process:
        wait_for_socket(folder / "e")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0


async def test_an_ignored_sigterm_leaves_it_serving_with_its_grandchild():
    with short_folder() as folder:
        with stand_in_process("--ignore-term", "--fork-grandchild", "--uds", str(folder / "e")) as process:
            grandchild = int(process.stdout.readline().split()[-1])
            wait_for_socket(folder / "e")
            os.killpg(process.pid, signal.SIGTERM)
            async with unix_session(folder / "e") as session:
                assert await health(session) == 200
            assert process_lives(grandchild)
        until_sync(lambda: not process_lives(grandchild))


async def test_a_process_told_to_die_dies_by_sigkill():
    with short_folder() as folder, stand_in_process("--uds", str(folder / "e")) as process:
        wait_for_socket(folder / "e")
        async with unix_session(folder / "e") as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.post(CHAT, json=chat(die_after_tokens=0)):
                    pass
        process.communicate(timeout=20)
        assert process.returncode == -signal.SIGKILL


async def test_a_key_from_the_environment_is_asked_for():
    with (
        short_folder() as folder,
        stand_in_process(
            "--uds", str(folder / "e"), "--api-key-env", "KEY_OF_THIS_TEST", environment={"KEY_OF_THIS_TEST": "k"}
        ),
    ):
        wait_for_socket(folder / "e")
        async with unix_session(folder / "e") as session:
            async with session.get("/v1/models") as response:
                assert response.status == 401
            async with session.get("/v1/models", headers={"Authorization": "Bearer k"}) as response:
                assert response.status == 200


async def test_stamped_tokens_are_the_times_they_were_sent_at(engine):
    _, session = engine
    before = time.monotonic_ns()
    async with session.post(CHAT, json=chat(stream=True, tokens=4, stamp_tokens=True)) as response:
        got = await events(response)
    stamps = [int(event["choices"][0]["delta"]["content"]) for event in got[1:-2]]
    assert len(stamps) == 4
    assert stamps == sorted(stamps)
    assert before < stamps[0] < stamps[-1] < time.monotonic_ns()


def private_mib(process):
    memory = this_memory().process(process.pid)
    return memory.private_bytes / 2**20 if memory else 0


async def test_its_memory_is_real_held_from_the_load_on_and_leaked_to_a_bound():
    flags = ("--hold-mib", "40", "--spike-mib", "60", "--load-s", "0.5", "--leak-mib-s", "200", "--leak-most-mib", "80")
    with short_folder() as folder, stand_in_process("--uds", str(folder / "e"), *flags) as process:
        await until(lambda: private_mib(process) > 100, what="hold and spike")
        wait_for_socket(folder / "e")
        await until(lambda: 120 < private_mib(process) < 160, what="hold and leak")


async def test_requests_borrow_memory_and_leave_some_behind_up_to_a_cap():
    flags = ("--cache-cap-mib", "40", "--behave", '{"keep_mib": 20, "borrow_mib": 50}')
    with short_folder() as folder, stand_in_process("--uds", str(folder / "e"), *flags) as process:
        wait_for_socket(folder / "e")
        bare = private_mib(process)
        async with unix_session(folder / "e") as session:
            for _ in range(4):
                async with session.post(CHAT, json=chat()) as response:
                    assert response.status == 200
        await until(lambda: bare + 38 < private_mib(process) < bare + 70)
        assert this_memory().process(process.pid).peak_bytes > 80 * 2**20
