"""How paired machines stand, as routing and people see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from roost.engines.far import FarServer
from roost.errors import NodeUnreachable

#: Peers send a heartbeat every ten seconds: three missed are silence.
FIRST_BYTE_S = 30.0


class Link(StrEnum):
    #: Asked and answered.
    UP = "up"
    #: It has not answered since this roost started.
    CONNECTING = "connecting"
    #: It stopped answering, or refuses this machine.
    DOWN = "down"


@dataclass(frozen=True)
class PeerModel:
    """A model of a paired machine, in that machine's words."""

    id: str
    fingerprint: str
    #: resident, loading, on-disk
    state: str
    context_length: int | None
    capabilities: frozenset[str]
    #: Requests that run and wait there.
    running: int = 0
    queued: int = 0
    #: What the tool gate found of it there: fit, fit-with-repair, unfit; None: nothing.
    verdict: str | None = None

    @property
    def is_verified(self) -> bool:
        """The tool gate there lets it pass."""
        return self.verdict in ("fit", "fit-with-repair")


@dataclass(frozen=True)
class NodeView:
    """One paired machine."""

    name: str
    #: Digits of its key's digest: its identity, whatever its name.
    node_id: str
    #: HOST:PORT; None: it comes to us, we do not go to it.
    address: str | None
    link: Link
    #: Round trip of the last look, in seconds.
    latency_s: float | None = None
    #: Unix time of its last answer.
    seen_at: float | None = None
    version: str | None = None
    draining: bool = False
    models: tuple[PeerModel, ...] = ()
    #: role -> physical id there.
    roles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: Bytes that its models may take, and that are free of them.
    budget_bytes: int | None = None
    free_bytes: int | None = None
    #: Why it is not up, for people, and the command that mends it.
    problem: str | None = None
    mend: str | None = None
    #: It can be woken for a request.
    wakes: bool = False


class Nodes(Protocol):
    """All paired machines of this one."""

    def views(self) -> tuple[NodeView, ...]:
        """As of the last look. Cheap: read at each request."""
        ...

    async def reach(self, name: str) -> FarServer:
        """The way to it; wakes it if it sleeps and can be woken. Raises NodeUnreachable."""
        ...

    def note(self, name: str, *, failed: bool) -> None:
        """A request to it got an answer, or the connection broke: three in ten seconds open its circuit."""
        ...


class NoNodes:
    """Nothing is paired."""

    def views(self) -> tuple[NodeView, ...]:
        return ()

    async def reach(self, name: str) -> FarServer:
        raise NodeUnreachable(f'no machine of the name {name!r} is paired with this one; see "roost node list"')

    def note(self, name: str, *, failed: bool) -> None:
        """Of nobody."""
