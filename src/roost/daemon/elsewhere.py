"""What paired machines and providers mean here: the roles that lead to a machine, and all of them for the status."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from roost.api import ElsewhereReport
from roost.cloud.types import Clouds
from roost.errors import ModelNotFound
from roost.gateway.elsewhere import PairedModels, model_at, view_of_node
from roost.nodes.types import Link, Nodes
from roost.registry.resolve import split_node, target_of
from roost.registry.types import Registry

#: Of a model whose machine cannot be asked.
UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class FarRole:
    """What a role means elsewhere."""

    model_id: str
    node: str
    #: As the machine there told, or `unreachable`, or `unknown` for a model that it has not.
    state: str
    note: str
    mend: str

    @property
    def reachable(self) -> bool:
        return self.state not in (UNREACHABLE, "unknown")


def far_role(role: str, registry: Registry, known: Container[str], local_node: str, nodes: Nodes) -> FarRole | None:
    """None: it means a model of this machine, nothing, or one of a machine that is not paired."""
    target, _ = target_of(role, registry)
    if target is None:
        return None
    paired = PairedModels(nodes)
    name, node = split_node(target, known)
    if node is None and name not in known:
        node = paired.who_has(name)
    view = view_of_node(nodes, node) if node not in (None, local_node) else None
    if view is None or node is None:
        return None
    try:
        model_id = paired.meaning(node, name, role)
    except ModelNotFound:
        return FarRole(name, node, "unknown", f"{node} has no {name}", "roost node list")
    told = model_at(view, model_id)
    if view.link is not Link.UP and not view.wakes:
        why = view.problem or "it has not answered yet"
        return FarRole(
            model_id, node, UNREACHABLE, f"it is on {node}, which is away: {why}", view.mend or "roost node list"
        )
    return FarRole(model_id, node, told.state if told else "on-disk", f"it is on {node}", "roost node list")


def elsewhere_reports(nodes: Nodes, clouds: Clouds) -> tuple[ElsewhereReport, ...]:
    """Everybody besides this machine who may be asked."""
    paired = (
        ElsewhereReport(
            name=view.name,
            kind="node",
            state=view.link.value,
            problem=view.problem,
            latency_s=view.latency_s,
            models=len(view.models),
        )
        for view in nodes.views()
    )
    providers = (
        ElsewhereReport(
            name=view.name,
            kind="cloud",
            state="closed" if view.closed else "open",
            problem=view.closed,
            models=len(view.models),
            spent_today_usd=view.spent_today_usd,
            max_usd_per_day=view.max_usd_per_day,
        )
        for view in clouds.views()
    )
    return (*paired, *providers)
