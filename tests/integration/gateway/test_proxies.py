"""The endpoint behind a proxy that does with requests what Caddy does: it drops what a client says of forwarding, adds
its own, and keeps the Host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from roost.host.addresses import own_addresses
from roost.store.keys import Consumer
from tests.integration.gateway.front import Front, chat_body, front, gateway_settings

LAN_CLIENT = "192.0.2.7"
_OWN = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "content-length", "transfer-encoding")


@asynccontextmanager
async def caddy(gate: Front, client: str = LAN_CLIENT) -> AsyncIterator[str]:
    """Its address. Whoever connects counts as `client`."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _OWN]
        headers += [("X-Forwarded-For", client), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", request.host)]
        url, body = f"{gate.url}{request.raw_path}", await request.read()
        async with gate.session.request(request.method, url, data=body or None, headers=headers) as answer:
            passed = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await passed.prepare(request)
            async for piece in answer.content.iter_any():
                await passed.write(piece)
            return passed

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", pass_on)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(gate: Front, url: str, key: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and error code, or the answer's text, of a chat request."""
    sent = {"Host": "box.lan", **headers} | ({"x-api-key": key} if key else {})
    async with gate.session.post(f"{url}/v1/chat/completions", json=chat_body(), headers=sent) as response:
        body = await response.json()
        return response.status, str(body["error"]["code"] if "error" in body else body["object"])


@pytest.mark.parametrize("proxies", [(), ("127.0.0.1",)])
async def test_a_lan_client_behind_a_proxy_of_this_machine_has_no_rights_of_a_local_one(
    short_path: Path, proxies: tuple[str, ...]
) -> None:
    settings = gateway_settings(allowed_hosts=("box.lan",), trusted_proxies=proxies)
    async with front(short_path, settings=settings) as gate, caddy(gate) as url:
        assert await asked(gate, url) == (401, "invalid_api_key")
        assert await asked(gate, url, **{"X-Forwarded-For": "127.0.0.1"}) == (401, "invalid_api_key")
        async with gate.session.get(f"{url}/health", headers={"Host": "box.lan"}) as response:
            assert set(await response.json()) == {"status", "version"}
        async with gate.session.post(f"{url}/roost/v1/workers/restart", headers={"Host": "box.lan"}) as response:
            assert response.status == 401
        gate.keys.owners["right"] = Consumer("k", "guest")
        assert await asked(gate, url, "right") == (200, "chat.completion")


async def test_a_local_program_keeps_its_rights_unless_it_speaks_from_a_trusted_proxys_address(
    short_path: Path,
) -> None:
    async with front(short_path, settings=gateway_settings(allowed_hosts=("box.lan",))) as gate:
        assert await asked(gate, gate.url) == (200, "chat.completion")
        assert await asked(gate, gate.url, Via="1.1 somebody") == (401, "invalid_api_key")
    settings = gateway_settings(allowed_hosts=("box.lan",), trusted_proxies=("127.0.0.0/8",))
    async with front(short_path, settings=settings) as gate:
        assert await asked(gate, gate.url) == (401, "invalid_api_key")


async def test_the_host_is_what_the_proxy_passes_on_and_not_what_it_tells(short_path: Path) -> None:
    settings = gateway_settings(trusted_proxies=("127.0.0.1",))
    async with front(short_path, settings=settings) as gate, caddy(gate) as url:
        gate.keys.owners["right"] = Consumer("k", "guest")
        forged = {"Host": "evil.example", "X-Forwarded-Host": f"127.0.0.1:{gate.port}"}
        assert await asked(gate, gate.url, "right", **forged) == (403, "host_not_allowed")
        assert await asked(gate, url, "right") == (403, "host_not_allowed")


async def test_the_log_names_the_client_and_links_lead_back_through_the_proxy(short_path: Path) -> None:
    settings = gateway_settings(allowed_hosts=("box.lan",), trusted_proxies=("127.0.0.1",))
    async with front(short_path, settings=settings) as gate, caddy(gate) as url:
        gate.keys.owners["right"] = Consumer("k", "guest", admin=True)
        with capture_logs() as logs:
            assert await asked(gate, url, "right") == (200, "chat.completion")
            await gate.row()
        assert [line["client"] for line in logs if line["event"] == "request"] == [LAN_CLIENT]
        async with gate.session.get(f"{url}/running", headers={"Host": "box.lan", "x-api-key": "right"}) as response:
            rows = (await response.json())["running"]
        assert rows and all(row["proxy"].startswith("https://box.lan/upstream/") for row in rows)


async def test_past_the_proxy_another_machine_gets_no_answer_in_the_clear(short_path: Path) -> None:
    own = next((one for one in own_addresses() if ":" not in one), None)
    if own is None:
        pytest.skip("this machine has no address but loopback")
    for proxies, status in ((("192.0.2.5",), 403), ((own,), 200)):
        settings = gateway_settings(host=own, trusted_proxies=proxies)
        async with (
            front(short_path, settings=settings, host=own) as gate,
            aiohttp.ClientSession() as session,
            session.get(f"{gate.url}/livez") as response,
        ):
            assert response.status == status
            if status == 403:
                assert (await response.json())["error"]["code"] == "tls_required"
