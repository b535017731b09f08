"""Keys of llama-swap that roost has no place for, and what there is instead: the text of each warning."""

from __future__ import annotations

GLOBAL = {
    "logRequests": 'roost writes one line for each request anyway; see "roost logs"',
    "logTimeFormat": "roost's log is JSON with its own times",
    "logToStdout": 'roost logs to files; "roost logs" and GET /logs/stream show them',
    "metricsMaxInMemory": "roost keeps its activity in a database",
    "captureBuffer": "roost keeps no bodies of requests",
    "store": "roost keeps its state below ROOST_STATE",
    "ui": "roost has no settings for a web page",
    "performance": "GET /metrics has what roost measures",
    "unloadTimeout": "a worker gets 10 s to end after SIGTERM, and drain_s before it",
    "startPort": "roost takes a free port for each start",
    "sendLoadingState": "roost tells the phase in SSE comments, never in the text of an answer",
    "includeAliasesInList": "GET /v1/models lists roles and models",
    "upstream": "static files of a model that is not loaded are 409, by a list of endings that is fixed",
    "tailcat": "roost is reached over HTTP; other machines need keys and TLS",
}
#: Of a router that is not in use.
ROUTER = {"groups": "routing.router.use is matrix, so they mean nothing", "matrix": "routing.router.use is not matrix"}
SELECTOR = {"metadata": "GET /v1/models has no free fields"}
MODEL = {
    "unloadTimeout": GLOBAL["unloadTimeout"],
    "metadata": "GET /v1/models has no free fields",
    "sendLoadingState": GLOBAL["sendLoadingState"],
    "timeouts": "roost ends a request only when its worker shows no sign of work (engine.stall_s)",
    "healthCheckTimeout": "llama-swap takes it from the top level; set it there",
    "compat": "a websocket through /upstream loads its model and counts like any other request",
}
CAPABILITIES = {"disableAuto": "roost asks no server what it can do; what is declared is what counts"}
PEER = {"timeouts": MODEL["timeouts"]}
SCHEDULER = {"use": "roost swaps fairly, whatever scheduler is named"}
