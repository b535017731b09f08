"""One place that may serve one request: here, at a paired machine, at a provider."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from roost.catalog.spec import ModelSpec
from roost.errors import NodeUnreachable
from roost.gateway.call import Call
from roost.gateway.elsewhere import cloud_spec, model_at, peer_spec, view_of_node
from roost.gateway.far import Far
from roost.gateway.state import Gateway
from roost.nodes.types import FIRST_BYTE_S, Link
from roost.registry.types import Resolution
from roost.workers.types import FarServer

CLOUD = "cloud:"


@dataclass(frozen=True)
class Destination:
    """Where a request may go, as what."""

    resolution: Resolution
    spec: ModelSpec
    #: None: it stays here.
    far: Far | None = None
    #: The candidate as the settings write it; "": the name has none.
    label: str = ""
    #: Somebody else could serve it too: it waits no longer than that for its turn.
    patience_s: float | None = None
    #: It comes before others because it served this conversation before.
    is_kept: bool = False
    #: What became of all candidates, for the decision.
    steps: tuple[str, ...] = ()

    @property
    def hush_s(self) -> float:
        """How long a stream's client is told nothing, so that another one may still serve it."""
        if self.patience_s is None:
            return 0.0
        return self.patience_s + 1.0 + (self.far.first_byte_s if self.far else 0.0)


def here_or_paired(call: Call, name: str) -> Destination:
    """What a name without candidates means: one place. Raises ModelNotFound, ModelUnavailable, NodeUnreachable."""
    resolution = call.exchange.resolution = call.resolve_anywhere(name)
    return destination_of(call.gateway, resolution)


def destination_of(gateway: Gateway, resolution: Resolution) -> Destination:
    """The place of a resolution. Raises ModelUnavailable, NodeUnreachable."""
    if resolution.node in (None, gateway.deps.node):
        return Destination(resolution, gateway.spec(resolution))
    assert resolution.node is not None
    return _at_node(gateway, resolution, resolution.node)


def in_cloud(call: Call, resolution: Resolution, cloud: str) -> Destination:
    """A provider's model. Raises ModelNotFound for one that the settings do not name."""
    clouds = call.gateway.deps.clouds
    consumer = call.exchange.consumer
    model = clouds.model(cloud, resolution.model_id)

    async def reach() -> FarServer:
        return await clouds.reach(
            cloud,
            resolution.model_id,
            key_budget_usd=consumer.cloud_usd_per_day if consumer else None,
            key_name=consumer.name if consumer else None,
        )

    settings = call.gateway.deps.settings()
    own = settings.clouds.get(cloud)
    times_s = settings.queue.max_wait_s, own.first_byte_s if own else 0.0
    far = Far(f"{CLOUD}{cloud}", True, reach, lambda failed: clouds.note(cloud, failed=failed), *times_s)
    return Destination(resolution, cloud_spec(cloud, model), far)


def _at_node(gateway: Gateway, resolution: Resolution, node: str) -> Destination:
    nodes = gateway.deps.nodes
    view = view_of_node(nodes, node)
    if view is None:
        raise NodeUnreachable(f'no machine of the name "{node}" is paired with this one; see "roost node list"')
    if view.link is Link.DOWN and not view.wakes:
        why = view.problem or "it does not answer"
        raise NodeUnreachable(
            f"cannot serve {resolution.model_id}: {node} is away ({why})"
            + (f'; run "{view.mend}"' if view.mend else "; it is tried again by itself"),
            retry_after_s=2,
        )
    spec = peer_spec(node, resolution.model_id, model_at(view, resolution.model_id))
    times_s = gateway.deps.settings().queue.max_wait_s, FIRST_BYTE_S
    far = Far(node, False, partial(nodes.reach, node), lambda failed: nodes.note(node, failed=failed), *times_s)
    return Destination(resolution, spec, far)
