"""What the gateway asks of the desk, and the desk of a machine that knows no other."""

from __future__ import annotations

from typing import NoReturn, Protocol

from roost.api import Invitation, InviteOutcome, NodesReport, Paired, Revoked
from roost.errors import BadConfiguration, NotPaired
from roost.nodes.shapes import Joined, Joining, PeerStatus


class Pairing(Protocol):
    """Who is paired, and how one gets paired."""

    def node_id(self) -> str | None:
        """This machine's; None: it has no key yet."""
        ...

    def key_digest(self, certificate: bytes) -> str:
        """Whose certificate (DER) this is. Raises NotPaired for one that no roost made."""
        ...

    def admitted(self, node_id: str) -> str:
        """The name of the peer with this key, which asks something now. Cheap. Raises NotPaired."""
        ...

    async def status(self) -> PeerStatus:
        """How this machine stands, for peers."""
        ...

    async def news(self, node_id: str, addresses: tuple[str, ...]) -> None:
        """A peer can be reached there from now on."""
        ...

    async def invite(self) -> Invitation:
        """Raises BadConfiguration when nobody could come in."""
        ...

    async def outcome(self, invite: str) -> InviteOutcome:
        """What became of an invite; waits while it is open. Raises NotFound."""
        ...

    async def admit(self, joining: Joining) -> Joined:
        """A machine with a code wants in. Raises InviteRefused, BadRequest, StorageFull."""
        ...

    async def join(self, text: str) -> Paired:
        """Goes to the machine that made the code. Raises BadRequest, InviteRefused, NodeUnreachable, BadConfiguration,
        StorageFull."""
        ...

    async def revoke(self, name: str) -> Revoked:
        """Raises NotFound, StorageFull."""
        ...

    def report(self) -> NodesReport:
        """All of it, for people."""
        ...


class NoPairing:
    """Nobody is paired and nobody can be."""

    def node_id(self) -> str | None:
        return None

    def key_digest(self, certificate: bytes) -> str:
        raise NotPaired("no machine is paired with this one")

    def admitted(self, node_id: str) -> str:
        raise NotPaired("no machine is paired with this one")

    async def status(self) -> PeerStatus:
        _refuse()

    async def news(self, node_id: str, addresses: tuple[str, ...]) -> None:
        _refuse()

    async def invite(self) -> Invitation:
        _refuse()

    async def outcome(self, invite: str) -> InviteOutcome:
        _refuse()

    async def admit(self, joining: Joining) -> Joined:
        _refuse()

    async def join(self, text: str) -> Paired:
        _refuse()

    async def revoke(self, name: str) -> Revoked:
        _refuse()

    def report(self) -> NodesReport:
        return NodesReport(name="", node_id=None, addresses=(), problem=None, nodes=())


def _refuse() -> NoReturn:
    raise BadConfiguration("this roost pairs with no other machine")
