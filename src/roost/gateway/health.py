"""Is it there, does it take requests, can it serve: the open routes, and the metrics."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from roost.catalog.spec import ModelSpec
from roost.errors import InvalidApiKey, RoostError, ShuttingDown
from roost.gateway.call import Call
from roost.gateway.callers import consumer_of
from roost.gateway.destinations import destination_of
from roost.gateway.state import Gateway

#: A worker in one of these states will not serve the next request.
_BROKEN_STATES = ("failed", "backoff")


async def root(call: Call) -> web.StreamResponse:
    """What clients that look for a server here are told."""
    return web.Response(text="roost is running\n")


async def livez(call: Call) -> web.StreamResponse:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def readyz(call: Call) -> web.StreamResponse:
    """It takes new requests. Raises ShuttingDown."""
    if call.gateway.deps.draining():
        raise ShuttingDown("roost is shutting down and takes no new requests", retry_after_s=5)
    return web.json_response({"status": "ok"})


async def health(call: Call) -> web.StreamResponse:
    """200 only if the default role can be served or loaded; with keys, details only for a caller that has one."""
    gateway = call.gateway
    problem = _problem(gateway)
    report: dict[str, Any] = {"status": "ok" if problem is None else "unavailable", "version": gateway.deps.version}
    if gateway.control or _known(call):
        report |= _details(gateway, problem)
    return web.json_response(report, status=200 if problem is None else 503)


async def metrics(call: Call) -> web.StreamResponse:
    """Prometheus' text format."""
    return web.Response(body=call.gateway.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _known(call: Call) -> bool:
    try:
        consumer_of(call.request, call.gateway)
    except InvalidApiKey:
        return False
    return True


def _problem(gateway: Gateway) -> str | None:
    """Why the default role cannot be served, None when it can."""
    if gateway.deps.draining():
        return "roost is shutting down"
    try:
        resolution = gateway.resolve_anywhere("default")
        if resolution.node not in (None, gateway.deps.node):
            # Raises while the machine that has it is away.
            destination_of(gateway, resolution)
            return None
    except RoostError as error:
        return error.message
    model_id = resolution.model_id
    if not isinstance(gateway.deps.catalog.get(model_id), ModelSpec):
        return f"{model_id} is unavailable"
    for view in gateway.deps.pool.views():
        if view.model_id == model_id and (view.state in _BROKEN_STATES or view.refused):
            return f"the worker of {model_id} is in state {view.state}: {view.problem or 'unknown'}"
    return None


def _details(gateway: Gateway, problem: str | None) -> dict[str, Any]:
    state = gateway.deps.registry()
    views = gateway.deps.pool.views()
    broken = state.problem
    registry: dict[str, Any] = {"status": "ok" if broken is None else "broken"}
    if broken is not None:
        registry |= {"message": broken.message, "line": broken.line, "column": broken.column}
    return {
        "problem": problem,
        "registry": registry,
        "resident": [view.model_id for view in views if view.state == "ready"],
        "workers": [
            {"id": view.worker_id, "model": view.model_id, "state": view.state, "pid": view.pid} for view in views
        ],
    }
