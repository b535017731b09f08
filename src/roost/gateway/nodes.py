"""`/roost/v1/nodes…`: paired machines as people and the CLI see and change them."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ValidationError

from roost.api import JoinCode
from roost.errors import InvalidType
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object


async def nodes(call: Call) -> web.StreamResponse:
    """The NodesReport."""
    return _shown(call.gateway.deps.pairing.report())


async def node_invite(call: Call) -> web.StreamResponse:
    """A new Invitation."""
    return _shown(await call.gateway.deps.pairing.invite())


async def node_outcome(call: Call) -> web.StreamResponse:
    """The InviteOutcome of an invite, once it is used, expired or withdrawn."""
    return _shown(await call.gateway.deps.pairing.outcome(call.request.match_info["invite"]))


async def node_join(call: Call) -> web.StreamResponse:
    """Go to the machine that made a code, and be Paired."""
    limits = call.gateway.deps.settings().gateway
    document = parse_object(await read_body(call.request, limits), limits.max_json_depth)
    try:
        code = JoinCode.model_validate(document.values)
    except ValidationError:
        raise InvalidType('the body must be {"code": "CODE"}', param="code") from None
    return _shown(await call.gateway.deps.pairing.join(code.code))


async def node_revoke(call: Call) -> web.StreamResponse:
    """Take a machine's rights away."""
    return _shown(await call.gateway.deps.pairing.revoke(call.request.match_info["name"]))


def _shown(shape: BaseModel) -> web.Response:
    return web.Response(text=shape.model_dump_json(), content_type="application/json")
