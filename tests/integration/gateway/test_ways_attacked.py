"""Requests made to get past the rules of where they may go: over real sockets, with stand-ins behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from roost.nodes.types import Link
from roost.store.keys import Consumer
from roost.testing.engine import Behaviour, EngineOptions
from roost.testing.wait import until
from tests.integration.gateway.front import chat_body
from tests.integration.gateway.test_ways import BIG, KEY, MODEL, World, answered, bodies, world

SECRET = "use SECRET-1 please"


async def raw(w: World, path: str, body: str, *headers: tuple[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Bytes as they are, and headers that may stand twice."""
    sent = [("Content-Type", "application/json"), *KEY.items(), *headers]
    async with w.session.post(f"{w.url}{path}", data=body.encode(), headers=sent) as response:
        return response.status, dict(response.headers), await response.read()


@pytest.mark.parametrize("model", ["cloud:sky/gpt", "research", "only-cloud"])
async def test_a_private_class_in_the_header_is_private_whatever_the_model_is(model: str) -> None:
    async with world() as w:
        await w.ask(model, {"x-roost-class": "secret-work"})
        assert not bodies(w.sky)


async def test_a_private_class_as_the_model_is_private_under_any_class_in_the_header() -> None:
    async with world() as w:
        response, _ = await w.ask("secret-work", {"x-roost-class": "research"})
        assert not bodies(w.sky)
        assert answered(response)[0] == "here"


CHAT = json.dumps({"model": "research", "messages": [{"role": "user", "content": "Hello"}]})


@pytest.mark.parametrize("header", ["x-roost-local-only", "x-roost-class", "x-roost-fallback"])
async def test_a_header_that_decides_where_a_request_goes_stands_once(header: str) -> None:
    values = {"x-roost-local-only": ("0", "1"), "x-roost-class": ("research", "secret-work")}
    async with world() as w:
        first, second = values.get(header, ("no", "never"))
        status, _, _ = await raw(w, "/v1/chat/completions", CHAT, (header, first), (header, second))
        assert status == 400
        assert not bodies(w.sky)


@pytest.mark.parametrize("never", ["never", "Never", "NEVER"])
async def test_fallback_never_is_read_in_any_case(never: str) -> None:
    async with world(sky=EngineOptions(behave=Behaviour(status=500, body="{}"))) as w:
        response, _ = await w.ask("research", {"x-roost-fallback": never})
        assert response.status == 503
        assert "x-roost-tried" not in response.headers


TWICE = [
    ("/v1/chat/completions", '{"model":"research","messages":[{"role":"user","content":"%s","content":"hi"}]}'),
    (
        "/v1/messages",
        '{"model":"research","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":'
        '[{"name":"a","input_schema":{"type":"object","description":"%s","description":"b"}}]}',
    ),
    (
        "/v1/responses",
        '{"model":"research","input":"hi","tools":[{"type":"function","name":"a","parameters":'
        '{"type":"object","description":"%s","description":"b"}}]}',
    ),
    ("/api/chat", '{"model":"research","stream":false,"messages":[{"role":"user","content":"%s","content":"hi"}]}'),
]


@pytest.mark.parametrize(("path", "body"), TWICE)
async def test_a_secret_behind_a_key_that_stands_twice_stays_here(path: str, body: str) -> None:
    async with world() as w:
        await raw(w, path, body % SECRET)
        assert not any("SECRET-1" in request.body.decode() for request in w.sky.recorder.requests)


PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
HIDDEN: list[Any] = [
    [{"role": "user", "content": f"data:image/png;base64,AAAA and {SECRET}"}],
    [{"role": "user", "content": [{"type": "text", "text": f"{PICTURE}\n{SECRET}"}]}],
    [{"role": "user", "content": [{"type": "text", "text": "hi", "media_type": "image/png", "data": SECRET}]}],
    [{"role": "user", "content": "hi", "SECRET-1": 1}],
]


@pytest.mark.parametrize("messages", HIDDEN)
async def test_a_secret_that_says_it_is_an_image_stays_here(messages: Any) -> None:
    async with world() as w:
        response, _ = await w.ask("research", messages=messages)
        assert answered(response)[0] == "here"
        assert not bodies(w.sky)


async def test_an_id_that_only_a_paired_machine_has_stays_what_it_is_under_any_class() -> None:
    async with world() as w:
        response, _ = await w.ask(BIG, {"x-roost-class": "research"})
        assert answered(response)[:2] == ("basement", BIG)
        response, _ = await w.ask("no-such-model", {"x-roost-class": "research"})
        assert response.status == 404
        assert not bodies(w.sky)


