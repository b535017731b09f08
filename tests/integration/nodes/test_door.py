"""What a paired machine, a client with a key and a stranger get at the door."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roost.daemon import doors
from roost.gateway.auth import Scope
from roost.gateway.callers import PEER_PATHS
from roost.gateway.routes import ROUTES
from roost.nodes.tls import joining_context, node_host, server_context
from roost.nodes.types import Link
from roost.store.keys import Consumer
from roost.testing.wait import until
from tests.integration.gateway.front import chat_body
from tests.integration.nodes.house import MODEL, House, house, paired, plain_session


async def asked(client: House, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """By a paired machine, over the way that its requests take."""
    server = await client.room.reach("basement")
    sent = {"Content-Type": "application/json", **(headers or {})}
    body = json.dumps(chat_body(model=MODEL)) if method in ("POST", "PUT", "PATCH") else None
    async with server.session.request(method, server.base_url + path, data=body, headers=sent) as response:
        return response.status, await response.read()


async def test_a_request_goes_to_a_paired_machine_and_is_noted_as_its(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    server = await laptop.room.reach("basement")
    body = json.dumps(chat_body(model=MODEL)).encode()
    posted = await server.wire.post("/v1/chat/completions", body, keep=True)
    answer = json.loads(await posted.content.read())
    assert posted.status == 200 and answer["model"] == MODEL
    await until(lambda: basement.activity.rows)
    assert basement.activity.rows[0].consumer == "node:laptop"


async def test_a_connection_is_used_for_one_request_after_the_other(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    server = await laptop.room.reach("basement")
    body = json.dumps(chat_body(model=MODEL)).encode()
    for _ in range(5):
        posted = await server.wire.post("/v1/chat/completions", body, keep=True)
        await posted.content.read()
    connector = server.session.connector
    assert connector is not None and sum(len(kept) for kept in connector._conns.values()) <= 2


@pytest.mark.parametrize("name", [f"{route.method} {route.path}" for route in ROUTES])
async def test_a_stolen_key_opens_models_and_nothing_else(shared_pair: tuple[House, House], name: str) -> None:
    _, client = shared_pair
    method, path = name.split(" ", 1)
    route = next(route for route in ROUTES if (route.method, route.path) == (method, path))
    filled = path.replace("{target:.+}", "a/v1/models").replace("{name:.+}", "a")
    for pattern in ("{worker:.+}", "{role:.+}", "{log:.+}", "{invite}", "{digest}", "{name}"):
        filled = filled.replace(pattern, "a")
    status, _ = await asked(client, method, filled)
    allowed = route.scope in (Scope.OPEN, Scope.PEER) or route.path in PEER_PATHS
    if path == "/roost/v1/peer/join":
        assert status == 400
    else:
        assert (status not in (401, 403)) == allowed, f"{name}: {status}"


async def test_a_revoked_machine_is_refused_at_its_next_request_on_an_open_connection(
    basement: House, laptop: House
) -> None:
    await paired(basement, laptop)
    assert (await asked(laptop, "GET", "/v1/models"))[0] == 200
    server = await laptop.room.reach("basement")
    await basement.desk.revoke("laptop")
    async with server.session.get(server.base_url + "/v1/models") as response:
        assert response.status == 403 and (await response.json())["error"]["code"] == "node_not_paired"
    view = await laptop.sees("basement", Link.DOWN)
    assert "not paired" in (view.problem or "") and view.mend == "roost node join CODE"


async def test_whoever_revokes_the_machine_that_it_goes_to_goes_there_no_more(basement: House, laptop: House) -> None:
    await paired(basement, laptop)
    server = await laptop.room.reach("basement")
    await laptop.desk.revoke("basement")
    await until(lambda: server.session.closed)
    assert laptop.room.views() == ()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-roost-hops": "2"}, "loop_detected"),
        ({"x-roost-hops": "999"}, "loop_detected"),
        ({"x-roost-hops": "-1"}, "invalid_request"),
        ({"x-roost-hops": "1", "x-roost-origin": "own"}, "loop_detected"),
    ],
)
async def test_a_request_that_goes_in_a_circle_ends(
    basement: House, laptop: House, headers: dict[str, str], code: str
) -> None:
    await paired(basement, laptop)
    own = basement.room.node_id or ""
    sent = {name: value.replace("own", own) for name, value in headers.items()}
    status, body = await asked(laptop, "POST", "/v1/chat/completions", sent)
    assert json.loads(body)["error"]["code"] == code and status in (400, 508)


async def test_a_client_with_a_key_comes_in_by_the_authoritys_certificate(basement: House) -> None:
    basement.keys.owners["right"] = Consumer("k", "guest")
    async with plain_session(basement) as session:
        answers = [
            (await session.get("/v1/models", headers=headers)).status
            for headers in ({}, {"x-api-key": "wrong"}, {"x-api-key": "right"})
        ]
        assert answers == [401, 401, 200]
        assert (await session.get("/roost/v1/peer/status", headers={"x-api-key": "right"})).status == 403


async def test_where_no_key_was_ever_made_a_program_of_this_machine_needs_one_at_the_door(basement: House) -> None:
    async with plain_session(basement) as session:
        assert (await session.get("/v1/models")).status == 401
        assert set(await (await session.get("/health")).json()) == {"status", "version"}


async def test_another_name_in_the_host_header_is_refused_at_the_door_too(basement: House) -> None:
    basement.keys.owners["right"] = Consumer("k", "guest")
    async with plain_session(basement) as session:
        headers = {"x-api-key": "right", "Host": "evil.example"}
        assert (await session.get("/v1/models", headers=headers)).status == 403


async def test_a_client_that_does_not_know_the_authority_does_not_connect(basement: House) -> None:
    context = ssl.create_default_context()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"https://localhost:{basement.port}/livez")


async def test_certificates_are_renewed_under_open_eyes_and_nobody_is_lost(short_path: Path) -> None:
    # Not before a day ago: the clock of TLS itself stays where it is.
    life_s = 30_000.0
    async with (
        house(short_path, "basement", lifetime_s=life_s) as server,
        house(short_path, "laptop", door=False, lifetime_s=life_s) as client,
    ):
        await paired(server, client)
        shown = {(await _certificate(server))[0]}
        for ahead_s in (21_000.0, 42_000.0):
            server.clock.ahead_s = client.clock.ahead_s = ahead_s
            for one in (server, client):
                await until(lambda one=one, at=ahead_s: _generation(one) >= 1 + at // 21_000)
            shown.add((await _certificate(server))[0])
            # New connections, for which both ends show their new certificates.
            port = server.port
            await server.close_door()
            await client.sees("basement", Link.DOWN)
            await server.open_door(port)
            await client.sees("basement", Link.UP)
            assert (await asked(client, "GET", "/v1/models"))[0] == 200
        assert len(shown) == 3


def _generation(one: House) -> int:
    identity = one.room._identity
    assert identity is not None
    return identity.generation


async def _certificate(server: House) -> tuple[bytes, str]:
    """What a machine that names the server's key is shown."""
    assert server.room.node_id is not None
    context = joining_context(server.room.node_id[:32])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=context, server_hostname=node_host(server.room.node_id)
    )
    connection = writer.get_extra_info("ssl_object")
    shown, version = connection.getpeercert(True), connection.version()
    writer.close()
    return shown, version


