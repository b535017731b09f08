"""Ollama's protocol over a real socket: translated requests go the way of every other request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roost.catalog.spec import AttentionShape, ModelSpec
from roost.config.settings import FilterSettings, Knobs, ModelSettings, Settings
from roost.engines.types import EngineTraits
from roost.errors import ModelNotResident
from roost.store.keys import Consumer
from roost.testing.engine import Behaviour, EngineOptions, serve
from roost.testing.pool import ALL_SURFACES
from roost.testing.wait import until
from tests.integration.gateway.front import EMBEDDER, MODEL, Front, changed, front, spec

USER = {"role": "user", "content": "What is two plus two?"}
Answer = tuple[aiohttp.ClientResponse, Any]


def behave(gate: Front, **told: Any) -> None:
    gate.engine.state.behave = Behaviour().updated(told)


async def ask(gate: Front, route: str, headers: dict[str, str] | None = None, **body: Any) -> Answer:
    """A request for the default role; one object, or the lines of a stream."""
    sent = {"model": "default", **body}
    async with gate.session.post(f"{gate.url}/api/{route}", json=sent, headers=headers) as response:
        raw = await response.read()
    if response.content_type == "application/x-ndjson":
        return response, [json.loads(line) for line in raw.splitlines()]
    return response, json.loads(raw)


def sent(gate: Front) -> dict[str, Any]:
    """The body that reached the engine last."""
    body: dict[str, Any] = json.loads(gate.engine.recorder.requests[-1].body)
    return body


async def test_a_chat_is_a_stream_of_lines_and_the_engine_gets_an_openai_body(gate: Front) -> None:
    behave(gate, text="one two")
    options = {"temperature": 0, "num_predict": 9, "num_thread": 3}
    response, lines = await ask(gate, "chat", messages=[USER], options=options, keep_alive="5m")
    assert response.status == 200
    assert response.headers["x-roost-model"] == MODEL and response.headers["x-roost-ignored"] == "num_thread"
    assert "".join(line["message"]["content"] for line in lines) == "one two"
    assert [line["done"] for line in lines] == [False, False, True]
    assert {line["model"] for line in lines} == {MODEL}
    last = lines[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 5, 2)
    body = sent(gate)
    assert gate.engine.recorder.requests[-1].path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("stand-in", 9, 0)
    assert "options" not in body and "keep_alive" not in body


async def test_a_whole_chat_is_one_object(gate: Front) -> None:
    behave(gate, text="one two", reasoning="hm")
    response, answer = await ask(gate, "chat", messages=[USER], stream=False)
    assert response.content_type == "application/json"
    assert answer["message"] == {"role": "assistant", "content": "one two", "thinking": "hm"}
    assert answer["done"] is True and answer["eval_count"] == 2 and answer["total_duration"] > 0
    assert "x-roost-ignored" not in response.headers


async def test_a_whole_answer_of_an_engine_that_must_stream_is_the_same(short_path: Path) -> None:
    traits = EngineTraits(cancels_non_stream=False, context_check="none", surfaces=ALL_SURFACES)
    async with front(short_path, worker={"traits": traits}) as gate:
        behave(gate, text="one two")
        _, answer = await ask(gate, "chat", messages=[USER], stream=False)
        assert answer["message"]["content"] == "one two" and answer["eval_count"] == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls_have_objects_as_arguments(gate: Front, stream: bool) -> None:
    behave(gate, text="a b", tool_call={"name": "weather", "arguments": '{"city": "Paris"}'})
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    _, answer = await ask(gate, "chat", messages=[USER], tools=tools, stream=stream)
    message = (answer[0] if stream else answer)["message"]
    assert message["tool_calls"][0]["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}
    assert sent(gate)["tools"] == tools


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_call_that_is_no_object_is_an_error(gate: Front, stream: bool) -> None:
    behave(gate, text="a", tool_call={"name": "weather", "arguments": '{"city"'})
    response, answer = await ask(gate, "chat", messages=[USER], stream=stream)
    assert response.status == (502 if stream else 500)
    assert "arguments" in answer["error"] and "city" not in answer["error"]
    assert "tool call" in ((await gate.row()).cause or "")


async def test_a_prompt_is_answered_with_a_response_templated_or_raw(gate: Front) -> None:
    behave(gate, text="one two")
    _, lines = await ask(gate, "generate", prompt="Say it", system="Be brief")
    assert "".join(line["response"] for line in lines) == "one two" and lines[-1]["done"]
    assert [message["role"] for message in sent(gate)["messages"]] == ["system", "user"]
    _, answer = await ask(gate, "generate", prompt="Say it", raw=True, stream=False)
    assert answer["response"] == "one two"
    assert gate.engine.recorder.requests[-1].path == "/v1/completions" and sent(gate)["prompt"] == "Say it"


async def test_a_wrong_method_is_told_in_their_shape(gate: Front) -> None:
    async with gate.session.get(f"{gate.url}/api/chat") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert list(await response.json()) == ["error"]


async def test_embeddings_of_another_size_than_asked_are_refused(gate: Front) -> None:
    _, answer = await ask(gate, "embed", model="embedding", input="a", dimensions=8)
    assert len(answer["embeddings"][0]) == 8
    response, answer = await ask(gate, "embed", model="embedding", input="a", dimensions=4)
    assert response.status == 400 and "gives 8" in answer["error"]


async def test_embeddings_of_both_routes(gate: Front) -> None:
    _, answer = await ask(gate, "embed", model="embedding", input=["a b", "c"])
    assert [len(vector) for vector in answer["embeddings"]] == [8, 8]
    assert (answer["model"], answer["prompt_eval_count"]) == (EMBEDDER, 3)
    _, older = await ask(gate, "embeddings", model=EMBEDDER, prompt="a b")
    assert older == {"embedding": answer["embeddings"][0]}


async def test_a_request_makes_a_row_and_a_decision_under_its_own_route(gate: Front) -> None:
    await ask(gate, "chat", messages=[USER])
    row = await gate.row()
    assert (row.route, row.requested, row.resolved, row.status) == ("/api/chat", "default", MODEL, 200)
    assert (row.stream, row.prompt_tokens, row.finish_reason) == (True, 5, "stop")
    assert row.ttft_s is not None and row.bytes_in > 0 and row.bytes_out > 0
    async with gate.session.get(f"{gate.url}/metrics") as response:
        assert 'route="/api/chat"' in await response.text()
    async with gate.session.get(f"{gate.url}/roost/v1/decisions") as response:
        assert (await response.json())["decisions"][0]["resolved"] == MODEL


async def test_filters_and_caps_hold_here_too(gate: Front) -> None:
    own = ModelSettings(filters=FilterSettings(set={"seed": 7}), engine={"generation_cap": 3})
    changed(gate.state, models={MODEL: own}, engine=Knobs())
    response, _ = await ask(gate, "chat", messages=[USER], options={"num_predict": 50})
    assert response.headers["x-roost-capped"] == "max_tokens=3"
    assert (sent(gate)["seed"], sent(gate)["max_tokens"]) == (7, 3)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"model": "nobody", "messages": [USER]}, 404, "nobody"),
        ({"model": "", "messages": [USER]}, 400, "`model` is missing"),
        ({"model": 7, "messages": [USER]}, 400, "`model`"),
        ({"messages": [USER], "options": {"num_ctx": 100_000}}, 400, "100,000"),
        ({"messages": [USER], "think": True}, 400, "does not support thinking"),
        ({"messages": [{**USER, "images": ["iVBORw0KGgo="]}]}, 400, "cannot see images"),
        ({"messages": [USER], "stream": "yes"}, 400, "`stream`"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, 400, "1,000"),
    ],
)
async def test_refusals_are_one_string(short_path: Path, body: dict[str, Any], status: int, word: str) -> None:
    async with front(short_path, model=spec(MODEL, context_length=1000, longest_token_bytes=8)) as gate:
        response, answer = await ask(gate, "chat", **body)
        assert response.status == status
        assert list(answer) == ["error"] and word in answer["error"]
        assert (await gate.row()).status == status
        assert gate.engine.recorder.requests == []


async def test_a_smaller_window_is_passed_over_and_said(short_path: Path) -> None:
    async with front(short_path, worker={"context_length": 2048}) as gate:
        response, _ = await ask(gate, "chat", messages=[USER], options={"num_ctx": 2048})
        assert response.headers["x-roost-ignored"] == "num_ctx"
        response, answer = await ask(gate, "chat", messages=[USER], options={"num_ctx": 2049})
        assert response.status == 400 and "2,048" in answer["error"]


async def test_the_pools_refusals_keep_status_and_headers(gate: Front) -> None:
    gate.worker.refusal = ModelNotResident("cannot switch", retry_after_s=3, should_retry=False)
    response, answer = await ask(gate, "chat", messages=[USER])
    assert (response.status, answer) == (503, {"error": "cannot switch"})
    assert response.headers["x-should-retry"] == "false" and "Retry-After" in response.headers


async def test_an_engine_error_after_the_first_line_is_the_last_line(gate: Front) -> None:
    behave(gate, text="one two three", error_frame_after=2)
    response, lines = await ask(gate, "chat", messages=[USER])
    assert response.status == 200
    assert [list(line) for line in lines[:-1]] and list(lines[-1]) == ["error"]
    assert not any(line.get("done") for line in lines)
    assert (await gate.row()).code == "internal_error"


@pytest.mark.parametrize("told", [{"eof_without_done": True}, {"abort_after_tokens": 1}])
async def test_a_stream_that_just_stops_ends_with_an_error_line(gate: Front, told: dict[str, Any]) -> None:
    behave(gate, text="one two", **told)
    _, lines = await ask(gate, "chat", messages=[USER])
    assert list(lines[-1]) == ["error"] and not any(line.get("done") for line in lines)


async def test_a_failure_before_the_first_line_is_a_real_status(gate: Front) -> None:
    behave(gate, abort_after_tokens=0)
    response, answer = await ask(gate, "chat", messages=[USER])
    assert response.status == 502 and list(answer) == ["error"]


async def test_the_retry_on_a_fresh_worker_answers(short_path: Path) -> None:
    async with front(short_path, options=EngineOptions(behave=Behaviour(abort_after_tokens=0))) as gate:
        async with serve(EngineOptions()) as fresh:
            gate.worker.second_url = fresh.url
            response, lines = await ask(gate, "chat", messages=[USER])
        assert response.status == 200 and lines[-1]["done"]


async def test_a_long_load_sends_nothing_and_no_heartbeat_breaks_the_lines(short_path: Path) -> None:
    settings = Settings.model_validate({"gateway": {"heartbeat_s": 0.01}})
    async with front(short_path, settings=settings) as gate:
        behave(gate, text="one", delay_s=0.1)
        response, lines = await ask(gate, "chat", messages=[USER])
        assert response.status == 200 and lines[-1]["done"]


@pytest.mark.parametrize("stage", ["loading", "mid-stream"])
async def test_a_client_that_leaves_stops_the_engine(gate: Front, stage: str) -> None:
    behave(gate, tokens=50, hold_after_tokens=2)
    if stage == "loading":
        gate.worker.loaded.clear()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask(gate, "chat", messages=[USER]))
        await until(lambda: bool(gate.pool.tickets))
        if stage == "mid-stream":
            await until(lambda: bool(gate.engine.recorder.requests))
            await until(lambda: gate.engine.recorder.requests[-1].tokens_sent == 2)
        asking.cancel()
    assert (await gate.row()).status == 499
    assert gate.pool.tickets[0].left and gate.worker.running == 0
    await until(lambda: gate.engine.recorder.running == 0, timeout_s=1)


async def test_names_with_and_without_the_latest_tag_are_one_name(short_path: Path) -> None:
    async with front(short_path, model=spec("llama3:latest")) as gate:
        for name in ("llama3", "llama3:latest", "default", "default:latest"):
            response, _ = await ask(gate, "chat", model=name, messages=[USER])
            assert response.headers["x-roost-model"] == "llama3:latest"
        response, _ = await ask(gate, "chat", model="llama3:8b", messages=[USER])
        assert response.status == 404


async def test_roles_and_models_are_listed_shown_and_seen_in_memory(short_path: Path) -> None:
    shape = AttentionShape(embedding_length=64)
    known: ModelSpec = spec(MODEL, "chat", "tools", context_length=4096, architecture="llama", attention=shape)
    async with front(short_path, model=known) as gate:
        async with gate.session.get(f"{gate.url}/api/tags") as response:
            listed = (await response.json())["models"]
        names = [row["name"] for row in listed]
        assert {"default", "coding", "embedding", MODEL, EMBEDDER} <= set(names) and "rerank" not in names
        assert listed[0]["capabilities"] == ["completion", "tools"]
        for key in ("model", "name"):
            _, shown = await gate.post("/api/show", json.dumps({key: "coding:latest"}).encode())
            assert shown["model_info"]["llama.context_length"] == 4096
            assert shown["capabilities"] == ["completion", "tools"]
        async with gate.session.get(f"{gate.url}/api/ps") as response:
            loaded = (await response.json())["models"]
        assert [row["name"] for row in loaded] == [MODEL, EMBEDDER]
        assert loaded[0]["context_length"] == 4096 and loaded[0]["size"] == 1000


async def test_an_unknown_model_is_not_shown(gate: Front) -> None:
    response, answer = await gate.post("/api/show", b'{"model": "nobody"}')
    assert response.status == 404 and "nobody" in answer["error"]


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
async def test_probes_are_answered_with_and_without_a_body(gate: Front, path: str) -> None:
    async with gate.session.head(f"{gate.url}{path}") as response:
        assert response.status == 200
    async with gate.session.get(f"{gate.url}/api/version") as response:
        version = (await response.json())["version"]
    assert tuple(int(part) for part in version.split(".")) >= (0, 6, 4)


async def test_a_request_without_words_loads_through_the_line_or_unloads(gate: Front) -> None:
    _, loaded = await ask(gate, "generate")
    assert (loaded["done_reason"], loaded["response"]) == ("load", "")
    assert gate.pool.tickets[-1].left and gate.engine.recorder.requests == []
    _, unloaded = await ask(gate, "chat", messages=[], keep_alive=0)
    assert unloaded["done_reason"] == "unload" and unloaded["message"]["content"] == ""
    assert gate.pool.orders == [("unload", MODEL)]
    gate.worker.refusal = ModelNotResident("cannot switch")
    response, _ = await ask(gate, "generate")
    assert response.status == 503


async def test_unloading_takes_an_administrators_key(gate: Front) -> None:
    gate.keys.owners = {"user": Consumer("1", "ann"), "admin": Consumer("2", "bob", admin=True)}
    response, answer = await ask(gate, "generate", keep_alive=0)
    assert response.status == 401 and "key" in answer["error"]
    response, answer = await ask(gate, "generate", {"Authorization": "Bearer user"}, keep_alive=0)
    assert response.status == 403 and gate.pool.orders == []
    response, _ = await ask(gate, "generate", {"Authorization": "Bearer admin"}, keep_alive=0)
    assert response.status == 200 and gate.pool.orders == [("unload", MODEL)]
    response, _ = await ask(gate, "chat", {"Authorization": "Bearer user"}, messages=[USER])
    assert response.status == 200


@pytest.mark.parametrize(
    ("method", "verb"),
    [("POST", "pull"), ("POST", "push"), ("POST", "create"), ("POST", "copy"), ("DELETE", "delete")],
)
async def test_verbs_on_ollamas_store_are_refused_with_our_command(gate: Front, method: str, verb: str) -> None:
    async with gate.session.request(method, f"{gate.url}/api/{verb}", json={"model": "x"}) as response:
        assert response.status == 400
        assert '"roost models ' in (await response.json())["error"]


async def test_a_form_is_refused_in_ollamas_shape_before_it_is_read(gate: Front) -> None:
    response, answer = await gate.post("/api/chat", b'{"model": "default"}', {"Content-Type": "text/plain"})
    assert response.status == 415 and "application/json" in answer["error"]


async def test_a_draining_gateway_takes_nothing(gate: Front) -> None:
    gate.state.draining = True
    response, answer = await ask(gate, "chat", messages=[USER])
    assert response.status == 503 and "shutting down" in answer["error"]
