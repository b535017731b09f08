"""`/roost/v1/openapi.json`: the route table and the shapes of `roost.api` as an OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

from roost import api
from roost.gateway.auth import Scope
from roost.gateway.call import Body, Call, Handler, Route
from roost.gateway.replies import error_bytes

_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_SHAPES = (
    api.StatusReport,
    api.LoadAccepted,
    api.RoleChange,
    api.RoleReport,
    api.NodesReport,
    api.Invitation,
    api.InviteOutcome,
    api.JoinCode,
    api.Paired,
    api.Revoked,
    api.TravelWish,
    api.TravelEvent,
)
_ANSWERS = {
    "/roost/v1/status": "StatusReport",
    "/roost/v1/models/{name}/load": "LoadAccepted",
    "/roost/v1/models/{name}/unload": "LoadAccepted",
    "/roost/v1/workers/restart": "LoadAccepted",
    "/roost/v1/workers/restart/{name}": "LoadAccepted",
    "/roost/v1/roles/{role}": "RoleReport",
    "/roost/v1/nodes": "NodesReport",
    "/roost/v1/nodes/invites": "Invitation",
    "/roost/v1/nodes/invites/{invite}": "InviteOutcome",
    "/roost/v1/nodes/join": "Paired",
    "/roost/v1/nodes/{name}/revoke": "Revoked",
}
_BODIES = {
    "/roost/v1/roles/{role}": "RoleChange",
    "/roost/v1/nodes/join": "JoinCode",
    "/roost/v1/models/{name}/pull": "TravelWish",
    "/roost/v1/models/{name}/push": "TravelWish",
}


def document(routes: Callable[[], tuple[Route, ...]]) -> Handler:
    """The handler; the table names it, so it asks for the table only when it is called."""

    async def handle(call: Call) -> web.StreamResponse:
        return web.json_response(describe(routes(), call.gateway.deps.version))

    return handle


@lru_cache(maxsize=1)
def describe(routes: tuple[Route, ...], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a route table."""
    _, schemas = models_json_schema(
        [(shape, "serialization") for shape in _SHAPES], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "roost", "version": version},
        "paths": paths,
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}


def _operation(route: Route, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    if path in _ANSWERS:
        answer["content"] = _json(_ANSWERS[path])
    operation: dict[str, Any] = {
        "summary": route.summary,
        "responses": {"200": answer, "default": _failure(route)},
    }
    if names := _PARAMETER.findall(route.path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if path in _BODIES:
        operation["requestBody"] = {"required": True, "content": _json(_BODIES[path])}
    elif route.body is Body.JSON:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    if route.scope is not Scope.OPEN:
        operation["security"] = [{"key": []}]
        operation["x-roost-scope"] = route.scope.value
    return operation


def _failure(route: Route) -> dict[str, Any]:
    if route.error_body is not error_bytes:
        return {"description": "An error in the shape of this route's protocol."}
    return {"description": "The error object.", "content": _json("Error")}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
