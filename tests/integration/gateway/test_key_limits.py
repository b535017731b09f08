"""What one key may ask for, how often, and how much at once."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import aiohttp
import pytest

from roost.gateway.auth import Scope
from roost.gateway.call import Body
from roost.gateway.routes import ROUTES
from roost.store.keys import Consumer
from roost.testing.wait import until
from tests.integration.gateway.front import EMBEDDER, MODEL, Front, chat_body

CHAT = "/v1/chat/completions"
KEY = {"Authorization": "Bearer k"}


def allow(gate: Front, *names: str, **limits: Any) -> None:
    gate.keys.owners["k"] = Consumer("id", "ci", names=frozenset(names) or None, **limits)


async def ask(gate: Front, path: str = CHAT, **body: Any) -> tuple[aiohttp.ClientResponse, Any]:
    sent = json.dumps(chat_body(**body) if path == CHAT else body).encode()
    return await gate.post(path, sent, headers=KEY)


async def test_a_key_for_some_names_opens_these_and_no_others(gate: Front) -> None:
    allow(gate, "coding")
    response, _ = await ask(gate, model="coding")
    assert response.status == 200
    for name in ("default", MODEL, "typo", f"{MODEL}@here", "coding@here"):
        response, answer = await ask(gate, model=name)
        assert (response.status, answer["error"]["code"]) == (403, "scope_denied"), name
        assert 'the key "ci" may ask for coding' in answer["error"]["message"]
    assert len(gate.pool.tickets) == 1


@pytest.mark.parametrize(
    "headers",
    [
        KEY,
        {"x-api-key": "k"},
        {"Authorization": f"Basic {base64.b64encode(b'any:k').decode()}"},
    ],
)
async def test_the_decision_is_the_same_whichever_header_carries_the_key(gate: Front, headers: dict[str, str]) -> None:
    allow(gate, "coding")
    for name, status in (("coding", 200), ("default", 403)):
        response, _ = await gate.post(CHAT, json.dumps(chat_body(model=name)).encode(), headers=headers)
        assert response.status == status


async def test_every_route_that_names_a_model_in_its_body_keeps_to_it(gate: Front) -> None:
    """From the table of routes, so that a new one is held to it too."""
    allow(gate, "coding")
    body = {"model": EMBEDDER, "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi"}
    body |= {"query": "q", "documents": ["d"], "max_tokens": 1, "stream": False}
    asking = [
        route.path
        for route in ROUTES
        if route.method == "POST" and route.scope is Scope.USE and route.body is not Body.NONE
    ]
    assert len(asking) > 20
    for path in asking:
        response, answer = await gate.post(path, json.dumps(body).encode(), headers=KEY)
        assert response.status == 403, (path, answer)
    assert not gate.pool.tickets and not gate.engine.recorder.requests


async def test_lists_show_what_may_be_asked_for(gate: Front) -> None:
    allow(gate, "coding", EMBEDDER)
    async with gate.session.get(f"{gate.url}/v1/models", headers=KEY) as response:
        assert {row["id"] for row in (await response.json())["data"]} == {"coding", EMBEDDER}
    async with gate.session.get(f"{gate.url}/api/tags", headers=KEY) as response:
        names = {row["name"].removesuffix(":latest") for row in (await response.json())["models"]}
        assert names == {"coding", EMBEDDER}
    for path in (f"/v1/models/{MODEL}", "/v1/models/default"):
        async with gate.session.get(f"{gate.url}{path}", headers=KEY) as response:
            assert response.status == 403, path


async def test_so_many_a_minute(gate: Front) -> None:
    allow(gate, requests_per_minute=2)
    for _ in range(2):
        assert (await ask(gate))[0].status == 200
    response, answer = await ask(gate)
    assert (response.status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 50 <= int(response.headers["Retry-After"]) <= 75
    async with gate.session.get(f"{gate.url}/v1/models", headers=KEY) as listed:
        assert listed.status == 200, "looking costs nothing"
    gate.keys.owners["other"] = Consumer("other", "other", requests_per_minute=2)
    response, _ = await gate.post(CHAT, json.dumps(chat_body()).encode(), headers={"x-api-key": "other"})
    assert response.status == 200, "each key has its own"


async def test_so_many_at_once_and_who_leaves_makes_room(gate: Front) -> None:
    allow(gate, requests_at_once=1)
    held = chat_body(stream=True, x_stand_in={"hold_after_tokens": 1})
    async with asyncio.timeout(20):
        response = await gate.session.post(f"{gate.url}{CHAT}", json=held, headers=KEY)
        await response.content.readany()
        refused, answer = await ask(gate)
        assert (refused.status, answer["error"]["code"]) == (429, "concurrency_limit")
        assert "retry-after" in refused.headers
        response.close()
        await until(lambda: gate.pool.tickets[0].left)
        statuses = [(await ask(gate))[0].status for _ in range(2)]
    assert statuses == [200, 200]


async def test_the_control_socket_has_no_limits(gate: Front) -> None:
    allow(gate, "coding", requests_per_minute=1)
    connector = aiohttp.UnixConnector(str(gate.control_socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(3):
            async with session.post(f"http://anything{CHAT}", json=chat_body()) as response:
                assert response.status == 200
