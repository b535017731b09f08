"""Every error row: its status, its code, its headers, and no prompt in it."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from roost.config.settings import FilterSettings, ModelSettings, RoleSettings, Settings
from roost.engines.types import EngineTraits
from roost.errors import ModelNotResident, WorkerFailed
from roost.testing.pool import ALL_SURFACES
from tests.integration.gateway.front import EMBEDDER, MODEL, Front, changed, chat_body, front, gateway_settings, spec

CHAT = "/v1/chat/completions"
SECRET = "the-prompt-that-nobody-may-repeat"


def chat_bytes(**more: Any) -> bytes:
    return json.dumps(chat_body(**more)).encode()


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        (CHAT, b"{", 400, "invalid_json", None),
        (CHAT, b"[]", 400, "invalid_json", None),
        (CHAT, b"", 400, "invalid_json", None),
        (CHAT, b'{"model":"a","model":"b"}', 400, "invalid_json", None),
        (CHAT, b'{"model":"default","messages":[],"temperature":NaN}', 400, "invalid_json", None),
        (CHAT, b'{"model":"default","messages":' + b"[" * 70 + b"]" * 70 + b"}", 400, "invalid_json", None),
        (CHAT, b'{"model":"default","messages":' + b"[" * 100_000, 400, "invalid_json", None),
        (CHAT, b'{"model":"\xff"}', 400, "invalid_utf8", None),
        (CHAT, b'{"messages":[]}', 400, "missing_required_parameter", "model"),
        (CHAT, b'{"model":7,"messages":[]}', 400, "invalid_type", "model"),
        (CHAT, b'{"model":"default"}', 400, "missing_required_parameter", "messages"),
        (CHAT, b'{"model":"default","messages":"hi"}', 400, "invalid_type", "messages"),
        (CHAT, b'{"model":"default","messages":["hi"]}', 400, "invalid_type", "messages"),
        (CHAT, chat_bytes(stream=1), 400, "invalid_type", "stream"),
        (CHAT, chat_bytes(grammar="root ::= x"), 400, "unsupported_parameter", "grammar"),
        (CHAT, chat_bytes(n_discard=1), 400, "unsupported_parameter", "n_discard"),
        (CHAT, chat_bytes(n=1000), 400, "unsupported_parameter", "n"),
        (CHAT, chat_bytes(max_tokens=1.5), 400, "invalid_type", "max_tokens"),
        (CHAT, chat_bytes(top_logprobs=10**30), 400, "unsupported_parameter", "top_logprobs"),
        (CHAT, chat_bytes(model="defualt"), 404, "model_not_found", "model"),
        (CHAT, chat_bytes(model="\ud800"), 404, "model_not_found", "model"),
        (CHAT, chat_bytes(model=EMBEDDER), 400, "unsupported_parameter", "model"),
        (CHAT, chat_bytes(model="rerank"), 404, "model_not_found", "model"),
        ("/v1/rerank", b'{"model":"default","query":"q","documents":["d"]}', 400, "unsupported_parameter", "model"),
        ("/v1/embeddings", b'{"model":"embedding"}', 400, "missing_required_parameter", "input"),
        ("/v1/nothing", b"{}", 404, "not_found", None),
    ],
)
async def test_a_bad_request_is_refused_before_any_worker(
    gate: Front, path: str, body: bytes, status: int, code: str, param: str | None
) -> None:
    response, answer = await gate.post(path, body)
    error = answer["error"]
    assert (response.status, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert response.headers["x-request-id"]
    assert gate.pool.tickets == []


async def test_a_remote_image_is_never_fetched_and_a_text_model_takes_none(gate: Front) -> None:
    for url, told in (("http://127.0.0.1:1/x.png", "data: URLs"), ("data:image/png;base64,AA==", "cannot see")):
        content = [{"type": "image_url", "image_url": {"url": url}}]
        response, answer = await gate.post(CHAT, chat_bytes(messages=[{"role": "user", "content": content}]))
        assert (response.status, answer["error"]["param"]) == (400, "messages")
        assert told in answer["error"]["message"]


async def test_a_model_with_eyes_takes_a_data_url(short_path: Path) -> None:
    async with front(short_path, model=spec(MODEL, "chat", "vision")) as gate:
        content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
        response, _ = await gate.chat(messages=[{"role": "user", "content": content}])
        assert response.status == 200


async def test_a_field_passes_that_the_settings_allow(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(allow_fields=("grammar",))) as gate:
        response, _ = await gate.chat(grammar="root ::= x")
        assert response.status == 200


async def test_no_model_means_default_only_when_the_settings_say_so(short_path: Path) -> None:
    async with front(short_path, settings=gateway_settings(default_when_absent=True)) as gate:
        response, answer = await gate.post(CHAT, b'{ "messages":[] }')
        assert (response.status, answer["model"]) == (200, MODEL)
        assert gate.engine.recorder.requests[0].body == b'{ "messages":[],"model":"stand-in" }'


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 403, "host_not_allowed"),
        ({"Host": "127.0.0.1:1"}, 403, "host_not_allowed"),
        ({"Origin": "http://evil.example"}, 403, "origin_not_allowed"),
        ({"Origin": "null"}, 403, "origin_not_allowed"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content-Type": "application/json; charset=utf-16"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"X-Long": "x" * 20_000}, 431, "headers_too_large"),
    ],
)
async def test_a_foreign_sender_is_refused(gate: Front, headers: dict[str, str], status: int, code: str) -> None:
    response, answer = await gate.post(CHAT, chat_bytes(), headers)
    assert (response.status, answer["error"]["code"]) == (status, code)
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_listed_hosts_and_origins_pass(short_path: Path) -> None:
    settings = gateway_settings(allowed_hosts=("roost.lan",), allowed_origins=("http://ui.lan",))
    async with front(short_path, settings=settings) as gate:
        for headers in ({"Host": "roost.lan"}, {"Host": "ROOST.lan"}, {"Origin": "http://ui.lan"}):
            response, _ = await gate.post(CHAT, chat_bytes(), headers)
            assert response.status == 200


async def test_a_wrong_method_is_405_and_options_tells_no_cors(gate: Front) -> None:
    for method in ("GET", "OPTIONS"):
        async with gate.session.request(method, f"{gate.url}{CHAT}") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"
            assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_the_clients_own_request_id_is_kept_when_it_is_harmless(gate: Front) -> None:
    for presented, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 65, False)):
        response, _ = await gate.post(CHAT, chat_bytes(), {"x-request-id": presented})
        assert (response.headers["x-request-id"] == presented) is kept


async def test_a_pools_refusal_carries_its_hints(gate: Front) -> None:
    gate.worker.refusal = ModelNotResident("cannot switch", retry_after_s=8, should_retry=False)
    response, answer = await gate.post(CHAT, chat_bytes())
    assert (response.status, answer["error"]["code"]) == (503, "model_not_resident")
    assert 8 <= int(response.headers["Retry-After"]) <= 10
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["x-roost-model"] == MODEL


async def test_a_full_queue_is_429(short_path: Path) -> None:
    async with front(short_path, worker={"most_requests": 0}) as gate:
        response, answer = await gate.post(CHAT, chat_bytes())
        assert (response.status, answer["error"]["code"]) == (429, "concurrency_limit")
        assert int(response.headers["Retry-After"]) >= 1
        assert answer["error"]["type"] == "rate_limit_error"


async def test_draining_is_503_on_new_requests_and_on_readyz(gate: Front) -> None:
    gate.state.draining = True
    response, answer = await gate.post(CHAT, chat_bytes())
    assert (response.status, answer["error"]["code"]) == (503, "shutting_down")
    for path, status in (("/readyz", 503), ("/livez", 200), ("/health", 503)):
        async with gate.session.get(f"{gate.url}{path}") as answered:
            assert answered.status == status


async def test_a_stream_cut_by_the_shutdown_says_so(gate: Front) -> None:
    body = chat_body(stream=True, x_stand_in={"tokens": 9, "abort_after_tokens": 2, "hold_after_tokens": 1})
    async with gate.session.post(f"{gate.url}{CHAT}", json=body) as response:
        await response.content.readuntil(b"\n\n")
        gate.state.draining = True
        gate.engine.state.released.set()
        assert b'"code": "shutting_down"' in await response.read()


@pytest.mark.parametrize(
    ("status", "body", "expected", "code", "words"),
    [
        (400, {"error": {"code": 400, "message": "no", "type": "invalid_request_error"}}, 400, "invalid_request", "no"),
        (
            400,
            {"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 18240, "n_ctx": 8192}},
            400,
            "context_length_exceeded",
            f"prompt of 18,240 tokens exceeds {MODEL}'s window of 8,192",
        ),
        (
            422,
            {"detail": [{"loc": ["body", "n"], "msg": "too big", "input": SECRET}]},
            400,
            "invalid_request",
            "body.n",
        ),
        (422, {"detail": f"cannot read {SECRET}"}, 400, "invalid_request", "refused"),
        (500, {"error": {"code": 500, "message": f"Failed to parse {SECRET}"}}, 500, "internal_error", "failed"),
        (501, {"error": {"code": 501, "message": "not supported"}}, 400, "unsupported_parameter", "does not offer"),
        (503, {"error": {"code": 503, "message": "Loading model"}}, 503, "model_loading", "loading"),
        (503, {"detail": "engine busy"}, 503, "worker_failed", "engine busy"),
        (429, {"error": "queue full"}, 429, "concurrency_limit", "queue full"),
        (
            500,
            {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}},
            429,
            "concurrency_limit",
            "share its context window",
        ),
        (504, "plain text", 504, "upstream_stalled", "gave up"),
        (302, "", 500, "internal_error", "302"),
    ],
)
async def test_an_engines_error_becomes_ours(
    gate: Front, status: int, body: Any, expected: int, code: str, words: str
) -> None:
    told = {"status": status, "body": body if isinstance(body, str) else json.dumps(body)}
    messages = [{"role": "user", "content": f"please {SECRET} now"}]
    for stream in (False, True):
        response, answer = await gate.post(CHAT, chat_bytes(x_stand_in=told, stream=stream, messages=messages))
        assert (response.status, answer["error"]["code"]) == (expected, code)
        assert words in answer["error"]["message"]
        assert SECRET not in json.dumps(answer)
    assert gate.worker.running == 0


async def test_an_engine_that_answers_no_json_is_an_error(gate: Front) -> None:
    told = {"raw": "<html>", "content_type": "text/html"}
    response, answer = await gate.post(CHAT, chat_bytes(x_stand_in=told))
    assert (response.status, answer["error"]["code"]) == (500, "internal_error")


async def test_a_prompt_over_the_window_is_refused_without_a_load(short_path: Path) -> None:
    small = spec(MODEL, "chat", context_length=100, longest_token_bytes=4)
    async with front(short_path, model=small, worker={"state": "loading"}) as gate:
        messages = [{"role": "user", "content": "x" * 500}]
        response, answer = await gate.post(CHAT, chat_bytes(messages=messages, max_tokens=32000))
        assert (response.status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert "at least 125" in answer["error"]["message"] and "100" in answer["error"]["message"]
        assert gate.pool.tickets == []


async def test_a_worker_that_counts_is_asked_only_when_a_bound_proves_nothing(short_path: Path) -> None:
    asked: list[bytes] = []

    async def count(route: str, body: bytes) -> int:
        asked.append(body)
        return 5000

    traits = EngineTraits(cancels_non_stream=True, context_check="count", surfaces=ALL_SURFACES)
    worker = {"traits": traits, "context_length": 4096, "count_prompt_tokens": count}
    async with front(short_path, worker=worker) as gate:
        response, _ = await gate.chat()
        assert (response.status, asked) == (200, [])
        messages = [{"role": "user", "content": "y " * 4000}]
        refused, answer = await gate.post(CHAT, chat_bytes(messages=messages))
        assert (refused.status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert "5,000" in answer["error"]["message"] and "4,096" in answer["error"]["message"]
        assert len(asked) == 1


async def test_an_engine_without_the_route_is_named(short_path: Path) -> None:
    traits = EngineTraits(cancels_non_stream=True, context_check="none", surfaces=frozenset({"chat"}))
    async with front(short_path, worker={"traits": traits}) as gate:
        response, answer = await gate.post("/v1/embeddings", b'{"model":"default","input":"a"}')
        assert (response.status, answer["error"]["code"]) == (400, "unsupported_parameter")
        assert "stand-in offers chat" in answer["error"]["message"]


async def test_a_role_that_requires_tools_refuses_a_model_without(short_path: Path) -> None:
    async with front(short_path, settings=Settings(roles={"coding": RoleSettings(requires=("tools",))})) as gate:
        response, answer = await gate.post(CHAT, chat_bytes(model="coding"))
        assert response.status == 400
        assert "requires tools" in answer["error"]["message"]


async def test_a_failed_load_reaches_its_waiters(gate: Front) -> None:
    gate.worker.refusal = WorkerFailed("cannot start: exit code 3, last line: no such file", retry_after_s=4)
    response, answer = await gate.post(CHAT, chat_bytes(stream=True))
    assert (response.status, answer["error"]["code"]) == (503, "worker_failed")


async def test_filters_change_single_fields_and_a_cap_is_told(gate: Front) -> None:
    own = ModelSettings(
        engine={"generation_cap": 8, "frequency_penalty": 0.1},
        filters=FilterSettings(strip=("user",), default={"temperature": 0.5}, clamp={"top_p": {"max": 0.9}}),  # type: ignore[dict-item]
    )
    role = RoleSettings(filters=FilterSettings(set={"seed": 7}))
    changed(gate.state, models={MODEL: own}, roles={"coding": role})
    sent = b'{"user":"me", "model":"coding","messages":[], "top_p":1.0 ,"max_completion_tokens":100}'
    response, _ = await gate.post(CHAT, sent)
    assert response.headers["x-roost-capped"] == "max_completion_tokens=8"
    assert gate.engine.recorder.requests[0].body == (
        b'{"model":"stand-in","messages":[], "top_p":0.9 ,"max_completion_tokens":8'
        b',"temperature":0.5,"seed":7,"frequency_penalty":0.1}'
    )
    response, _ = await gate.post(CHAT, chat_bytes(max_tokens=3))
    assert "x-roost-capped" not in response.headers


async def test_an_unexpected_error_is_500_without_its_text(gate: Front) -> None:
    async with AsyncExitStack():
        gate.worker.count_prompt_tokens = _explode
        gate.worker.context_length = 1
        gate.worker.traits = EngineTraits(cancels_non_stream=True, context_check="count", surfaces=ALL_SURFACES)
        for stream in (True, False):
            response, answer = await gate.post(CHAT, chat_bytes(stream=stream))
            assert (response.status, answer["error"]["code"]) == (500, "internal_error")
            assert SECRET not in json.dumps(answer)
        assert gate.worker.running == 0


async def _explode(route: str, body: bytes) -> int | None:
    raise RuntimeError(SECRET)
