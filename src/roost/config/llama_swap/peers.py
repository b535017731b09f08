"""`peers`: other servers' models as `[models."ID".external]`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Any

from roost.config.llama_swap import reasons
from roost.config.llama_swap.filters import filters_of
from roost.config.llama_swap.macros import Macros
from roost.config.llama_swap.source import variable
from roost.config.llama_swap.types import Table, refuse

#: roost does not ask the server what its models can do.
_ANYTHING = ("chat", "completion", "embedding", "rerank", "tools", "vision")


def peer_models(table: Table, macros: Macros, taken: Collection[str]) -> dict[str, dict[str, Any]]:
    """Each model of each peer. It is always called PEER/MODEL; by its own name too if nobody else is called so."""
    peers = [(name, entry, settings) for name, entry in table.each() if (settings := _settings(name, entry, macros))]
    offered = Counter(model_id for _, entry, _ in peers for model_id in set(entry.texts("models")))
    found: dict[str, dict[str, Any]] = {}
    for name, entry, settings in peers:
        for model_id in dict.fromkeys(entry.texts("models")):
            full_name = f"{name}/{model_id}"
            if full_name in taken:
                entry.notes.add(entry.at("models"), f'"{full_name}" is taken already, and the other one wins')
            elif model_id in taken or offered[model_id] > 1:
                whose = "is taken already" if model_id in taken else "is a model of several peers"
                entry.notes.add(entry.at("models"), f'"{model_id}" {whose}; this one is called "{full_name}"')
                found[full_name] = settings | {"external": settings["external"] | {"served_name": model_id}}
            else:
                found[model_id] = settings | {"aliases": [full_name]}
        entry.tell_the_rest(reasons.PEER)
    return found


def _settings(name: str, entry: Table, macros: Macros) -> dict[str, Any] | None:
    """What all models of a peer have in common; None for one that cannot be reached from here, which is told."""
    url = macros.text(entry.text("proxy"), entry.at("proxy"))
    if url.startswith("tailcat://"):
        entry.notes.add(entry.at("proxy"), "roost does not speak Tailcat, so this peer was left out")
        return None
    if not re.match(r"https?://.", url):
        raise refuse(entry.at("proxy"), "a URL with http:// or https:// is expected")
    if not entry.texts("models"):
        raise refuse(entry.at("models"), "a peer needs models")
    external = {"url": url} | _key(name, entry)
    filters, by_name = filters_of(entry.table("filters"), macros)
    for key in by_name:
        entry.notes.add(entry.at(f"filters.setParamsByID.{key}"), "a peer's model has no further names")
    return {"capabilities": list(_ANYTHING), "external": external} | ({"filters": filters} if filters else {})


def _key(name: str, entry: Table) -> dict[str, str]:
    """A reference to the key. One that stands in the file itself is not copied: settings hold no keys."""
    text = entry.text("apiKey")
    if not text:
        return {}
    if (own := variable(text)) is None:
        own = re.sub(r"\W+", "_", f"{name}_API_KEY").upper()
        entry.notes.add(entry.at("apiKey"), f"a key is never written into the settings: set the variable {own} to it")
    return {"api_key": f"env:{own}"}
