"""Requests that leave this machine, or would: over real sockets, with stand-ins of paired machines and providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import openai
import pytest

from roost.config.settings import Settings
from roost.errors import CloudRefused
from roost.gateway.deps import GatewayDeps
from roost.nodes.types import Link
from roost.registry.types import Registry, RegistryState
from roost.store.keys import Consumer
from roost.store.types import ActivityRow
from roost.testing.engine import Behaviour, EngineOptions, Serving, serve
from roost.testing.far import FakeCloud, FakeClouds, FakeNodes, FakePeer, peer_model
from roost.testing.pool import FakePool, FakeWorker
from roost.testing.wait import until
from tests.integration.gateway.front import (
    MODEL,
    FakeKeys,
    MemoryActivity,
    State,
    chat_body,
    gateway_deps,
    listening,
    spec,
)

BIG = "org/big"
KEY = {"Authorization": "Bearer k"}
CANDIDATES = {
    "classes": {
        "review": {"candidates": ["local", "basement/coding", "cloud:sky/gpt"]},
        "secret-work": {"candidates": ["cloud:sky/gpt", "local"], "private": True},
        "research": {"candidates": ["cloud:sky/gpt", "local"]},
        "only-cloud": {"candidates": ["cloud:sky/gpt"]},
        "long": {"candidates": [{"to": "basement/coding", "min_prompt_tokens": 50}, "local"]},
    },
    "roles": {"coding": {"candidates": ["basement/coding", "local"]}},
    "clouds": {"sky": {"url": "http://sky", "api_key": "env:SKY"}},
}


@dataclass
class World:
    url: str
    session: aiohttp.ClientSession
    pool: FakePool
    here: Serving
    basement: Serving
    sky: Serving
    nodes: FakeNodes
    clouds: FakeClouds
    state: State
    activity: MemoryActivity
    deps: GatewayDeps

    @property
    def peer(self) -> FakePeer:
        return self.nodes.peers["basement"]

    @property
    def cloud(self) -> FakeCloud:
        return self.clouds.providers["sky"]

    @property
    def worker(self) -> FakeWorker:
        return self.pool.workers[MODEL]

    async def row(self, count: int = 1) -> ActivityRow:
        await until(lambda: len(self.activity.rows) >= count)
        return self.activity.rows[-1]

    async def ask(
        self, model: str, headers: dict[str, str] | None = None, **more: Any
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        body = chat_body(**{"model": model, **more})
        sent = KEY | (headers or {})
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=sent) as response:
            return response, await response.read()

    def set(self, **more: Any) -> None:
        self.state.settings = Settings.model_validate(CANDIDATES | more)


@asynccontextmanager
async def world(
    here: EngineOptions | None = None, basement: EngineOptions | None = None, sky: EngineOptions | None = None
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(serve(one or EngineOptions())) for one in (here, basement, sky)]
        chat = FakeWorker(spec(MODEL), engines[0].url)
        pool = await stack.enter_async_context(FakePool(chat))
        peer = FakePeer(engines[1].url, (peer_model(BIG),), {"coding": BIG})
        nodes = await stack.enter_async_context(FakeNodes({"basement": peer}))
        clouds = await stack.enter_async_context(FakeClouds({"sky": FakeCloud(engines[2].url)}))
        state = State(Settings.model_validate(CANDIDATES), RegistryState(Registry(roles={"default": MODEL})))
        activity = MemoryActivity()
        keys = FakeKeys({"k": Consumer("id", "somebody"), "n": Consumer("other", "private", no_cloud=True)})
        deps = replace(gateway_deps(pool, (chat.spec,), state, activity, keys), nodes=nodes, clouds=clouds)
        url = await stack.enter_async_context(listening(deps, state.settings))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(url, session, pool, engines[0], engines[1], engines[2], nodes, clouds, state, activity, deps)


def answered(response: aiohttp.ClientResponse) -> tuple[str, str, str]:
    headers = response.headers
    return headers["x-roost-node"], headers["x-roost-model"], headers["x-roost-route"]


def bodies(serving: Serving) -> list[Any]:
    return [json.loads(request.body) for request in serving.recorder.requests if request.path.startswith("/v1/")]


async def test_an_id_at_a_paired_machine_is_served_there() -> None:
    async with world() as w:
        response, body = await w.ask(f"{BIG}@basement")
        assert response.status == 200
        assert answered(response) == ("basement", BIG, "peer")
        assert json.loads(body)["model"] == BIG
        assert w.peer.noted == [False]


async def test_an_id_that_only_a_paired_machine_has_is_served_there() -> None:
    async with world() as w:
        response, _ = await w.ask(BIG)
        assert answered(response) == ("basement", BIG, "peer")


async def test_a_role_of_a_paired_machine_is_asked_for_as_its_id() -> None:
    async with world() as w:
        await w.ask("coding@basement")
        assert bodies(w.basement)[-1]["model"] == BIG


async def test_a_role_in_the_registry_may_point_at_a_paired_machine() -> None:
    async with world() as w:
        w.state.registry = RegistryState(Registry(roles={"default": MODEL, "oss": f"{BIG}@basement"}))
        response, _ = await w.ask("oss")
        assert answered(response) == ("basement", BIG, "peer")


async def test_a_name_at_a_machine_that_is_not_paired_is_404() -> None:
    async with world() as w:
        response, body = await w.ask(f"{BIG}@attic")
        assert response.status == 404
        assert json.loads(body)["error"]["code"] == "model_not_found"


async def test_a_name_that_the_paired_machine_does_not_know_is_404() -> None:
    async with world() as w:
        response, _ = await w.ask("nothing@basement")
        assert response.status == 404


async def test_an_id_at_a_machine_that_is_away_is_503_and_never_another_model() -> None:
    async with world() as w:
        w.peer.link = Link.DOWN
        response, body = await w.ask(f"{BIG}@basement")
        assert response.status == 503
        assert json.loads(body)["error"]["code"] == "node_unreachable"
        assert not bodies(w.here)


async def test_a_stream_comes_from_the_paired_machine_as_it_would_from_here() -> None:
    async with world() as w:
        client = openai.AsyncOpenAI(base_url=f"{w.url}/v1", api_key="k", max_retries=0)
        async with client:
            stream = await client.chat.completions.create(
                model=BIG, messages=[{"role": "user", "content": "two?"}], stream=True
            )
            chunks = [chunk async for chunk in stream]
        assert all(chunk.model == BIG for chunk in chunks)
        assert all(chunk.choices for chunk in chunks), "the usage that roost asks for itself is not the client's"
        assert bodies(w.basement)[-1]["stream_options"] == {"include_usage": True}
        await until(lambda: bool(w.activity.rows))
        assert w.activity.rows[-1].prompt_tokens


async def test_a_class_goes_to_its_first_candidate() -> None:
    async with world() as w:
        response, _ = await w.ask("review")
        assert answered(response) == ("here", MODEL, "resident-class")


async def test_a_class_in_the_header_decides_where_a_role_goes() -> None:
    async with world() as w:
        response, _ = await w.ask("default", {"x-roost-class": "research"})
        assert answered(response) == ("cloud:sky", "gpt", "cloud-class")


async def test_a_class_that_nobody_knows_is_400() -> None:
    async with world() as w:
        response, body = await w.ask("default", {"x-roost-class": "reserch"})
        assert response.status == 400
        assert "research" in json.loads(body)["error"]["message"]


async def test_a_physical_id_stays_what_it_is_under_any_class() -> None:
    async with world() as w:
        response, _ = await w.ask(MODEL, {"x-roost-class": "research"})
        assert answered(response)[:2] == ("here", MODEL)
        assert not bodies(w.sky)


async def test_a_candidate_that_is_away_is_passed_over_and_another_serves() -> None:
    async with world() as w:
        w.peer.link = Link.DOWN
        response, _ = await w.ask("coding")
        assert answered(response) == ("here", MODEL, "resident-default")


async def test_a_candidate_that_breaks_before_its_first_byte_is_followed_by_the_next() -> None:
    async with world(basement=EngineOptions(behave=Behaviour(die_after_tokens=0))) as w:
        for stream in (False, True):
            response, body = await w.ask("coding", stream=stream)
            assert response.status == 200, body
            assert answered(response)[0] == "here"
            assert answered(response)[2].endswith("-fallback")
            assert response.headers["x-roost-tried"].startswith("basement/coding=")
        assert True in w.peer.noted


async def test_a_candidate_that_is_silent_is_given_up_and_the_next_serves() -> None:
    async with world(basement=EngineOptions(behave=Behaviour(hang_after_tokens=0))) as w:
        w.peer.first_byte_s = 0.2
        response, _ = await w.ask("coding", stream=True)
        assert response.headers["x-roost-tried"] == "basement/coding=upstream_stalled"


async def test_a_machine_that_goes_away_while_it_is_asked_is_not_waited_for() -> None:
    async with world(basement=EngineOptions(behave=Behaviour(hang_after_tokens=0))) as w:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(w.ask("coding", stream=True))
            await until(lambda: bool(bodies(w.basement)))
            w.peer.link = Link.DOWN
        response, _ = asked.result()
        assert answered(response)[0] == "here"
        assert response.headers["x-roost-tried"] == "basement/coding=upstream_stalled"


async def test_a_stream_that_breaks_in_the_middle_ends_in_an_error_and_is_not_begun_anew() -> None:
    async with world(basement=EngineOptions(behave=Behaviour(abort_after_tokens=2))) as w:
        response, body = await w.ask("coding", stream=True)
        assert response.status == 200
        assert b'"error"' in body
        assert b"[DONE]" not in body
        assert not bodies(w.here)


async def test_fallback_never_takes_the_error_of_the_first() -> None:
    async with world() as w:
        w.peer.link = Link.DOWN
        response, body = await w.ask("coding", {"x-roost-fallback": "never"})
        assert response.status == 503
        assert "basement" in json.loads(body)["error"]["message"]
        assert not bodies(w.here)


async def test_who_is_busy_for_too_long_is_followed_by_the_next() -> None:
    async with world() as w:
        w.set(queue={"max_wait_s": 0.1})
        w.worker.loaded.clear()
        for stream in (False, True):
            messages = [{"role": "user", "content": f"stream {stream}"}]
            response, _ = await w.ask("review", stream=stream, messages=messages)
            assert answered(response) == ("basement", BIG, "peer-class-spillover")
            assert response.headers["x-roost-tried"] == "local=concurrency_limit"
        assert all(ticket.left for ticket in w.pool.tickets)


async def test_when_everybody_else_fails_the_busy_one_is_waited_for_after_all() -> None:
    async with world(basement=EngineOptions(behave=Behaviour(die_after_tokens=0))) as w:
        w.set(queue={"max_wait_s": 0.05})
        w.cloud.closed = "offline"
        w.worker.loaded.clear()
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(w.ask("review"))
            await until(lambda: len(w.pool.tickets) == 2)
            w.worker.loaded.set()
        response, _ = asked.result()
        assert response.status == 200
        assert answered(response)[0] == "here"


async def test_a_conversation_that_went_elsewhere_goes_there_again() -> None:
    async with world() as w:
        w.set(queue={"max_wait_s": 0.05})
        w.worker.loaded.clear()
        first = [{"role": "user", "content": "a story"}]
        await w.ask("review", messages=first)
        w.worker.loaded.set()
        more = [*first, {"role": "assistant", "content": "once"}, {"role": "user", "content": "go on"}]
        response, _ = await w.ask("review", messages=more)
        assert answered(response) == ("basement", BIG, "peer-class-kept")
        response, _ = await w.ask("review", messages=[{"role": "user", "content": "another story"}])
        assert answered(response)[0] == "here"


async def test_a_long_prompt_goes_where_long_prompts_go() -> None:
    async with world() as w:
        response, _ = await w.ask("long", messages=[{"role": "user", "content": "word " * 100}])
        assert answered(response)[0] == "basement"
        response, _ = await w.ask("long")
        assert answered(response)[0] == "here"


async def test_a_provider_is_asked_with_its_own_key_and_nothing_of_the_clients() -> None:
    async with world() as w:
        response, _ = await w.ask("research", max_tokens=7)
        assert answered(response) == ("cloud:sky", "gpt", "cloud-class")
        request = next(one for one in w.sky.recorder.requests if one.path == "/v1/chat/completions")
        assert request.header("Authorization") == "Bearer sk-of-the-provider"
        assert json.loads(request.body)["max_completion_tokens"] == 7
        assert "max_tokens" not in json.loads(request.body)
        booked = w.clouds.booked[-1]
        assert booked[:3] == ("sky", "gpt", "somebody")
        assert booked[3] > 0
        assert booked[5] > 0


async def test_a_provider_that_refuses_is_followed_by_the_local_one_which_says_so() -> None:
    for status, code in ((429, "rate_limit_exceeded"), (500, "cloud_refused"), (401, "cloud_refused")):
        async with world(sky=EngineOptions(behave=Behaviour(status=status, body="{}"))) as w:
            response, _ = await w.ask("research")
            assert answered(response) == ("here", MODEL, "resident-class-fallback")
            assert response.headers["x-roost-tried"] == f"cloud:sky/gpt={code}"
            assert not w.clouds.booked


async def test_a_bad_request_is_the_clients_and_nobody_else_is_asked() -> None:
    async with world(
        sky=EngineOptions(behave=Behaviour(status=400, body='{"error": {"message": "bad temperature"}}'))
    ) as w:
        response, body = await w.ask("research")
        assert response.status == 400
        assert "bad temperature" in json.loads(body)["error"]["message"]
        assert not bodies(w.here)


async def test_offline_the_declared_local_model_answers() -> None:
    async with world() as w:
        w.cloud.refusal = CloudRefused("offline")
        response, _ = await w.ask("research")
        assert answered(response) == ("here", MODEL, "resident-class-fallback")


async def test_a_retry_after_of_a_provider_is_handed_on() -> None:
    behaviour = Behaviour(status=429, body="{}", headers={"Retry-After": "17"})
    async with world(sky=EngineOptions(behave=behaviour)) as w:
        response, _ = await w.ask("only-cloud")
        assert response.status == 429
        assert 17 <= int(response.headers["Retry-After"]) <= 25


PRIVATE: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("secret-work", {}, {}),
    ("research", {"x-roost-local-only": "1"}, {}),
    ("research", {"Authorization": "Bearer n"}, {}),
    ("research", {}, {"privacy": {"local_only": True}}),
    ("default", {"x-roost-class": "secret-work"}, {}),
]


@pytest.mark.parametrize(("model", "headers", "settings"), PRIVATE)
async def test_what_is_private_never_reaches_a_provider(
    model: str, headers: dict[str, str], settings: dict[str, Any]
) -> None:
    async with world() as w:
        w.set(**settings)
        response, _ = await w.ask(model, headers)
        assert answered(response)[0] == "here"
        w.worker.loaded.clear()
        w.worker.refusal = CloudRefused("whatever")
        response, _ = await w.ask(model, headers)
        assert response.status == 503
        assert not bodies(w.sky)


async def test_a_request_without_a_key_never_reaches_a_provider() -> None:
    async with world() as w:
        w.deps.keys.owners.clear()  # type: ignore[attr-defined]
        response, body = await w.ask("only-cloud")
        assert response.status == 503
        assert "key" in json.loads(body)["error"]["message"]
        assert not bodies(w.sky)


async def test_a_secret_stays_here() -> None:
    async with world() as w:
        response, _ = await w.ask("research", messages=[{"role": "user", "content": "use SECRET-1 please"}])
        assert answered(response)[0] == "here"
        assert response.headers["x-roost-tried"] == "cloud:sky/gpt=secret_in_prompt"
        response, body = await w.ask("only-cloud", messages=[{"role": "user", "content": "use SECRET-1 please"}])
        assert response.status == 403
        assert b"SECRET-1" not in body
        assert not bodies(w.sky)


async def test_a_secret_is_refused_where_the_settings_say_so() -> None:
    async with world() as w:
        w.set(privacy={"secrets": "refuse"})
        response, body = await w.ask("research", tools=[{"type": "function", "function": {"name": "SECRET-2"}}])
        assert (response.status, json.loads(body)["error"]["code"]) == (403, "secret_in_prompt")
        assert not bodies(w.sky)


async def test_a_key_for_some_names_may_use_neither_the_others_nor_classes() -> None:
    async with world() as w:
        w.deps.keys.owners["k"] = Consumer("id", "some", names=frozenset({"default"}))  # type: ignore[attr-defined]
        for model, headers in (("research", {}), (BIG, {}), ("default", {"x-roost-class": "research"})):
            response, _ = await w.ask(model, headers)
            assert response.status == 403, model
        response, _ = await w.ask("default")
        assert response.status == 200


async def test_the_list_has_classes_and_the_models_of_paired_machines() -> None:
    async with world() as w:
        async with w.session.get(f"{w.url}/v1/models", headers=KEY) as response:
            rows = {row["id"]: row["roost"] for row in (await response.json())["data"]}
        assert rows["review"]["kind"] == "class"
        assert rows[BIG]["node"] == rows[f"{BIG}@basement"]["node"] == "basement"
        assert rows[BIG]["state"] == "resident"


async def test_explain_tells_each_candidate_and_where_it_would_go() -> None:
    async with world() as w:
        w.deps.keys.owners["k"] = Consumer("id", "somebody", admin=True)  # type: ignore[attr-defined]
        w.peer.link = Link.DOWN
        async with w.session.get(
            f"{w.url}/roost/v1/explain", params={"name": "long", "prompt_tokens": "60"}, headers=KEY
        ) as response:
            found = await response.json()
        assert [step["may_serve"] for step in found["steps"]] == [False, True]
        assert found["goes_to"] == {"to": "local", "model": MODEL}
        assert not bodies(w.here)


async def test_every_dialect_goes_the_same_ways() -> None:
    messages = [{"role": "user", "content": "two?"}]
    asks: dict[str, dict[str, Any]] = {
        "/v1/messages": {"model": "coding", "max_tokens": 9, "messages": messages},
        "/v1/responses": {"model": "coding", "input": "two?"},
        "/api/chat": {"model": "coding", "messages": messages, "stream": False},
        "/v1/embeddings": {"model": f"{BIG}@basement", "input": "two?"},
    }
    async with world() as w:
        w.peer.models = (peer_model(BIG, capabilities=frozenset({"chat", "embedding"})),)
        for path, body in asks.items():
            async with w.session.post(f"{w.url}{path}", json=body, headers=KEY) as response:
                said = await response.read()
                assert response.status == 200, (path, said)
                assert response.headers["x-roost-node"] == "basement", path
        w.peer.link = Link.DOWN
        for path in ("/v1/messages", "/v1/responses", "/api/chat"):
            async with w.session.post(f"{w.url}{path}", json=asks[path], headers=KEY) as response:
                assert response.status == 200, path
                assert response.headers["x-roost-node"] == "here", path


async def test_decisions_keep_what_became_of_each_candidate() -> None:
    async with world() as w:
        w.deps.keys.owners["k"] = Consumer("id", "somebody", admin=True)  # type: ignore[attr-defined]
        w.peer.link = Link.DOWN
        await w.ask("coding")
        async with w.session.get(f"{w.url}/roost/v1/decisions", headers=KEY) as response:
            newest = (await response.json())["decisions"][0]
        assert newest["node"] == "here"
        assert any("basement" in step and "away" in step for step in newest["steps"])


async def test_an_error_of_a_paired_roost_keeps_its_code() -> None:
    error = {"error": {"message": "full", "type": "rate_limit_error", "param": None, "code": "concurrency_limit"}}
    behaviour = Behaviour(status=429, body=json.dumps(error), headers={"Retry-After": "3"})
    async with world(basement=EngineOptions(behave=behaviour)) as w:
        response, body = await w.ask(BIG)
        assert (response.status, json.loads(body)["error"]["code"]) == (429, "concurrency_limit")
        assert int(response.headers["Retry-After"]) >= 3
