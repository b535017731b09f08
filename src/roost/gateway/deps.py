"""What the gateway is given by the composition root. It builds nothing itself and owns no state but its counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from roost.api import RoleChange, RoleReport, StatusReport
from roost.catalog.spec import ModelSpec
from roost.catalog.types import CatalogView
from roost.cloud.types import Clouds, NoClouds
from roost.config.settings import Settings
from roost.nodes.pairing import NoPairing, Pairing
from roost.nodes.travel import NoWeights, Weights
from roost.nodes.types import Nodes, NoNodes
from roost.registry.types import RegistryState
from roost.store.keys import Consumer
from roost.store.types import ActivityLog
from roost.store.usage import Usage
from roost.store.verdicts import Verdict
from roost.workers.types import Pool


class KeyRing(Protocol):
    """The hashed keys of state/keys.json."""

    def configured(self) -> bool:
        """Whether a caller needs a key; else one on loopback does not. Keys may be needed while there is none."""
        ...

    def consumer(self, presented: str) -> Consumer | None:
        """The owner of this key; None for a wrong, revoked or expired one. Constant time in the secret part."""
        ...


@dataclass(frozen=True)
class GatewayDeps:
    #: Read at each request: a reload swaps the value, never a running stream.
    settings: Callable[[], Settings]
    registry: Callable[[], RegistryState]
    catalog: CatalogView
    pool: Pool
    activity: ActivityLog
    keys: KeyRing
    status: Callable[[], StatusReport]
    #: `PUT /roost/v1/roles/{role}`: writes the registry file; raises RoostError.
    put_role: Callable[[str, RoleChange], Awaitable[RoleReport]]
    #: True from the first SIGTERM: new requests are 503 shutting_down.
    draining: Callable[[], bool]
    #: This machine's name in `x-roost-node`.
    node: str
    version: str
    #: Path of the daemon's own log, for `/logs`.
    daemon_log: Callable[[], str | None]
    #: `POST /roost/v1/shutdown` (control socket only): starts the drain.
    shutdown: Callable[[], None]
    #: What the tool gate found of a model as it is served now; None: nothing that still holds.
    verdict: Callable[[ModelSpec], Verdict | None] = lambda spec: None
    #: What each consumer has asked, by the names of keys; blocks.
    usage: Callable[[], Mapping[str, Usage]] = dict
    #: Paired machines, and providers: what requests may be sent on to.
    nodes: Nodes = field(default_factory=NoNodes)
    clouds: Clouds = field(default_factory=NoClouds)
    #: Whether this machine runs on battery now.
    on_battery: Callable[[], bool] = lambda: False
    pairing: Pairing = field(default_factory=NoPairing)
    #: Models as files, from and to paired machines.
    weights: Weights = field(default_factory=NoWeights)
    #: Host values, in lower case, by which the TLS listener is called besides its address.
    door_hosts: Callable[[], frozenset[str]] = frozenset
