"""/api/version, /api/tags, /api/show, /api/ps, and the verbs that roost has commands for."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from roost.catalog.spec import ModelSpec
from roost.errors import Refused
from roost.gateway.body import read_body
from roost.gateway.call import Call, Handler
from roost.gateway.document import parse_object
from roost.gateway.models import created, listed, view_of, window
from roost.gateway.names import requested_name
from roost.gateway.ollama.names import spelt_here
from roost.gateway.ollama.shapes import description, identity, row, timestamp
from roost.workers.types import WorkerView

#: The version of Ollama whose API is mirrored here: clients compare it (VS Code asks for 0.6.4) and want numbers.
VERSION = "0.12.6"
#: A worker in one of these states is in memory.
_LOADED = ("ready", "draining")
#: What never expires: Ollama's own program shows so late a time as "Forever".
_NEVER = "2300-01-01T00:00:00Z"


async def version(call: Call) -> web.StreamResponse:
    """Which Ollama this is like."""
    return web.json_response({"version": VERSION})


async def tags(call: Call) -> web.StreamResponse:
    """Roles and models that can be asked for; what cannot be reached now is left out."""
    rows = [
        row(name, model, created(model))
        for name, _, model in listed(call.gateway)
        if isinstance(model, ModelSpec) and call.may_ask_for(name)
    ]
    return web.json_response({"models": rows})


async def show(call: Call) -> web.StreamResponse:
    """One role or model."""
    gateway, settings = call.gateway, call.gateway.deps.settings()
    document = parse_object(await read_body(call.request, settings.gateway), settings.gateway.max_json_depth)
    # `name` is the key of clients before 2024.
    asked = document.values.get("model") or document.values.get("name")
    resolution = call.resolve(requested_name({"model": spelt_here(gateway, asked)}, settings))
    model = gateway.spec(resolution)
    call.exchange.resolution = resolution
    context = window(gateway, model, view_of(gateway, model.id))
    return web.json_response(description(model, context, created(model)), headers=call.exchange.headers())


async def loaded(call: Call) -> web.StreamResponse:
    """The models in memory."""
    found = [(view, call.gateway.deps.catalog.get(view.model_id)) for view in call.gateway.deps.pool.views()]
    rows = [
        _loaded_row(call, view, model)
        for view, model in found
        if view.state in _LOADED and isinstance(model, ModelSpec)
    ]
    return web.json_response({"models": rows})


def _loaded_row(call: Call, view: WorkerView, model: ModelSpec) -> dict[str, Any]:
    return {
        **identity(model.id, model),
        "size": view.resident_bytes or model.weights_bytes,
        # Where an engine keeps its weights is not measured.
        "size_vram": 0,
        "expires_at": _NEVER if view.expires_at is None else timestamp(view.expires_at),
        "context_length": window(call.gateway, model, view) or 0,
    }


def refused(what: str, instead: str) -> Handler:
    """The handler of a verb that changes Ollama's own store."""

    async def handle(call: Call) -> web.StreamResponse:
        raise Refused(f"cannot {what} over this API: roost keeps its own models; run {instead}")

    return handle
