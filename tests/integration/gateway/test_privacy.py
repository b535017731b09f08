"""Thousands of requests in every dialect: what is private, and what holds a secret, never reaches a provider."""

from __future__ import annotations

import asyncio
import json
import random
import string
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from roost.cloud.money import Books
from roost.cloud.providers import Providers
from roost.config.settings import Settings
from roost.registry.types import Registry, RegistryState
from roost.store.keys import Consumer
from roost.testing.cloud import KEY, CloudStandIn
from roost.testing.engine import EngineOptions, serve
from roost.testing.pool import FakePool, FakeWorker
from tests.integration.gateway.front import MODEL, FakeKeys, MemoryActivity, State, gateway_deps, listening, spec

#: Of the quick run, and of the thorough one.
FEW, MANY = 2_000, 10_000
AT_ONCE = 12
SETTINGS: dict[str, Any] = {
    "classes": {
        "open": {"candidates": ["cloud:sky/gpt", "local"]},
        "claude": {"candidates": ["cloud:ant/claude", "local"]},
        "private": {"candidates": ["cloud:sky/gpt", "cloud:ant/claude", "local"], "private": True},
        "cloud-only": {"candidates": ["cloud:sky/gpt", "cloud:ant/claude"]},
    },
    "roles": {
        "coding": {"candidates": ["cloud:sky/gpt", "local"]},
        "oss": {"candidates": ["cloud:sky/gpt", "local"], "private": True},
    },
}
OWNERS = {
    "open-key": Consumer("1", "open"),
    "shut-key": Consumer("2", "shut", no_cloud=True),
}
OPEN_NAMES = ("open", "claude", "cloud-only", "coding", "cloud:sky/gpt", "cloud:ant/claude")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
PRIVATE_NAMES = ("private", "oss")


