"""Routes for llama-swap's scripts: relayed bodies, what runs, unloading, logs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roost.config.settings import FilterSettings, ModelSettings, ProfileSettings, SelectorSettings, Strategy
from roost.testing.wait import until
from tests.integration.gateway.front import MODEL, Front, changed

AUDIO = b"\x00\xff\r\n--" * 3000


def form(**fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("file", AUDIO, filename="a.wav", content_type="audio/wav")
    for name, value in fields.items():
        data.add_field(name, value)
    return data


async def post(gate: Front, path: str, **arguments: Any) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    async with gate.session.post(gate.url + path, **arguments) as response:
        return response, json.loads(await response.read())


async def test_a_form_goes_to_its_model_with_the_files_bytes_as_they_came(gate: Front) -> None:
    gate.worker.served_name = "the-workers-own-name"
    response, body = await post(gate, "/v1/audio/transcriptions", data=form(model="default", language="de"))
    seen = gate.engine.recorder.requests[-1]
    assert (response.status, body["bytes"], body["digest"]) == (200, len(seen.body), seen.digest)
    assert AUDIO in seen.body and b"\r\n\r\nthe-workers-own-name\r\n" in seen.body and b"default" not in seen.body
    assert response.headers["x-roost-model"] == MODEL and "X-Own" not in response.headers
    row = await gate.row()
    assert (row.requested, row.resolved, row.status) == ("default", MODEL, 200)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "missing_required_parameter"),
        ({"model": ""}, 400, "missing_required_parameter"),
        ({"model": "nobody"}, 404, "model_not_found"),
    ],
)
async def test_a_form_without_a_known_model_reaches_nobody(
    gate: Front, fields: dict[str, str], status: int, code: str
) -> None:
    response, body = await post(gate, "/v1/audio/transcriptions", data=form(**fields))
    assert (response.status, body["error"]["code"]) == (status, code)
    assert not gate.engine.recorder.requests


async def test_a_form_over_the_limit_is_refused_and_so_is_another_type(gate: Front) -> None:
    changed(gate.state, gateway=gate.state.settings.gateway.model_copy(update={"max_body_bytes": 4096}))
    response, body = await post(gate, "/v1/audio/transcriptions", data=form(model="default"))
    assert (response.status, body["error"]["code"]) == (413, "request_too_large")
    response, body = await post(gate, "/infill", data=b"model=default", headers={"Content-Type": "text/plain"})
    assert (response.status, body["error"]["code"]) == (415, "unsupported_media_type")


async def test_a_relayed_json_body_keeps_every_byte_but_its_model_and_the_filters_changes(gate: Front) -> None:
    gate.worker.served_name = "own"
    changed(gate.state, models={MODEL: ModelSettings(filters=FilterSettings(strip=("top_k",)))})
    sent = b'{ "model":"default" ,"input_prefix":"\\u00e9", "top_k":1}'
    response, _ = await post(gate, "/infill", data=sent, headers={"Content-Type": "application/json"})
    assert response.status == 200
    assert gate.engine.recorder.requests[-1].body == b'{ "model":"own" ,"input_prefix":"\\u00e9"}'


async def test_a_relayed_body_is_held_to_the_field_limits(gate: Front) -> None:
    response, body = await post(gate, "/infill", json={"model": "default", "n_discard": 1})
    assert (response.status, body["error"]["param"]) == (400, "n_discard")


async def test_a_get_names_its_model_in_the_query(gate: Front) -> None:
    gate.worker.served_name = "own"
    async with gate.session.get(f"{gate.url}/v1/audio/voices?model=default&x=a+b") as response:
        assert response.status == 200
    assert gate.engine.recorder.requests[-1].path == "/v1/audio/voices?model=own&x=a+b"
    async with gate.session.get(f"{gate.url}/v1/audio/voices") as response:
        assert response.status == 400


async def test_stable_diffusions_routes_go_to_the_model_that_they_name(gate: Front) -> None:
    gate.worker.served_name = "own"
    sent = b'{"prompt": "\\u00e9" , "model":"default","n_iter":2}'
    response, _ = await post(
        gate, "/sdapi/v1/txt2img", data=sent, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    seen = gate.engine.recorder.requests[-1]
    assert (response.status, seen.path) == (200, "/sdapi/v1/txt2img")
    assert seen.body == sent.replace(b"default", b"own")
    async with gate.session.get(f"{gate.url}/sdapi/v1/loras?model=default") as response:
        assert response.status == 200
    assert gate.engine.recorder.requests[-1].path == "/sdapi/v1/loras?model=own"


@pytest.mark.parametrize("versioned", [False, True], ids=["no-version", "v1"])
async def test_a_route_without_a_version_goes_below_the_address_as_it_was_given(gate: Front, versioned: bool) -> None:
    gate.worker.is_versioned = versioned
    sent = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
    response, body = await post(gate, "/v/chat/completions?a=b", json=sent)
    assert response.status == 200 and body["choices"]
    before = "/v1" if versioned else ""
    assert gate.engine.recorder.requests[-1].path == f"{before}/chat/completions?a=b"


@pytest.mark.parametrize(
    ("path", "asked", "told"),
    [
        ("/v/chat/completions", {}, {"max_tokens": 7}),
        ("/v/chat/completions", {"max_tokens": 900}, {"max_tokens": 7}),
        ("/v/responses", {}, {"max_output_tokens": 7}),
        ("/v/responses", {"max_output_tokens": 3}, {"max_output_tokens": 3}),
        ("/v/responses", {"max_output_tokens": -1}, {"max_output_tokens": 7}),
        ("/v/responses", {"max_tokens": 3}, {"max_tokens": 3, "max_output_tokens": 7}),
        ("/v/rerank", {"query": "a", "documents": ["a"]}, {}),
    ],
)
async def test_a_route_without_a_version_is_held_to_the_cap(
    gate: Front, path: str, asked: dict[str, Any], told: dict[str, Any]
) -> None:
    changed(gate.state, engine=gate.state.settings.engine.model_copy(update={"generation_cap": 7}))
    await post(gate, path, json={"model": "default", "messages": [{"role": "user", "content": "hi"}], **asked})
    body = json.loads(gate.engine.recorder.requests[-1].body)
    assert {key: value for key, value in body.items() if "_tokens" in key} == told


async def test_a_name_with_filters_of_its_own_gets_them(gate: Front) -> None:
    own = ModelSettings(aliases=("loud",), name_filters={"loud": FilterSettings(set={"volume": 11})})
    changed(gate.state, models={MODEL: own})
    for name, volume in (("loud", 11), (MODEL, None)):
        await gate.chat(model=name)
        assert json.loads(gate.engine.recorder.requests[-1].body).get("volume") == volume


async def test_an_unlisted_model_is_served_and_not_listed(gate: Front) -> None:
    changed(gate.state, models={MODEL: ModelSettings(unlisted=True)})
    async with gate.session.get(f"{gate.url}/v1/models") as response:
        assert MODEL not in [row["id"] for row in (await response.json())["data"]]
    response, _ = await gate.chat(model=MODEL)
    assert response.status == 200


async def test_another_sites_page_cannot_unload(gate: Front) -> None:
    for method, path in (("GET", "/unload"), ("POST", "/api/models/unload"), ("POST", f"/api/models/unload/{MODEL}")):
        headers = {"Sec-Fetch-Site": "cross-site"}
        async with gate.session.request(method, gate.url + path, headers=headers) as response:
            assert response.status == 403


async def test_a_log_stream_begins_with_history_unless_told_otherwise_and_goes_on(gate: Front, tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text("before\n")
    gate.state.daemon_log = str(log)
    for query, first in (("", b"before\n"), ("?no-history", b"after\n")):
        async with gate.session.get(f"{gate.url}/logs/stream/proxy{query}") as response:
            assert response.headers["X-Accel-Buffering"] == "no"
            assert response.headers["Transfer-Encoding"] == "chunked"
            if not query:
                assert await response.content.readline() == first
            with log.open("a") as file:
                file.write("after\n")
            assert await response.content.readline() == b"after\n"
    async with gate.session.get(f"{gate.url}/logs") as response:
        assert (await response.text()).startswith("before\n")
    async with gate.session.get(f"{gate.url}/logs/stream/nobody") as response:
        assert response.status == 400


async def test_a_client_that_leaves_a_relayed_request_is_seen_by_the_worker(gate: Front) -> None:
    sent = {"model": "default", "prompt": "x", "stream": True, "x_stand_in": {"delay_s": 20}}
    async with asyncio.TaskGroup() as group:
        request = group.create_task(post(gate, f"/upstream/{MODEL}/v1/completions", json=sent))
        await until(lambda: bool(gate.engine.recorder.requests))
        request.cancel()
    await until(lambda: gate.engine.recorder.requests[-1].disconnected_at is not None)


OTHER = "org/embedder"


def with_names(gate: Front, **more: Any) -> None:
    """A selector, and two profiles."""
    values = {
        "models": {MODEL: ModelSettings(aliases=("spare",), name_filters={"spare": FilterSettings(set={"volume": 3})})},
        "selectors": {"warm-one": SelectorSettings(strategy=Strategy.WARM, targets=(OTHER, MODEL), name="Warm")},
        "profiles": {
            "work": ProfileSettings(description="W", pins={"thing": "spare", "either": "warm-one", "spare": ""}),
            "play": ProfileSettings(pins={"thing": OTHER}),
        },
    }
    changed(gate.state, **(values | more))


async def choose(gate: Front, body: bytes) -> tuple[int, dict[str, Any]]:
    async with gate.session.put(f"{gate.url}/api/profiles/active", data=body) as response:
        return response.status, await response.json()


async def listed(gate: Front) -> dict[str, dict[str, Any]]:
    async with gate.session.get(f"{gate.url}/v1/models") as response:
        return {row["id"]: row for row in (await response.json())["data"]}


async def test_a_selector_means_what_is_loaded_and_the_answer_says_which(gate: Front) -> None:
    with_names(gate)
    gate.pool.workers[OTHER].state = "stopped"
    response, body = await gate.chat(model="warm-one")
    assert response.status == 200 and json.loads(body)["model"] == MODEL
    assert (response.headers["x-roost-model"], response.headers["x-roost-route"]) == (MODEL, "resident-warm")
    row = await gate.row()
    assert (row.requested, row.resolved, row.route_reason) == ("warm-one", MODEL, "resident-warm")
    # Who wants no stand-in gets the first target, which cannot chat.
    async with gate.session.post(
        f"{gate.url}/v1/chat/completions",
        json={"model": "warm-one", "messages": []},
        headers={"x-roost-fallback": "never"},
    ) as response:
        assert response.status == 400 and OTHER in await response.text()
    row = (await listed(gate))["warm-one"]
    assert (row["roost"]["kind"], row["roost"]["resolves_to"], row["name"]) == ("role", MODEL, "Warm")
    assert row["meta"]["llamaswap"]["type"] == "selector"


async def test_a_profile_is_chosen_listed_and_left(gate: Front) -> None:
    with_names(gate)
    response, _ = await gate.chat(model="thing")
    assert response.status == 404
    assert await choose(gate, b'{"name": "work"}') == (200, {"active": "work"})
    async with gate.session.get(f"{gate.url}/api/profiles") as response:
        found = await response.json()
    assert found["active"] == "work" and [row["id"] for row in found["profiles"]] == ["play", "work"]
    assert found["profiles"][1]["description"] == "W" and found["profiles"][1]["pins"]["spare"] == ""
    response, _ = await gate.chat(model="thing")
    assert (response.status, response.headers["x-roost-route"]) == (200, "resident-profile")
    assert json.loads(gate.engine.recorder.requests[-1].body)["volume"] == 3
    response, body = await gate.chat(model="spare")
    assert response.status == 404 and b"active profile" in body
    names = await listed(gate)
    assert names["thing"]["meta"]["llamaswap"]["type"] == "profile" and "spare" not in names
    assert await choose(gate, b'{"name": null}') == (200, {"active": None})
    response, _ = await gate.chat(model="spare")
    assert response.status == 200


async def test_the_profile_of_the_settings_is_active_until_another_is_chosen_and_survives_an_edit(gate: Front) -> None:
    with_names(gate, profile="work")
    response, _ = await gate.chat(model="thing")
    assert response.status == 200
    await choose(gate, b'{"name": "play"}')
    changed(gate.state, log=gate.state.settings.log)
    async with gate.session.get(f"{gate.url}/api/profiles") as response:
        assert (await response.json())["active"] == "play"
    changed(gate.state, profile="")
    async with gate.session.get(f"{gate.url}/api/profiles") as response:
        assert (await response.json())["active"] is None


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 400, "missing_required_parameter"),
        (b'{"name": 3}', 400, "invalid_type"),
        (b"[]", 400, "invalid_json"),
        (b"x", 400, "invalid_json"),
        (b'{"name": "nobody"}', 404, "not_found"),
    ],
)
async def test_what_is_no_profile_changes_nothing(gate: Front, body: bytes, status: int, code: str) -> None:
    with_names(gate, profile="work")
    found, answer = await choose(gate, body)
    assert (found, answer["error"]["code"]) == (status, code)
    async with gate.session.get(f"{gate.url}/api/profiles") as response:
        assert (await response.json())["active"] == "work"


async def test_upstream_knows_the_names_of_the_active_profile_and_no_selector(gate: Front) -> None:
    with_names(gate, profile="work")
    async with gate.session.get(f"{gate.url}/upstream/thing/health") as response:
        assert response.status == 200 and response.headers["x-roost-model"] == MODEL
    async with gate.session.get(f"{gate.url}/upstream/warm-one/health") as response:
        assert response.status == 404