async def test_an_error_about_a_secret_names_the_place_that_refused_it() -> None:
    async with world(here=EngineOptions(behave=Behaviour(status=500, body="{}"))) as w:
        w.set(classes={"first-here": {"candidates": ["local", "cloud:sky/gpt"]}})
        response, _ = await w.ask("first-here", messages=[{"role": "user", "content": SECRET}])
        assert response.status == 403
        assert (response.headers["x-roost-node"], response.headers["x-roost-model"]) == ("cloud:sky", "gpt")


async def test_a_role_that_requires_what_the_first_candidate_lacks_goes_to_the_next() -> None:
    async with world() as w:
        w.set(roles={"coding": {"candidates": ["cloud:sky/gpt", "local"], "requires": ["chat"]}})
        response, _ = await w.ask("coding")
        assert answered(response)[0] == "cloud:sky"
        w.set(roles={"coding": {"candidates": ["cloud:sky/gpt", "local"], "requires": ["completion"]}})
        response, _ = await w.ask("coding")
        assert (response.status, *answered(response)[:2]) == (200, "here", MODEL)


async def test_a_clamp_of_a_role_holds_at_a_provider_with_another_word_for_it() -> None:
    async with world() as w:
        filters = {"clamp": {"max_tokens": {"max": 100}}}
        w.set(roles={"coding": {"candidates": ["cloud:sky/gpt"], "filters": filters}})
        await w.ask("coding", max_tokens=5000)
        assert (bodies(w.sky)[-1]["max_completion_tokens"], "max_tokens" in bodies(w.sky)[-1]) == (100, False)
        w.set(roles={"coding": {"candidates": ["cloud:sky/gpt"], "filters": {"set": {"max_tokens": 7}}}})
        await w.ask("coding")
        assert (bodies(w.sky)[-1]["max_completion_tokens"], "max_tokens" in bodies(w.sky)[-1]) == (7, False)


async def test_a_whole_answer_that_breaks_has_been_counted_by_nobody() -> None:
    behaviour = Behaviour(tokens=20, abort_after_tokens=9)
    async with world(sky=EngineOptions(behave=behaviour)) as w:
        response, _ = await w.ask("research")
        assert answered(response)[0] == "here"
        assert not w.clouds.booked


async def test_what_one_candidate_counted_is_not_booked_for_the_next() -> None:
    frame, busy = Behaviour(error_frame_after=0), Behaviour(status=429, body="{}")
    async with world(basement=EngineOptions(behave=frame), sky=EngineOptions(behave=busy)) as w:
        w.set(classes={"two": {"candidates": ["basement/coding", "cloud:sky/gpt"]}})
        response, _ = await w.ask("two", stream=True)
        assert response.status == 429
        assert not w.clouds.booked


