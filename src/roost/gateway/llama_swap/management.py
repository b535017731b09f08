"""`/running` and the ways to unload."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from aiohttp import web

from roost.gateway.call import Call
from roost.gateway.hosts import check_same_site
from roost.workers.types import WorkerView

#: A worker's state in llama-swap's words; other states are not running there.
_STATES = {
    "starting": "starting",
    "loading": "starting",
    "ready": "ready",
    "draining": "stopping",
    "parking": "stopping",
    "stopping": "stopping",
}


async def running(call: Call) -> web.StreamResponse:
    """The workers that run, by model."""
    views = sorted(call.gateway.deps.pool.views(), key=lambda view: view.model_id)
    return web.json_response({"running": [_row(call, view) for view in views if view.state in _STATES]})


async def unload_all(call: Call) -> web.StreamResponse:
    """Drain and stop every worker; answers once their processes are gone."""
    await _unload_all(call)
    return web.json_response({"msg": "ok"})


async def unload_all_by_get(call: Call) -> web.StreamResponse:
    """The same for a browser's address bar, but not for another site's image tag."""
    await _unload_all(call)
    return web.Response(text="OK")


async def unload_one(call: Call) -> web.StreamResponse:
    """Drain and stop one; by its id, an alias or a role. Raises ModelNotFound."""
    check_same_site(call.request.headers.getall("Sec-Fetch-Site", ()))
    resolution = call.exchange.resolution = call.gateway.resolve_held(call.request.match_info["name"])
    await call.gateway.deps.pool.unload(resolution.model_id)
    return web.Response(text="OK")


async def _unload_all(call: Call) -> None:
    """Side by side: a slow one does not keep the others waiting."""
    check_same_site(call.request.headers.getall("Sec-Fetch-Site", ()))
    pool = call.gateway.deps.pool
    async with asyncio.TaskGroup() as group:
        for view in pool.views():
            group.create_task(pool.unload(view.model_id))


def _row(call: Call, view: WorkerView) -> dict[str, Any]:
    settings = call.gateway.deps.settings()
    own = settings.models.get(view.model_id)
    return {
        "model": view.model_id,
        "state": _STATES[view.state],
        "cmd": " ".join(view.command),
        # A worker mostly has no address that others could use; this one leads to it.
        "proxy": f"{call.origin}/upstream/{quote(view.model_id)}",
        "ttl": int(settings.knobs(view.model_id, view.engine).idle_ttl_s),
        "name": own.name if own else "",
        "description": own.description if own else "",
    }
