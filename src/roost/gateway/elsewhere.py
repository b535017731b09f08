"""The models of paired machines, as names are looked up in them."""

from __future__ import annotations

from typing import get_args

from roost.catalog.spec import Capability, ModelFormat, ModelSpec, Source, SourceKind
from roost.cloud.types import CloudModel
from roost.errors import ModelNotFound
from roost.nodes.types import Link, Nodes, NodeView, PeerModel

_CAPABILITIES = frozenset(get_args(Capability))
#: Of a model that nobody has told of yet.
_PERHAPS = frozenset(("chat", "completion", "embedding", "rerank", "tools", "vision"))


class PairedModels:
    """See `registry.resolve.Elsewhere`."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def knows(self, node: str) -> bool:
        return view_of_node(self._nodes, node) is not None

    def meaning(self, node: str, name: str, requested: str) -> str:
        view = view_of_node(self._nodes, node)
        if view is None or (not view.models and view.link is not Link.UP):
            # It has not told yet what it has: its own answer to this very name is then the one that counts.
            return name
        if any(model.id == name for model in view.models):
            return name
        if name in view.roles:
            return view.roles[name]
        raise ModelNotFound(
            f"cannot serve {requested!r}: node {node} has neither a model nor a role of the name {name!r}, nothing was "
            'substituted; see "roost node list"',
            param="model",
        )

    def who_has(self, model_id: str) -> str | None:
        holders = [view for view in self._nodes.views() if any(model.id == model_id for model in view.models)]
        best = min(holders, key=lambda view: _distance(view, model_id), default=None)
        return best.name if best else None


def view_of_node(nodes: Nodes, name: str) -> NodeView | None:
    """The paired machine of this name."""
    return next((view for view in nodes.views() if view.name == name), None)


def model_at(view: NodeView, model_id: str) -> PeerModel | None:
    """A paired machine's model, as it told."""
    return next((model for model in view.models if model.id == model_id), None)


def peer_spec(node: str, model_id: str, told: PeerModel | None) -> ModelSpec:
    """A paired machine's model in the words of this one's; what it did not tell is not checked here but there."""
    capabilities = (
        told.capabilities if told else frozenset(("chat", "completion", "embedding", "rerank", "tools", "vision"))
    )
    return _declared(
        model_id, node, capabilities, told.context_length if told else None, told.fingerprint if told else ""
    )


def cloud_spec(cloud: str, model: CloudModel) -> ModelSpec:
    """A provider's model in the words of this machine's."""
    return _declared(model.id, f"cloud:{cloud}", model.capabilities, model.context_length, "")


def _declared(
    model_id: str, where: str, capabilities: frozenset[str], context_length: int | None, fingerprint: str
) -> ModelSpec:
    return ModelSpec(
        id=model_id,
        format=ModelFormat.DECLARED,
        path=None,
        source=Source(kind=SourceKind.DECLARED, location=where),
        capabilities=frozenset(one for one in _CAPABILITIES if one in capabilities),
        context_length=context_length,
        fingerprint=fingerprint,
    )


def _distance(view: NodeView, model_id: str) -> tuple[bool, bool, float]:
    """Whoever is up and has it loaded comes first, then the nearest."""
    told = model_at(view, model_id)
    loaded = told is not None and told.state == "resident"
    return view.link is not Link.UP, not loaded, view.latency_s or 0.0