def _letters(random_: random.Random, count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(random_.choices(alphabet, k=count))


#: Shapes of secrets, each made anew.
SECRETS: tuple[Callable[[random.Random], str], ...] = (
    lambda r: f"AKIA{_letters(r, 16, string.ascii_uppercase + '234567')}",
    lambda r: f"ghp_{_letters(r, 36)}",
    lambda r: f"sk-ant-api03-{_letters(r, 40)}",
    lambda r: f"sk-proj-{_letters(r, 40)}",
    lambda r: f"roost-{_letters(r, 12, '0123456789abcdef')}-{_letters(r, 64, '0123456789abcdef')}",
    lambda r: f"hf_{_letters(r, 34)}",
    lambda r: f"AIza{_letters(r, 35)}",
    lambda r: f"xoxb-{_letters(r, 11, string.digits)}-{_letters(r, 12, string.digits)}-{_letters(r, 24)}",
    lambda r: f"-----BEGIN RSA PRIVATE KEY-----\n{_letters(r, 64)}\n{_letters(r, 64)}\n-----END RSA PRIVATE KEY-----",
    lambda r: f"postgres://app:{_letters(r, 14)}7q@db.internal:5432/main",
    lambda r: f'password = "{_letters(r, 10)}7{_letters(r, 10)}x9"',
)


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    #: In its text, and in no other's.
    mark: str
    may_leave: bool


def generated(random_: random.Random, number: int) -> Asked:
    """One request: any dialect, any name, perhaps private for one of five reasons, perhaps with a secret anywhere."""
    mark = f"mark-{number}-end"
    private = random_.random() < 0.4
    secret = random_.choice(SECRETS)(random_) if random_.random() < 0.4 else None
    headers = {"x-api-key": "open-key"}
    model = random_.choice(OPEN_NAMES)
    if private:
        match random_.randrange(4):
            case 0:
                model = random_.choice(PRIVATE_NAMES)
            case 1:
                headers["x-roost-local-only"] = random_.choice(["1", "true", "yes", "on"])
            case 2:
                headers["x-api-key"] = "shut-key"
            case 3:
                # Beside any name, those of providers too.
                model, headers["x-roost-class"] = random_.choice(("default", *OPEN_NAMES)), "private"
    elif random_.random() < 0.2 and not model.startswith("cloud:"):
        model, headers["x-roost-class"] = "default", "open"
    path, body = _body(random_, model, mark, secret)
    return Asked(path, headers, body, mark, not private and secret is None)


def _body(random_: random.Random, model: str, mark: str, secret: str | None) -> tuple[str, dict[str, Any]]:
    """The secret stands in one of the places where a dialect keeps text."""
    spot = random_.randrange(5) if secret else -1
    said = [f"Please look at this, {mark}. "] + [""] * 5
    if secret is not None:
        around = random_.choice(["", "the value is ", "x = 1\n", "\n\n", "Here: "])
        said[spot if spot < 5 else 0] += f"{around}{secret} "
    stream = random_.random() < 0.3
    match random_.randrange(4):
        case 0:
            parts: Any = f"{said[0]}{said[1]}"
            if random_.random() < 0.5:
                parts = [{"type": "text", "text": said[0]}, {"type": "text", "text": f"and {said[1]}"}]
            messages = [
                {"role": "system", "content": f"Be kind. {said[2]}"},
                {"role": "user", "content": parts},
                {"role": "assistant", "content": f"I am. {said[3]}"},
                {"role": "user", "content": "go on"},
            ]
            tool = {
                "name": "f",
                "description": f"A tool. {said[4]}",
                "parameters": {"type": "object", "properties": {}},
            }
            more = {"tools": [{"type": "function", "function": tool}]} if said[4] or random_.random() < 0.2 else {}
            return "/v1/chat/completions", {"model": model, "messages": messages, "stream": stream, **more}
        case 1:
            result = {"type": "tool_result", "tool_use_id": "t", "content": f"42 {said[3]}"}
            call = {"type": "tool_use", "id": "t", "name": "f", "input": {"q": f"what {said[4]}"}}
            turns = [
                {"role": "user", "content": [{"type": "text", "text": f"{said[0]}{said[1]}"}]},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ]
            body = {"model": model, "system": f"Be kind. {said[2]}", "max_tokens": 9, "messages": turns}
            tools = [{"name": "f", "description": "A tool", "input_schema": SCHEMA}]
            return "/v1/messages", {**body, "tools": tools, "stream": stream}
        case 2:
            items = [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": f"{said[0]}{said[1]}"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"q": said[3]})},
                {"type": "function_call_output", "call_id": "c", "output": f"42 {said[4]}"},
            ]
            return "/v1/responses", {
                "model": model,
                "instructions": f"Kind. {said[2]}",
                "input": items,
                "stream": stream,
            }
    text = "".join(said)
    return "/api/chat", {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}


@asynccontextmanager
async def house() -> AsyncIterator[tuple[str, CloudStandIn, State]]:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(serve(EngineOptions()))
        cloud = await stack.enter_async_context(CloudStandIn())
        worker = FakeWorker(spec(MODEL, "chat", "completion", "tools"), engine.url, concurrency=100, most_requests=1000)
        pool = await stack.enter_async_context(FakePool(worker))
        providers = {
            "sky": {"url": cloud.url, "api_key": "env:SKY"},
            "ant": {"url": cloud.url, "api_key": "env:SKY", "kind": "anthropic"},
        }
        settings = Settings.model_validate({**SETTINGS, "clouds": providers})
        state = State(settings, RegistryState(Registry(roles={"default": MODEL})))
        clouds = Providers(lambda: state.settings.clouds, {"SKY": KEY}, Books(lambda booking: None, time.time))
        stack.push_async_callback(clouds.close)
        deps = gateway_deps(pool, (worker.spec,), state, MemoryActivity(), FakeKeys(dict(OWNERS)))
        yield await stack.enter_async_context(listening(replace(deps, clouds=clouds), settings)), cloud, state


async def sent(url: str, asks: list[Asked]) -> None:
    """All of them, some at once."""
    waiting = iter(asks)

    async def one_after_another(session: aiohttp.ClientSession) -> None:
        for ask in waiting:
            async with session.post(f"{url}{ask.path}", json=ask.body, headers=ask.headers) as response:
                body = await response.read()
                assert response.status in (200, 403, 503), (ask, response.status, body)
                assert response.status == 200 or not ask.may_leave, (ask, response.status, body)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(one_after_another(session))


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.thorough)])
async def test_nothing_private_and_no_secret_ever_reaches_a_provider(count: int) -> None:
    random_ = random.Random(20261128)
    asks = [generated(random_, number) for number in range(count)]
    async with house() as (url, cloud, state):
        await sent(url, asks)
        text = "\n".join(request.raw.decode() for request in cloud.requests)
        came = {ask.mark for ask in asks if ask.mark in text}
        assert not [ask for ask in asks if ask.mark in came and not ask.may_leave]
        # The check could fail: what may leave has left.
        may_leave = [ask for ask in asks if ask.may_leave]
        assert len(may_leave) > count / 5
        assert sum(ask.mark in came for ask in may_leave) > 0.95 * len(may_leave)

        cloud.requests.clear()
        privacy = state.settings.privacy.model_copy(update={"local_only": True})
        state.settings = state.settings.model_copy(update={"privacy": privacy})
        await sent(url, [replace(ask, may_leave=False) for ask in asks[:300]])
        assert not cloud.requests
