"""Every route on one screen. A row without a scope cannot be written."""

from __future__ import annotations

from roost.gateway import explaining, health, logs, models, openapi, own_api
from roost.gateway.anthropic.routes import ANTHROPIC_ROUTES
from roost.gateway.auth import Scope
from roost.gateway.call import Body, Route
from roost.gateway.inference import inference
from roost.gateway.llama_swap.routes import LLAMA_SWAP_ROUTES
from roost.gateway.ollama.routes import OLLAMA_ROUTES
from roost.gateway.responses.inference import responses
from roost.gateway.surfaces import SURFACES
from roost.gateway.upstream import METHODS, relay_to_worker

_OPEN, _USE, _MANAGE = Scope.OPEN, Scope.USE, Scope.MANAGE

ROUTES: tuple[Route, ...] = (
    Route("GET", "/", _OPEN, health.root, Body.NONE, "Says that roost runs."),
    Route("HEAD", "/", _OPEN, health.root, Body.NONE, "Says that roost runs."),
    Route("GET", "/livez", _OPEN, health.livez, Body.NONE, "The process answers."),
    Route("GET", "/readyz", _OPEN, health.readyz, Body.NONE, "It takes new requests."),
    Route("GET", "/health", _OPEN, health.health, Body.NONE, "It can serve its default role."),
    Route("GET", "/metrics", _USE, health.metrics, Body.NONE, "Prometheus metrics."),
    Route("GET", "/v1/models", _USE, models.list_models, Body.NONE, "Roles and models."),
    Route("GET", "/v1/models/{name:.+}", _USE, models.show_model, Body.NONE, "One role or model."),
    *(
        Route("POST", surface.path, _USE, inference(surface), Body.JSON, f"OpenAI-shaped {surface.name}.")
        for surface in SURFACES
    ),
    Route("POST", "/v1/responses", _USE, responses, Body.JSON, "OpenAI-shaped responses; nothing is stored."),
    *ANTHROPIC_ROUTES,
    *OLLAMA_ROUTES,
    *LLAMA_SWAP_ROUTES,
    Route("GET", "/roost/v1/status", _USE, own_api.status, Body.NONE, "All there is to know, problems first."),
    Route("GET", "/roost/v1/workers", _USE, own_api.workers, Body.NONE, "The workers, and the spares."),
    Route("GET", "/roost/v1/openapi.json", _USE, openapi.document(lambda: ROUTES), Body.NONE, "This document."),
    Route("GET", "/roost/v1/activity", _MANAGE, own_api.activity, Body.NONE, "The last requests."),
    Route("GET", "/roost/v1/usage", _MANAGE, own_api.usage, Body.NONE, "What was asked with each name's keys."),
    Route("GET", "/roost/v1/decisions", _MANAGE, own_api.decisions, Body.NONE, "The last routing decisions."),
    Route("GET", "/roost/v1/explain", _MANAGE, explaining.explain, Body.NONE, "Where a request would go, and why."),
    Route("GET", "/roost/v1/logs/{worker:.+}", _MANAGE, logs.show_log, Body.NONE, "A worker's log, or `daemon`."),
    Route("POST", "/roost/v1/models/{name:.+}/load", _MANAGE, own_api.load, Body.NONE, "Make a model resident."),
    Route("POST", "/roost/v1/models/{name:.+}/unload", _MANAGE, own_api.unload, Body.NONE, "Stop a model's worker."),
    Route("POST", "/roost/v1/workers/restart", _MANAGE, own_api.restart, Body.NONE, "Restart all workers."),
    Route("POST", "/roost/v1/workers/restart/{name:.+}", _MANAGE, own_api.restart, Body.NONE, "Restart a worker."),
    Route("PUT", "/roost/v1/roles/{role:.+}", _MANAGE, own_api.put_role, Body.JSON, "Point a role at a model."),
    Route("POST", "/roost/v1/shutdown", Scope.CONTROL, own_api.shutdown, Body.NONE, "Drain and end the daemon."),
    *(
        Route(method, "/upstream/{target:.+}", _MANAGE, relay_to_worker, Body.ANY, "Any path of a model's worker.")
        for method in METHODS
    ),
)
