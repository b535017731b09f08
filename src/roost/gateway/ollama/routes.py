"""The rows of Ollama's protocol in the route table."""

from __future__ import annotations

from functools import partial

from roost.gateway.auth import Scope
from roost.gateway.call import Body, Route
from roost.gateway.ollama import inference, listing
from roost.gateway.ollama.answers import error_bytes

_Row = partial(Route, error_body=error_bytes)
_USE = Scope.USE
_ADD = '"roost models add ID"'
_EMBED = inference.embed("input", inference.embeddings)
_EMBEDDINGS = inference.embed("prompt", inference.first_embedding)

OLLAMA_ROUTES: tuple[Route, ...] = (
    *(
        _Row(method, "/api/version", _USE, listing.version, Body.NONE, "Version of Ollama's API.")
        for method in ("GET", "HEAD")
    ),
    *(
        _Row(method, "/api/tags", _USE, listing.tags, Body.NONE, "Roles and models, Ollama's shape.")
        for method in ("GET", "HEAD")
    ),
    _Row("POST", "/api/show", _USE, listing.show, Body.JSON, "One role or model, Ollama's shape."),
    _Row("GET", "/api/ps", _USE, listing.loaded, Body.NONE, "Models in memory, Ollama's shape."),
    _Row("POST", "/api/chat", _USE, inference.chat, Body.JSON, "Ollama-shaped chat."),
    _Row("POST", "/api/generate", _USE, inference.generate, Body.JSON, "Ollama-shaped completion of a prompt."),
    _Row("POST", "/api/embed", _USE, _EMBED, Body.JSON, "Ollama-shaped embeddings."),
    _Row("POST", "/api/embeddings", _USE, _EMBEDDINGS, Body.JSON, "Ollama-shaped embedding of one text."),
    _Row("POST", "/api/pull", _USE, listing.refused("pull a model", _ADD), Body.NONE, "Refused."),
    _Row("POST", "/api/push", _USE, listing.refused("push a model", _ADD), Body.NONE, "Refused."),
    _Row("POST", "/api/create", _USE, listing.refused("create a model", _ADD), Body.NONE, "Refused."),
    _Row("POST", "/api/copy", _USE, listing.refused("copy a model", _ADD), Body.NONE, "Refused."),
    _Row(
        "DELETE", "/api/delete", _USE, listing.refused("delete a model", '"roost models rm ID"'), Body.NONE, "Refused."
    ),
)
