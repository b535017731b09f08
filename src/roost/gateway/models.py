"""`/v1/models`: roles and models, each with what it means and whether it is ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from roost.catalog.spec import FileRole, ModelSpec, UnavailableModel
from roost.errors import ModelNotFound
from roost.gateway.anthropic.listing import VERSION_HEADER, model_page, model_row
from roost.gateway.call import Call
from roost.gateway.listing_elsewhere import rows_elsewhere
from roost.gateway.state import Gateway
from roost.workers.types import WorkerView

_NANOSECONDS = 1_000_000_000
#: States of a worker as a client reads them; everything else is the state's own name.
_STATES = {"ready": "resident", "starting": "loading", "queued": "loading"}


async def list_models(call: Call) -> web.StreamResponse:
    """Roles first, then models by id; in Anthropic's words for its clients."""
    rows = [row for row in _rows(call.gateway, to_peer=call.exchange.peer is not None) if call.may_ask_for(row["id"])]
    theirs = VERSION_HEADER in call.request.headers
    return web.json_response(model_page(rows) if theirs else {"object": "list", "data": rows})


async def show_model(call: Call) -> web.StreamResponse:
    """One role or model; ids have slashes. Raises ModelNotFound."""
    name = call.request.match_info["name"]
    call.check_name(name)
    row = _row_of(call.gateway, name)
    return web.json_response(model_row(row) if VERSION_HEADER in call.request.headers else row)


def _row_of(gateway: Gateway, name: str) -> dict[str, Any]:
    for row in _rows(gateway):
        if row["id"] == name:
            return row
    resolution = gateway.resolve_anywhere(name)
    is_here = resolution.node in (None, gateway.deps.node)
    listed_as = resolution.model_id if is_here else f"{resolution.model_id}@{resolution.node}"
    for row in _rows(gateway):
        if row["id"] == listed_as:
            return row
    raise ModelNotFound(f'cannot show {resolution.model_id}: it is not listed; see "roost models"', param="model")


def listed(gateway: Gateway) -> Iterator[tuple[str, str, ModelSpec | UnavailableModel]]:
    """Every name that may be asked for, with `role`, `profile`, `selector` or `model`, and what it means now."""
    for name, kind in _redirected(gateway):
        try:
            model_id = gateway.resolve(name).model_id
        except ModelNotFound:
            # A name that means nothing cannot be asked for.
            continue
        model = gateway.deps.catalog.get(model_id)
        if model is not None:
            yield name, kind, model
    for model in gateway.deps.catalog.all():
        if not _hidden(gateway, model.id):
            yield model.id, "model", model


def _redirected(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """Names that are not their model's own, each once, by what wins."""
    settings = gateway.deps.settings()
    selectors = [name for name, selector in settings.selectors.items() if not selector.unlisted]
    seen: set[str] = set()
    for kind, names in (
        ("role", gateway.roles()),
        ("profile", gateway.profile.pins(settings)),
        ("selector", selectors),
    ):
        for name in names:
            if name not in seen and (kind == "role" or gateway.deps.catalog.get(name) is None):
                seen.add(name)
                yield name, kind


def window(gateway: Gateway, model: ModelSpec, view: WorkerView | None) -> int | None:
    """Tokens of one request: of the running worker, else what the settings and the model allow; None: unknown."""
    return (view.context_length if view else None) or gateway.settled().context_length(model)


def view_of(gateway: Gateway, model_id: str) -> WorkerView | None:
    """The worker of a model, if it has one."""
    return next((view for view in gateway.deps.pool.views() if view.model_id == model_id), None)


def _rows(gateway: Gateway, *, to_peer: bool = False) -> Iterator[dict[str, Any]]:
    views = {view.model_id: view for view in gateway.deps.pool.views()}
    for name, kind, model in listed(gateway):
        yield _row(gateway, name, kind, model, views.get(model.id))
    if not to_peer:
        yield from rows_elsewhere(gateway)


def _hidden(gateway: Gateway, model_id: str) -> bool:
    own = gateway.deps.settings().models.get(model_id)
    return own is not None and (own.draft_only or own.unlisted)


def _row(
    gateway: Gateway, name: str, kind: str, model: ModelSpec | UnavailableModel, view: WorkerView | None
) -> dict[str, Any]:
    details: dict[str, Any] = {"kind": "model" if kind == "model" else "role"}
    details |= {"resolves_to": model.id, "state": _state(model, view)}
    details["node"] = gateway.deps.node
    if isinstance(model, ModelSpec):
        details["context_length"] = window(gateway, model, view)
        details["capabilities"] = sorted(model.capabilities)
        verdict = gateway.deps.verdict(model)
        details |= {"verified": bool(verdict and verdict.passed), "verdict": verdict.word if verdict else None}
    else:
        nothing: dict[str, Any] = {"context_length": None, "capabilities": [], "verified": False, "verdict": None}
        details |= {**nothing, "note": model.reason}
    return {
        "id": name,
        "object": "model",
        "created": created(model),
        "owned_by": "roost",
        **_shown(gateway, name, kind, model.id),
        # Two members that scripts for llama-swap read.
        "meta": {"llamaswap": {"type": "alias" if kind == "role" else kind}},
        "status": {"value": "loaded" if details["state"] == "resident" else "unloaded"},
        "roost": details,
    }


def _shown(gateway: Gateway, name: str, kind: str, model_id: str) -> dict[str, str]:
    """Name and description, where the settings give them."""
    settings = gateway.deps.settings()
    if kind == "profile":
        return {}
    own = settings.selectors.get(name) if kind == "selector" else settings.models.get(model_id)
    texts = {"name": own.name, "description": own.description} if own else {}
    return {key: text for key, text in texts.items() if text}


def _state(model: ModelSpec | UnavailableModel, view: WorkerView | None) -> str:
    if isinstance(model, UnavailableModel):
        return "unavailable"
    if view is None or view.state == "stopped":
        return "on-disk"
    return _STATES.get(view.state, view.state)


def created(model: ModelSpec | UnavailableModel) -> int:
    """Unix time of the newest weights file; the same at each call."""
    if isinstance(model, UnavailableModel):
        return 0
    return max((file.mtime_ns for file in model.files if file.role is FileRole.WEIGHTS), default=0) // _NANOSECONDS
