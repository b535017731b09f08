"""Rows of `/v1/models` beyond this machine: classes of work, and what paired machines have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from roost.errors import RoostError
from roost.gateway.destinations import Destination, destination_of
from roost.gateway.elsewhere import model_at, view_of_node
from roost.gateway.state import Gateway
from roost.nodes.types import Link, NodeView, PeerModel


def rows_elsewhere(gateway: Gateway) -> Iterator[dict[str, Any]]:
    """Classes, roles that point at a paired machine, then the models of these: as `id@node`, and as the id where only
    they have it."""
    settings = gateway.deps.settings()
    for name, own in settings.classes.items():
        if not _is_taken(gateway, name):
            row = _row(name, "class", None, None, own.description)
            yield row | {"roost": row["roost"] | {"candidates": [one.to for one in own.candidates]}}
    for role in gateway.roles():
        found = _elsewhere(gateway, role)
        if found is not None and found.far is not None:
            view = view_of_node(gateway.deps.nodes, found.far.name)
            told = model_at(view, found.spec.id) if view else None
            yield _row(role, "role", told, view, "", found.spec.id)
    seen: set[str] = set()
    for view in gateway.deps.nodes.views():
        for told in view.models:
            if told.id not in seen and gateway.deps.catalog.get(told.id) is None:
                seen.add(told.id)
                yield _row(told.id, "model", told, view, "")
            yield _row(f"{told.id}@{view.name}", "model", told, view, "")


def _is_taken(gateway: Gateway, name: str) -> bool:
    return name in gateway.roles() or gateway.deps.catalog.get(name) is not None


def _elsewhere(gateway: Gateway, role: str) -> Destination | None:
    """Where a role leads that means a paired machine's model; None: it does not, or cannot be reached."""
    try:
        resolution = gateway.resolve_anywhere(role)
        if resolution.node in (None, gateway.deps.node):
            return None
        return destination_of(gateway, resolution)
    except RoostError:
        return None


def _row(
    name: str, kind: str, told: PeerModel | None, view: NodeView | None, description: str, model_id: str | None = None
) -> dict[str, Any]:
    state = told.state if told and view and view.link is Link.UP else "unreachable" if view else "class"
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "roost",
        **({"description": description} if description else {}),
        "meta": {"llamaswap": {"type": "alias" if kind == "role" else kind}},
        "status": {"value": "loaded" if state == "resident" else "unloaded"},
        "roost": {
            "kind": kind,
            "resolves_to": model_id or (told.id if told else None),
            "state": state,
            "node": view.name if view else None,
            "context_length": told.context_length if told else None,
            "capabilities": sorted(told.capabilities) if told else [],
            "verified": bool(told and told.is_verified),
            "verdict": told.verdict if told else None,
        },
    }
