"""`/roost/v1/peer/…`: what paired machines ask of each other, and the one thing that a machine asks to get paired."""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from roost.errors import InvalidType
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object
from roost.nodes.shapes import Joining, News


async def peer_status(call: Call) -> web.StreamResponse:
    """How this machine stands: its PeerStatus."""
    status = await call.gateway.deps.pairing.status()
    return web.Response(text=status.model_dump_json(), content_type="application/json")


async def peer_renew(call: Call) -> web.StreamResponse:
    """The machine that asks can be reached elsewhere from now on."""
    try:
        news = News.model_validate(await _body(call))
    except ValidationError:
        raise InvalidType('the body must be {"addresses": ["HOST:PORT"]}', param="addresses") from None
    assert call.exchange.peer_id is not None
    await call.gateway.deps.pairing.news(call.exchange.peer_id, news.addresses)
    return web.json_response({"status": "ok"})


async def peer_join(call: Call) -> web.StreamResponse:
    """A machine with a one-time code wants to be paired. It has no certificate that counts yet, and proves the code."""
    try:
        joining = Joining.model_validate(await _body(call))
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else None
        raise InvalidType("the body is not that of a machine that joins", param=field) from None
    joined = await call.gateway.deps.pairing.admit(joining)
    return web.Response(text=joined.model_dump_json(), content_type="application/json")


async def _body(call: Call) -> dict[str, object]:
    limits = call.gateway.deps.settings().gateway
    return dict(parse_object(await read_body(call.request, limits), limits.max_json_depth).values)