async def test_a_restricted_key_asks_for_no_place_by_another_spelling() -> None:
    async with world() as w:
        w.deps.keys.owners["k"] = Consumer("id", "some", names=frozenset({"default"}))  # type: ignore[attr-defined]
        for name in ("cloud:sky/gpt", f"{BIG}@basement", "default@here", "default@basement", "Default"):
            for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
                body = {"model": name, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
                status, _, _ = await raw(w, path, json.dumps(body))
                assert status == 403, (name, path)
        assert not bodies(w.sky)


async def test_an_error_in_a_stream_before_its_first_word_is_followed_by_the_next() -> None:
    async with world(sky=EngineOptions(behave=Behaviour(error_frame_after=0))) as w:
        response, body = await w.ask("research", stream=True)
        assert (response.status, answered(response)[0]) == (200, "here")
        assert b"[DONE]" in body
        assert not w.clouds.booked


async def test_who_leaves_a_provider_before_its_first_word_has_the_prompt_booked() -> None:
    async with world(sky=EngineOptions(behave=Behaviour(hang_after_tokens=0))) as w:
        asked = w.session.post(
            f"{w.url}/v1/chat/completions",
            json=chat_body(model="only-cloud", stream=True),
            headers=KEY,
            timeout=aiohttp.ClientTimeout(total=0.5),
        )
        with pytest.raises(TimeoutError):
            await asked
        await until(lambda: bool(w.clouds.booked))
        assert w.clouds.booked[0][3] > 0
        assert (await w.row()).status == 499


@pytest.mark.parametrize("status", [402, 404, 413])
async def test_a_provider_that_cannot_do_it_is_followed_by_the_next(status: int) -> None:
    async with world(sky=EngineOptions(behave=Behaviour(status=status, body="{}"))) as w:
        response, _ = await w.ask("research")
        assert (response.status, answered(response)[0]) == (200, "here")
        response, _ = await w.ask("only-cloud")
        assert response.status >= 400


async def test_a_provider_without_the_route_is_followed_by_the_next() -> None:
    async with world() as w:
        w.cloud.surfaces = frozenset({"chat"})
        async with w.session.post(
            f"{w.url}/v1/completions", json={"model": "research", "prompt": "hi"}, headers=KEY
        ) as response:
            assert (response.status, answered(response)[0]) == (200, "here")
        assert not bodies(w.sky)


async def test_a_stream_of_a_provider_that_hangs_is_left_for_the_next_before_its_client_was_told_anything() -> None:
    async with world(sky=EngineOptions(behave=Behaviour(hang_after_tokens=0))) as w:
        sky = {"url": "http://sky", "api_key": "env:SKY", "first_byte_s": 1.8}
        w.set(queue={"max_wait_s": 0.2}, gateway={"heartbeat_s": 0.1}, clouds={"sky": sky})
        w.cloud.first_byte_s = 1.8
        response, body = await w.ask("research", stream=True)
        assert (response.status, answered(response)[0]) == (200, "here")
        assert b"[DONE]" in body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_paired_machine_that_answers_with_another_model_is_not_believed(stream: bool) -> None:
    behaviour = Behaviour(headers={"x-roost-model": "org/other"})
    async with world(basement=EngineOptions(behave=behaviour)) as w:
        response, body = await w.ask(BIG, stream=stream)
        assert (response.status, response.headers["x-roost-model"]) == (502, BIG)
        assert b"choices" not in body
        response, _ = await w.ask("coding", stream=stream)
        assert answered(response)[:2] == ("here", MODEL)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"])
async def test_what_a_machine_that_has_told_nothing_yet_answers_with_is_told_as_it_is(path: str, stream: bool) -> None:
    behaviour = Behaviour(headers={"x-roost-model": BIG})
    async with world(basement=EngineOptions(behave=behaviour)) as w:
        w.peer.models, w.peer.roles, w.peer.link = (), {}, Link.CONNECTING
        said = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "input": "hi", "stream": stream}
        sent = {key: value for key, value in said.items() if (key != "input") is (path != "/v1/responses")}
        status, headers, body = await raw(w, path, json.dumps({"model": "coding@basement", **sent, "stream": stream}))
        assert status == 200, body
        assert {name.lower(): value for name, value in headers.items()}["x-roost-model"] == BIG
        assert b"coding@basement" not in body and f'"{BIG}"'.encode() in body


async def test_local_only_that_is_set_while_a_request_waits_holds_for_it() -> None:
    async with world(basement=EngineOptions(behave=Behaviour(hang_after_tokens=0))) as w:
        classes = {"two": {"candidates": ["basement/coding", "cloud:sky/gpt"]}}
        w.set(classes=classes)
        w.peer.first_byte_s = 0.5
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(w.ask("two", stream=True))
            await until(lambda: bool(w.basement.recorder.requests))
            w.set(classes=classes, privacy={"local_only": True})
        assert asked.result()[0].status == 503
        assert not bodies(w.sky)


@pytest.mark.parametrize("name", ["cloud:", "cloud:/", "cloud:sky", "cloud:sky/", "cloud:nope/gpt"])
async def test_a_provider_that_nobody_knows_is_404(name: str) -> None:
    async with world() as w:
        response, body = await w.ask(name)
        assert (response.status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("model", ["coding", "research"])
async def test_tokens_are_counted_by_the_first_candidate_that_counts(model: str) -> None:
    async def count(route: str, body: bytes) -> int | None:
        return 42

    async with world() as w:
        w.worker.count_prompt_tokens = count
        body = json.dumps({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
        status, _, said = await raw(w, "/v1/messages/count_tokens", body)
        assert (status, json.loads(said)) == (200, {"input_tokens": 42})
        assert not bodies(w.sky) and not bodies(w.basement)
        assert not w.clouds.booked


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_paired_machine_that_refuses_one_request_is_there_for_others(status: int) -> None:
    behaviour = Behaviour(status=status, body='{"error": {"code": "model_not_resident", "message": "no"}}')
    async with world(basement=EngineOptions(behave=behaviour)) as w:
        response, _ = await w.ask(BIG)
        assert response.status >= 429
        assert w.peer.noted == [False]
    async with world(sky=EngineOptions(behave=Behaviour(status=status, body="{}"))) as w:
        await w.ask("only-cloud")
        assert w.cloud.noted == [True]
