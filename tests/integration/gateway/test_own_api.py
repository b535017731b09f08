"""The daemon's own routes, who may use them, logs and `/upstream`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from roost.api import StatusReport
from roost.errors import BadConfiguration
from roost.gateway.auth import Scope
from roost.gateway.routes import ROUTES
from roost.registry.types import Registry, RegistryProblem, RegistryState
from roost.store.keys import Consumer
from roost.testing.pool import FakeWorker
from roost.testing.wait import until
from roost.workers.types import WaitingSpare
from tests.integration.gateway.front import EMBEDDER, MODEL, Front, changed, front, spec


async def ask(
    gate: Front, method: str, path: str, *, status: int = 200, headers: dict[str, str] | None = None, **more: Any
) -> Any:
    async with gate.session.request(method, f"{gate.url}{path}", headers=headers, **more) as response:
        body = await response.read()
        assert response.status == status, body
        return json.loads(body) if response.content_type == "application/json" else body


async def test_models_tell_what_a_role_means_and_its_state(gate: Front) -> None:
    listed = {row["id"]: row for row in (await ask(gate, "GET", "/v1/models"))["data"]}
    assert listed["coding"]["roost"] == {
        "kind": "role",
        "resolves_to": MODEL,
        "state": "resident",
        "node": "here",
        "context_length": None,
        "capabilities": ["chat", "completion"],
        "verified": False,
        "verdict": None,
    }
    assert listed[MODEL]["roost"]["kind"] == "model"
    assert "rerank" not in listed
    assert await ask(gate, "GET", f"/v1/models/{MODEL}") == listed[MODEL]
    assert (await ask(gate, "GET", "/v1/models/none", status=404))["error"]["code"] == "model_not_found"


async def test_a_role_named_like_a_model_is_listed_as_the_model_that_a_request_gets(gate: Front) -> None:
    roles = {**gate.state.registry.registry.roles, EMBEDDER: MODEL}
    gate.state.registry = RegistryState(Registry(roles=roles))
    rows = [row for row in (await ask(gate, "GET", "/v1/models"))["data"] if row["id"] == EMBEDDER]
    assert [(row["roost"]["kind"], row["roost"]["resolves_to"]) for row in rows] == [("model", EMBEDDER)]


async def test_health_tells_the_truth(gate: Front) -> None:
    report = await ask(gate, "GET", "/health")
    assert (report["status"], report["resident"]) == ("ok", [MODEL, EMBEDDER])
    gate.worker.state = "failed"
    assert (await ask(gate, "GET", "/health", status=503))["status"] == "unavailable"
    gate.worker.state = "ready"
    gate.worker.refused = True
    assert (await ask(gate, "GET", "/health", status=503))["status"] == "unavailable", "it was refused for memory"
    gate.worker.refused = False
    problem = RegistryProblem("a comma is missing", line=3, column=7)
    gate.state.registry = RegistryState(gate.state.registry.registry, problem)
    assert (await ask(gate, "GET", "/health"))["registry"]["line"] == 3
    gate.state.registry = RegistryState(Registry())
    assert "roost use default" in (await ask(gate, "GET", "/health", status=503))["problem"]


async def test_a_scrape_shows_requests_and_workers_and_wakes_nothing(gate: Front) -> None:
    await gate.chat()
    text = (await ask(gate, "GET", "/metrics")).decode()
    assert f'roost_requests_total{{model="{MODEL}",route="/v1/chat/completions",status="200"}} 1.0' in text
    assert 'roost_workers{state="ready"} 2.0' in text
    assert len(gate.pool.tickets) == 1
    assert gate.pool.orders == []


async def test_a_spare_counts_as_memory_and_as_nothing_else(gate: Front) -> None:
    spare = WaitingSpare("x", "1", "standby", 7, 0.0, 0.0, 123_000_000, "standby-x", None, None)
    before = [await ask(gate, "GET", path) for path in ("/v1/models", "/running", "/api/ps", "/health")]
    gate.pool.standing_by = (spare,)
    text = (await ask(gate, "GET", "/metrics")).decode()
    assert 'roost_spare_resident_bytes{engine="x"} 1.23e+08' in text
    assert 'state="standby"' not in text and 'engine="x",model' not in text
    assert [await ask(gate, "GET", path) for path in ("/v1/models", "/running", "/api/ps", "/health")] == before


async def test_the_root_says_that_roost_runs(gate: Front) -> None:
    assert await ask(gate, "GET", "/") == b"roost is running\n"
    assert await ask(gate, "HEAD", "/") == b""


async def test_status_activity_and_decisions_are_told(gate: Front) -> None:
    await gate.chat(model="coding")
    StatusReport.model_validate(await ask(gate, "GET", "/roost/v1/status"))
    rows = (await ask(gate, "GET", f"/roost/v1/activity?limit=5&model={MODEL}"))["activity"]
    assert (rows[0]["requested"], rows[0]["resolved"]) == ("coding", MODEL)
    decision = (await ask(gate, "GET", "/roost/v1/decisions"))["decisions"][0]
    assert (decision["role"], decision["reason"]) == ("coding", "resident-default")
    assert (await ask(gate, "GET", "/roost/v1/activity?limit=x", status=400))["error"]["param"] == "limit"


async def test_usage_is_told_by_name(gate: Front) -> None:
    assert await ask(gate, "GET", "/roost/v1/usage") == {"usage": {}}


async def test_models_are_loaded_and_unloaded_by_ids_with_slashes_and_roles(gate: Front) -> None:
    assert await ask(gate, "POST", f"/roost/v1/models/{MODEL}/load") == {"model": MODEL, "state": "ready"}
    await ask(gate, "POST", "/roost/v1/models/embedding/unload")
    await ask(gate, "POST", "/roost/v1/workers/restart")
    await ask(gate, "POST", f"/roost/v1/workers/restart/{MODEL}")
    assert gate.pool.orders == [("load", MODEL), ("unload", EMBEDDER), ("restart", None), ("restart", MODEL)]
    assert (await ask(gate, "POST", "/roost/v1/models/typo/load", status=404))["error"]["code"] == "model_not_found"
    assert len(gate.pool.orders) == 4


async def test_a_worker_whose_model_was_removed_can_still_be_unloaded(gate: Front) -> None:
    gate.pool.workers["gone/model"] = FakeWorker(spec("gone/model"), gate.engine.url)
    answer = await ask(gate, "POST", "/roost/v1/models/gone/model/unload")
    assert answer == {"model": "gone/model", "state": "stopped"}
    await ask(gate, "POST", "/api/models/unload/gone/model")
    await ask(gate, "POST", "/roost/v1/models/gone/model/load", status=404)
    assert gate.pool.orders == [("unload", "gone/model")] * 2


async def test_a_role_is_put(gate: Front) -> None:
    assert (await ask(gate, "PUT", "/roost/v1/roles/coding", json={"model": MODEL}))["role"] == "coding"
    assert gate.state.roles == [("coding", MODEL)]
    await ask(gate, "PUT", "/roost/v1/roles/coding", json={"nothing": 1}, status=400)


async def test_the_openapi_document_names_every_route(gate: Front) -> None:
    document = await ask(gate, "GET", "/roost/v1/openapi.json")
    assert document["paths"]["/roost/v1/models/{name}/load"]["post"]["parameters"][0]["name"] == "name"
    assert "StatusReport" in document["components"]["schemas"]
    assert sum(len(methods) for methods in document["paths"].values()) == len(ROUTES)


async def test_the_control_socket_needs_no_key_and_alone_may_shut_down(gate: Front) -> None:
    gate.keys.owners["k"] = Consumer("id", "someone", admin=True)
    connector = aiohttp.UnixConnector(str(gate.control_socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.get("http://anything/roost/v1/status") as response:
            assert response.status == 200
        async with session.post("http://anything/roost/v1/shutdown") as response:
            assert response.status == 202
    assert gate.state.shut_down
    gate.state.shut_down = False
    headers = {"Authorization": "Bearer k"}
    await ask(gate, "POST", "/roost/v1/shutdown", headers=headers, status=403)
    assert not gate.state.shut_down


def _example(path: str) -> str:
    names = {"{name:.+}": MODEL, "{worker:.+}": "daemon", "{role:.+}": "coding", "{target:.+}": f"{MODEL}/health"}
    names |= {"{invite}": "0" * 16, "{name}": "laptop", "{digest}": "0" * 64}
    for pattern, value in names.items():
        path = path.replace(pattern, value)
    return path


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_with_keys_every_route_asks_for_one_but_the_open_ones(gate: Front, route: Any) -> None:
    gate.keys.owners["user"] = Consumer("1", "user")
    async with gate.session.request(route.method, f"{gate.url}{_example(route.path)}") as response:
        if route.scope is Scope.OPEN:
            # 415: it is open to whoever proves an invite, which takes a body.
            assert response.status == (415 if route.path == "/roost/v1/peer/join" else 200)
            return
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        if route.method != "HEAD":
            # Each protocol has its own shape of an error; the sentence is the same.
            assert "roost keys add" in str((await response.json())["error"])
    async with gate.session.request(
        route.method, f"{gate.url}{_example(route.path)}", headers={"x-api-key": "user"}
    ) as response:
        assert (response.status == 403) is (route.scope in (Scope.MANAGE, Scope.PEER, Scope.CONTROL))


async def test_health_without_a_key_tells_only_status_and_version(gate: Front) -> None:
    gate.keys.owners["user"] = Consumer("1", "user")
    assert await ask(gate, "GET", "/health") == {"status": "ok", "version": "1.2.3"}


async def test_every_way_to_present_a_key_is_the_same_key(gate: Front) -> None:
    gate.keys.owners["user"] = Consumer("1", "user")
    basic = base64.b64encode(b"anyone:user").decode()
    for headers in ({"Authorization": "Bearer user"}, {"x-api-key": "user"}, {"Authorization": f"Basic {basic}"}):
        await ask(gate, "GET", "/v1/models", headers=headers)
    wrong = await ask(gate, "GET", "/v1/models", headers={"Authorization": "Bearer DUMMY_KEY"}, status=401)
    assert wrong["error"]["code"] == "invalid_api_key"
    body = json.dumps({"model": "default", "messages": []}).encode()
    await gate.post("/v1/chat/completions", body, {"Authorization": "Bearer user"})
    assert (await gate.row()).consumer == "user"


async def test_a_log_is_shown_from_its_end_and_followed_across_a_rotation(gate: Front, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("".join(f"line {number}\n" for number in range(10)))
    gate.worker.log_path = str(log)
    assert await ask(gate, "GET", f"/roost/v1/logs/{MODEL}?lines=2") == b"line 8\nline 9\n"
    async with gate.session.get(f"{gate.url}/roost/v1/logs/{MODEL}?lines=1&follow=1") as response:
        assert await response.content.readline() == b"line 9\n"
        with log.open("a") as file:
            file.write("added\n")
        assert await response.content.readline() == b"added\n"
        log.rename(tmp_path / "worker.log.1")
        log.write_text("anew\n")
        assert await response.content.readline() == b"anew\n"
    gate.state.daemon_log = str(log)
    assert await ask(gate, "GET", "/roost/v1/logs/daemon") == b"anew\n"
    await ask(gate, "GET", "/roost/v1/logs/nothing", status=404)


async def test_upstream_relays_any_path_of_a_worker(gate: Front) -> None:
    answer = await ask(gate, "GET", f"/upstream/{MODEL}/slots?x=1")
    assert len(answer) == 4
    body = b'{"model":"anything","prompt":"a","n":1}'
    headers = {"Content-Type": "application/json", "Authorization": "Bearer mine"}
    await ask(gate, "POST", f"/upstream/{MODEL}/v1/completions", data=body, headers=headers)
    seen = gate.engine.recorder.requests[0]
    assert seen.body == body.replace(b"anything", b"stand-in")
    assert seen.header("authorization") is None
    assert gate.worker.running == 0


async def test_a_page_of_an_engine_runs_no_script_on_this_origin_unless_its_pages_may_call(gate: Front) -> None:
    page = {"status": 200, "body": "<script>fetch('/unload')</script>", "content_type": "text/html"}
    body = {"model": MODEL, "messages": [], "x_stand_in": page}

    async def headers_of(path: str) -> CIMultiDictProxy[str]:
        async with gate.session.post(gate.url + path, json=body) as response:
            await response.read()
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            return response.headers

    relayed = await headers_of(f"/upstream/{MODEL}/v1/chat/completions")
    assert relayed["Content-Type"].startswith("text/html") and relayed["Content-Security-Policy"] == "sandbox"
    assert (await headers_of("/rerank"))["Content-Security-Policy"] == "sandbox"
    changed(gate.state, gateway=gate.state.settings.gateway.model_copy(update={"allowed_origins": (gate.url,)}))
    assert "Content-Security-Policy" not in await headers_of(f"/upstream/{MODEL}/v1/chat/completions")


async def test_an_engine_does_not_say_what_type_an_answer_of_a_json_route_has(gate: Front) -> None:
    told = {"status": 200, "body": '{"a": "<script>"}', "content_type": "text/html"}
    response, _ = await gate.chat(x_stand_in=told)
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json")


async def test_upstream_keeps_the_field_limits_and_refuses_other_sites(gate: Front) -> None:
    headers = {"Content-Type": "application/json"}
    path = f"/upstream/{MODEL}/completion"
    answer = await ask(gate, "POST", path, data=b'{"id_slot":3}', headers=headers, status=400)
    assert answer["error"]["param"] == "id_slot"
    await ask(gate, "GET", f"/upstream/{MODEL}/slots", headers={"Sec-Fetch-Site": "cross-site"}, status=403)
    await ask(gate, "GET", "/upstream/typo/slots", status=404)
    assert gate.engine.recorder.requests == []


async def test_upstream_redirects_a_bare_name_and_loads_nothing_for_an_asset(gate: Front) -> None:
    async with gate.session.get(f"{gate.url}/upstream/{MODEL}?a=1", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, f"/upstream/{MODEL}/?a=1")
    gate.worker.state = "stopped"
    assert (await ask(gate, "GET", f"/upstream/{MODEL}/app.js", status=409))["error"]["code"] == "conflict"
    assert gate.pool.tickets == []


async def test_upstream_frees_its_slot_when_the_client_leaves(gate: Front) -> None:
    body = {"model": "m", "messages": [], "stream": True, "x_stand_in": {"tokens": 9, "hold_after_tokens": 1}}
    async with gate.session.post(f"{gate.url}/upstream/{MODEL}/v1/chat/completions", json=body) as response:
        await response.content.readuntil(b"\n\n")
    assert (await gate.row()).status == 499
    await until(lambda: gate.engine.recorder.running == 0, timeout_s=1)
    assert gate.worker.running == 0


async def test_a_settings_swap_is_seen_by_the_next_request(short_path: Path) -> None:
    async with front(short_path) as gate:
        gateway = gate.state.settings.gateway.model_copy(update={"max_body_bytes": 1024})
        gate.state.settings = gate.state.settings.model_copy(update={"gateway": gateway})
        response, _ = await gate.post("/v1/chat/completions", b'{"model":"' + b"x" * 2000 + b'"}')
        assert response.status == 413


async def test_a_registry_that_cannot_be_written_is_told_with_its_problems(gate: Front) -> None:
    gate.state.role_refusal = BadConfiguration("cannot change registry.json", problems=("line 3 column 1: no value",))
    answer = await ask(gate, "PUT", "/roost/v1/roles/coding", json={"model": MODEL}, status=503)
    assert answer["error"]["code"] == "bad_configuration"
    assert answer["error"]["message"] == "cannot change registry.json: line 3 column 1: no value"
