"""A model as Ollama's clients list it: details, capabilities, model_info. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from roost.catalog.spec import ModelFormat, ModelSpec

#: Ours to theirs; rerank has no word there.
_CAPABILITIES = {
    "chat": "completion",
    "completion": "completion",
    "tools": "tools",
    "vision": "vision",
    "thinking": "thinking",
    "embedding": "embedding",
}
#: A model of which roost has no files has no digest; clients cut twelve digits off whatever stands there.
_NO_DIGEST = "0" * 64
_SCALES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def row(name: str, model: ModelSpec, created: int) -> dict[str, Any]:
    """One entry of /api/tags."""
    return {
        **identity(name, model),
        "modified_at": timestamp(created),
        "capabilities": capabilities(model),
    }


def identity(name: str, model: ModelSpec) -> dict[str, Any]:
    """What /api/tags and /api/ps have in common."""
    return {
        "name": name,
        "model": name,
        "size": model.weights_bytes,
        "digest": model.fingerprint or _NO_DIGEST,
        "details": details(model),
    }


def details(model: ModelSpec) -> dict[str, Any]:
    """Family, size and quantization as people read them."""
    family = model.architecture or ""
    return {
        "parent_model": model.base_id or "",
        "format": "" if model.format is ModelFormat.DECLARED else model.format.value,
        "family": family,
        "families": [family] if family else [],
        "parameter_size": short_count(model.parameters_total),
        "quantization_level": model.quantization or "",
    }


def capabilities(model: ModelSpec) -> list[str]:
    """In the words and the order that clients know."""
    return list(dict.fromkeys(word for own, word in _CAPABILITIES.items() if own in model.capabilities))


def description(model: ModelSpec, context_length: int | None, created: int) -> dict[str, Any]:
    """The answer of /api/show."""
    return {
        "license": "",
        "modelfile": f"# {model.id} is served by roost\n",
        "parameters": "",
        "template": model.chat_template or "",
        "details": details(model),
        "model_info": model_info(model, context_length),
        "capabilities": capabilities(model),
        "modified_at": timestamp(created),
    }


def model_info(model: ModelSpec, context_length: int | None) -> Mapping[str, Any]:
    """Header keys; clients read the window as `<architecture>.context_length`."""
    kind = model.architecture or "unknown"
    known = {
        "general.architecture": kind,
        "general.parameter_count": model.parameters_total,
        f"{kind}.context_length": context_length,
        f"{kind}.embedding_length": model.attention.embedding_length,
        f"{kind}.block_count": model.attention.layers,
        f"{kind}.attention.head_count": model.attention.heads,
    }
    return {key: value for key, value in known.items() if value is not None}


def timestamp(unix_s: float) -> str:
    """As RFC 3339, in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")


def short_count(count: int | None) -> str:
    """134.5M, 30.5B; nothing when it is not known."""
    if count is None:
        return ""
    for scale, letter in _SCALES:
        if count >= scale:
            return f"{count / scale:.1f}{letter}"
    return str(count)
