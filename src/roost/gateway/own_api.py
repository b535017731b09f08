"""`/roost/v1/…`: what the CLI, the dashboard and scripts ask of the running daemon."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from aiohttp import web
from pydantic import ValidationError

from roost.api import LoadAccepted, RoleChange
from roost.catalog.spec import ModelSpec
from roost.errors import InvalidType, Refused
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object
from roost.gateway.inference import refuse_when_draining

_MOST_ROWS = 1000
#: A role name: what fits in a URL and in other programs' `jq` paths.
_LONGEST_ROLE = 64


async def status(call: Call) -> web.StreamResponse:
    """The StatusReport."""
    return web.Response(text=call.gateway.deps.status().model_dump_json(), content_type="application/json")


async def workers(call: Call) -> web.StreamResponse:
    """The workers of the StatusReport, and the spares that may become some."""
    report = call.gateway.deps.status()
    rows = {"workers": report.workers, "spares": report.spares}
    return web.json_response({name: [row.model_dump(mode="json") for row in rows[name]] for name in rows})


async def activity(call: Call) -> web.StreamResponse:
    """The last requests, newest first: `?limit=` and `?model=`."""
    model = call.request.query.get("model")
    rows = call.gateway.deps.activity.recent(_limit(call), model)
    return web.json_response({"activity": [row._asdict() for row in rows]})


async def decisions(call: Call) -> web.StreamResponse:
    """The last routing decisions, newest first: `?limit=`."""
    rows = call.gateway.decisions.recent(_limit(call))
    return web.json_response({"decisions": [asdict(row) for row in rows]})


async def usage(call: Call) -> web.StreamResponse:
    """What was asked with the keys of each name, as far back as the activity log goes."""
    used = await asyncio.to_thread(call.gateway.deps.usage)
    return web.json_response({"usage": {name: asdict(one) for name, one in used.items()}})


async def load(call: Call) -> web.StreamResponse:
    """Make a model resident and answer once it is READY, whatever the rotation policy says."""
    refuse_when_draining(call)
    resolution = call.exchange.resolution = call.gateway.resolve(call.request.match_info["name"])
    model = call.gateway.spec(resolution)
    await call.gateway.deps.pool.load(model.id)
    return _accepted(model, "ready")


async def unload(call: Call) -> web.StreamResponse:
    """Drain and stop a model's worker; answers once its process is gone."""
    resolution = call.exchange.resolution = call.gateway.resolve_held(call.request.match_info["name"])
    await call.gateway.deps.pool.unload(resolution.model_id)
    return web.json_response(LoadAccepted(model=resolution.model_id, state="stopped").model_dump())


async def restart(call: Call) -> web.StreamResponse:
    """Restart one worker, or all of them."""
    refuse_when_draining(call)
    name = call.request.match_info.get("name")
    model_id = call.gateway.resolve(name).model_id if name else None
    await call.gateway.deps.pool.restart(model_id)
    return web.json_response(LoadAccepted(model=model_id or "*", state="ready").model_dump())


async def put_role(call: Call) -> web.StreamResponse:
    """Point a role at a model, in the registry file."""
    role = call.request.match_info["role"]
    if len(role) > _LONGEST_ROLE or not role.isprintable():
        raise Refused(f"a role's name has at most {_LONGEST_ROLE} printable characters", param="role")
    limits = call.gateway.deps.settings().gateway
    document = parse_object(await read_body(call.request, limits), limits.max_json_depth)
    try:
        change = RoleChange.model_validate(document.values)
    except ValidationError:
        raise InvalidType('the body must be {"model": "ID"}', param="model") from None
    report = await call.gateway.deps.put_role(role, change)
    return web.Response(text=report.model_dump_json(), content_type="application/json")


async def shutdown(call: Call) -> web.StreamResponse:
    """Start the drain."""
    call.gateway.deps.shutdown()
    return web.json_response({"status": "draining"}, status=202)


def _accepted(model: ModelSpec, state: str) -> web.Response:
    return web.json_response(LoadAccepted(model=model.id, state=state).model_dump())


def _limit(call: Call) -> int:
    text = call.request.query.get("limit", "100")
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise InvalidType("`limit` must be a whole number", param="limit")
    return min(int(text), _MOST_ROWS)
