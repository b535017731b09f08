"""The rows of these routes."""

from __future__ import annotations

from roost.gateway.auth import Scope
from roost.gateway.call import Body, Route
from roost.gateway.llama_swap import logs, management, profiles
from roost.gateway.llama_swap.dispatch import VERSIONLESS, dispatch_body, dispatch_query

_USE, _MANAGE = Scope.USE, Scope.MANAGE

#: Relayed as they are to the worker of the model in their body.
_BY_BODY = (
    ("/v1/reranking", "Rerank, in the worker's own shape."),
    ("/rerank", "Rerank, in the worker's own shape."),
    ("/reranking", "Rerank, in the worker's own shape."),
    ("/infill", "llama.cpp's fill in the middle."),
    ("/completion", "llama.cpp's own completion."),
    ("/v1/audio/speech", "Text to speech."),
    ("/v1/audio/voices", "Voices of a speech model."),
    ("/v1/audio/transcriptions", "Speech to text; a form with a file."),
    ("/v1/audio/translations", "Speech to English text; a form with a file."),
    ("/v1/images/generations", "Images from text."),
    ("/v1/images/edits", "Images from images; a form with files."),
    ("/sdapi/v1/txt2img", "stable-diffusion.cpp's images from text."),
    ("/sdapi/v1/img2img", "stable-diffusion.cpp's images from images."),
    # For a server whose address ends in another version than 1: what stands behind /v goes to it.
    *((f"/v/{name}", f"`{name}` of a server with a version of its own in its address.") for name in VERSIONLESS),
)

LLAMA_SWAP_ROUTES: tuple[Route, ...] = (
    Route("GET", "/running", _USE, management.running, Body.NONE, "The workers that run, as llama-swap lists them."),
    Route("GET", "/unload", _MANAGE, management.unload_all_by_get, Body.NONE, "Stop every worker."),
    Route("POST", "/api/models/unload", _MANAGE, management.unload_all, Body.NONE, "Stop every worker."),
    Route("POST", "/api/models/unload/{name:.+}", _MANAGE, management.unload_one, Body.NONE, "Stop a model's worker."),
    Route("GET", "/api/profiles", _USE, profiles.list_profiles, Body.NONE, "Profiles, and the active one."),
    # A page cannot send a PUT without asking first, whatever its type: scripts need not name one.
    Route("PUT", "/api/profiles/active", _MANAGE, profiles.choose_profile, Body.ANY, "Choose a profile, or none."),
    Route("GET", "/logs", _MANAGE, logs.history, Body.NONE, "The end of roost's own log."),
    Route("GET", "/logs/stream", _MANAGE, logs.stream, Body.NONE, "All logs as they are written."),
    Route("GET", "/logs/stream/{log:.+}", _MANAGE, logs.stream, Body.NONE, "One of them: proxy, upstream, a model."),
    *(Route("POST", path, _USE, dispatch_body, Body.ANY, summary) for path, summary in _BY_BODY),
    Route("GET", "/v1/audio/voices", _USE, dispatch_query, Body.NONE, "Voices of a speech model."),
    Route("GET", "/sdapi/v1/loras", _USE, dispatch_query, Body.NONE, "stable-diffusion.cpp's adapters."),
)
