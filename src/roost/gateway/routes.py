"""Every route on one screen. A row without a scope cannot be written."""

from __future__ import annotations

from roost.gateway import explaining, health, logs, models, nodes, openapi, own_api, peers, weights
from roost.gateway.anthropic.routes import ANTHROPIC_ROUTES
from roost.gateway.auth import Scope
from roost.gateway.call import Body, Route
from roost.gateway.inference import inference
from roost.gateway.llama_swap.routes import LLAMA_SWAP_ROUTES
from roost.gateway.ollama.routes import OLLAMA_ROUTES
from roost.gateway.responses.inference import responses
from roost.gateway.surfaces import SURFACES
from roost.gateway.upstream import METHODS, relay_to_worker

_OPEN, _USE, _MANAGE, _PEER, _CONTROL = Scope.OPEN, Scope.USE, Scope.MANAGE, Scope.PEER, Scope.CONTROL

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
    Route("POST", "/roost/v1/models/{name:.+}/pull", _CONTROL, weights.pull, Body.JSON, "Fetch a model from a peer."),
    Route("POST", "/roost/v1/models/{name:.+}/push", _CONTROL, weights.push, Body.JSON, "Send a model to a peer."),
    Route("PUT", "/roost/v1/roles/{role:.+}", _MANAGE, own_api.put_role, Body.JSON, "Point a role at a model."),
    Route("GET", "/roost/v1/nodes", _MANAGE, nodes.nodes, Body.NONE, "Paired machines, and how they stand."),
    Route("POST", "/roost/v1/nodes/invites", _CONTROL, nodes.node_invite, Body.NONE, "Make a one-time code."),
    Route("GET", "/roost/v1/nodes/invites/{invite}", _CONTROL, nodes.node_outcome, Body.NONE, "What became of it."),
    Route("POST", "/roost/v1/nodes/join", _CONTROL, nodes.node_join, Body.JSON, "Be paired by a code."),
    Route("POST", "/roost/v1/nodes/{name}/revoke", _CONTROL, nodes.node_revoke, Body.NONE, "Part from a machine."),
    Route("GET", "/roost/v1/peer/status", _PEER, peers.peer_status, Body.NONE, "How this machine stands."),
    Route("POST", "/roost/v1/peer/renew", _PEER, peers.peer_renew, Body.JSON, "Where the asking machine is now."),
    Route("POST", "/roost/v1/peer/join", _OPEN, peers.peer_join, Body.JSON, "Prove a one-time code and be paired."),
    Route("GET", "/roost/v1/peer/models/{name:.+}/files", _PEER, weights.peer_files, Body.NONE, "A model's files."),
    Route("GET", "/roost/v1/peer/models/{name:.+}/files/{digest}", _PEER, weights.peer_file, Body.NONE, "One of them."),
    Route("POST", "/roost/v1/peer/models/{name:.+}/arrive", _PEER, weights.peer_arrive, Body.JSON, "Announce a model."),
    Route("PUT", "/roost/v1/peer/models/{name:.+}/files/{digest}", _PEER, weights.peer_take, Body.ANY, "A part of it."),
    Route("POST", "/roost/v1/shutdown", _CONTROL, own_api.shutdown, Body.NONE, "Drain and end the daemon."),
    *(
        Route(method, "/upstream/{target:.+}", _MANAGE, relay_to_worker, Body.ANY, "Any path of a model's worker.")
        for method in METHODS
    ),
)