async def test_after_a_renewal_the_way_there_shows_the_new_certificate(short_path: Path) -> None:
    async with (
        house(short_path, "basement") as server,
        house(short_path, "laptop", door=False, lifetime_s=30_000.0) as client,
    ):
        await paired(server, client)
        _, way = next(iter(client.room._ways.values()))
        before = shown_by(way._context, server)
        client.clock.ahead_s = 21_000.0
        await until(lambda: _generation(client) == 2 and shown_by(way._context, server) != before)


def shown_by(context: ssl.SSLContext, server: House) -> bytes:
    """The certificate that a client with this context shows to a server, in a handshake without a network."""
    accepting = server_context(server.folder / "leaf.pem")
    accepting.verify_mode = ssl.CERT_REQUIRED
    accepting.load_verify_locations(cadata="".join(peer.certificate for peer in server.room.book.known()))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = context.wrap_bio(back, there, server_hostname="x.node.roost")
    answering = accepting.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown = answering.getpeercert(True)
    assert shown is not None
    return shown


async def test_a_stranger_who_takes_his_time_over_a_handshake_is_dropped(
    basement: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "HANDSHAKE_S", 0.2)
    await basement.close_door()
    await basement.open_door()
    reader, writer = await asyncio.open_connection("127.0.0.1", basement.port)
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    writer.close()


async def test_a_peer_whose_certificate_was_edited_shuts_out_itself_alone(
    basement: House, laptop: House, short_path: Path
) -> None:
    await paired(basement, laptop)
    known = basement.room.book.all()[0]
    basement.room.book.put(known.model_copy(update={"node_id": "0" * 64, "certificate": "nonsense", "name": "odd"}))
    laptop.room.book.put(known.model_copy(update={"certificate": "nonsense", "addresses": ("h:1",), "name": "odd"}))
    async with house(short_path, "attic", door=False) as attic:
        await paired(basement, attic)
    await until(lambda: "cannot go to odd" in (laptop.room.problem or ""))
    assert (await laptop.room.reach("basement")).name == "basement"
