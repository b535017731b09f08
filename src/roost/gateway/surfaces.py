"""The inference routes as a table: what each needs of a model and of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from roost.catalog.spec import ModelSpec
from roost.config.settings import Settings
from roost.errors import NotOffered, Refused
from roost.gateway.fields import check_images
from roost.registry.types import Resolution
from roost.workers.types import ReadyWorker


@dataclass(frozen=True)
class Surface:
    """`name` is the word in `EngineTraits.surfaces`; a model needs one of `capabilities`."""

    name: str
    path: str
    capabilities: frozenset[str]
    #: The field that a too long prompt is blamed on.
    param: str
    #: It generates tokens: caps, penalties, streams.
    generates: bool = True
    #: Its bodies are OpenAI's.
    is_openai: bool = True


CHAT = Surface("chat", "/v1/chat/completions", frozenset({"chat"}), "messages")
COMPLETIONS = Surface("completions", "/v1/completions", frozenset({"completion", "chat"}), "prompt")
# A chat model embeds too where its engine offers that; only its READY worker can tell.
EMBEDDINGS = Surface(
    "embeddings", "/v1/embeddings", frozenset({"embedding", "chat", "completion"}), "input", generates=False
)
RERANK = Surface("rerank", "/v1/rerank", frozenset({"rerank"}), "documents", generates=False)
#: Of providers that speak it themselves; everywhere else it is translated to a chat.
MESSAGES = Surface("messages", "/v1/messages", frozenset({"chat"}), "messages", is_openai=False)
SURFACES = (CHAT, COMPLETIONS, EMBEDDINGS, RERANK)


def check_model(
    surface: Surface, spec: ModelSpec, resolution: Resolution, settings: Settings, values: dict[str, Any]
) -> None:
    """Raises Refused, naming what the model lacks for this route, this role or these images."""
    if not surface.capabilities & spec.capabilities:
        raise Refused(f"{spec.id} cannot serve {surface.path}: {_abilities(spec)}", param="model")
    role = settings.roles.get(resolution.role or "")
    missing = [one for one in (role.requires if role else ()) if one not in spec.capabilities]
    if missing:
        raise Refused(
            f"role {resolution.role} requires {', '.join(missing)} and {spec.id} lacks it: {_abilities(spec)}; "
            f'point the role elsewhere with "roost use {resolution.role} MODEL"',
            param="model",
        )
    check_images(values, spec.id, "vision" in spec.capabilities)


def check_engine(surface: Surface, worker: ReadyWorker) -> None:
    """Raises NotOffered when the worker's engine does not offer the route."""
    if surface.name not in worker.traits.surfaces:
        raise NotOffered(
            f"{worker.model_id} cannot serve {surface.path}: its engine {worker.engine} offers "
            f"{', '.join(sorted(worker.traits.surfaces))}",
            param="model",
        )


def _abilities(spec: ModelSpec) -> str:
    return f"it can do {', '.join(sorted(spec.capabilities)) or 'nothing that roost knows of'}"
