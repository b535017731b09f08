"""Where machines are paired and parted: invites, joining at both ends, and who may come in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import structlog

from roost.api import Invitation, InviteOutcome, NodeModelReport, NodeReport, NodesReport, Paired, Revoked
from roost.errors import BadConfiguration, BadRequest, InviteRefused, NodeUnreachable, NotPaired
from roost.nodes.identity import Identity, certificates
from roost.nodes.invites import Code, Invites, State, proof, transcript
from roost.nodes.peers import MOST_ADDRESSES, Peer, free_name
from roost.nodes.questions import UNREACHED, OneAddress, explained, split_address, told_by
from roost.nodes.room import Room
from roost.nodes.shapes import Joined, Joining, PeerStatus
from roost.nodes.tls import DOMAIN, joining_context
from roost.nodes.types import NodeView
from roost.nodes.words import words_of

log = structlog.get_logger(__name__)

JOIN_PATH = "/roost/v1/peer/join"
_JOIN_TIMEOUT_S = 10.0
_LARGEST_ANSWER_BYTES = 64 * 2**10
_PIN_DIGITS = 32


class Desk:
    """One a daemon, for the room that it serves. `status` says how this machine stands, to peers."""

    def __init__(
        self, room: Room, status: Callable[[], Awaitable[PeerStatus]], *, now: Callable[[], float] = time.time
    ) -> None:
        self._room, self._status, self._now = room, status, now
        self._invites = Invites(now)

    # Of those who come in.

    def node_id(self) -> str | None:
        """This machine's; None: it has no key yet."""
        return self._room.node_id

    def key_digest(self, certificate: bytes) -> str:
        """Whose certificate (DER) this is. Raises NotPaired for one that no roost made."""
        try:
            return str(certificates().key_digest(certificate))
        except ValueError as error:
            raise NotPaired("this certificate is of no machine that is paired with this one") from error

    def admitted(self, node_id: str) -> str:
        """The name of the peer with this key, which asks something now. Raises NotPaired."""
        peer = self._room.book.get(node_id)
        if peer is None:
            raise NotPaired(
                "this machine is not paired with the one that it asks, or not any more; "
                'run "roost node invite" there and "roost node join CODE" here'
            )
        self._room.came_in(node_id)
        return peer.name

    async def status(self) -> PeerStatus:
        return await self._status()

    async def news(self, node_id: str, addresses: tuple[str, ...]) -> None:
        """A peer can be reached there from now on."""
        if await asyncio.to_thread(self._room.book.moved, node_id, addresses):
            self._room.changed()

    # Pairing, at the machine that invites.

    async def invite(self) -> Invitation:
        """Raises BadConfiguration when nobody could come in."""
        if not self._room.addresses:
            raise BadConfiguration(
                "cannot invite: this machine listens for no other one; "
                'set nodes.listen = "0.0.0.0:11443" and restart, or start it with "roost up --profile server"'
            )
        identity = await self._room.identity()
        invite = self._invites.make()
        code = Code(self._room.addresses, identity.node_id[:_PIN_DIGITS], invite.secret)
        log.info("invite made", invite=code.invite_id)
        return Invitation(
            invite=code.invite_id, code=code.text(), expires_at=invite.expires_at, addresses=self._room.addresses
        )

    async def outcome(self, invite: str) -> InviteOutcome:
        """What became of an invite; waits while it is open. Raises NotFound."""
        found = self._invites.get(invite)
        try:
            async with asyncio.timeout(max(0.0, found.expires_at - self._now())):
                await found.over.wait()
        except TimeoutError:
            found = self._invites.get(invite)
        return InviteOutcome(state=found.state.value, peer=found.peer, words=found.words)

    async def admit(self, joining: Joining) -> Joined:
        """A machine with a code wants in. Raises InviteRefused, BadRequest, StorageFull."""
        try:
            # First of all, and cheap: where there is no invite, strangers cost nothing.
            self._invites.still_open(joining.invite)
            identity = await self._room.identity()
            pin, client_id = identity.node_id[:_PIN_DIGITS], _identified(joining.certificate)
            invite = self._invites.check(joining.invite, pin, client_id, joining.proof)
        except InviteRefused as refused:
            log.warning("join refused", invite=joining.invite, reason=refused.message)
            raise
        signature = bytes.fromhex(joining.signature) if len(joining.signature) % 2 == 0 else b""
        if not certificates().is_signed_by(joining.certificate, signature, transcript(joining.invite, pin, client_id)):
            raise BadRequest("cannot join: the signature is not of the certificate's key", param="signature")
        # Used from here on: another one with the same code must not come in between.
        invite.state = State.USED
        peer = await self._take_in(joining.name, client_id, joining.certificate, joining.addresses)
        invite.peer, invite.words = peer.name, words_of(pin, client_id, invite.secret)
        invite.end(State.USED)
        log.info("paired", node=peer.name, node_id=client_id[:_PIN_DIGITS], words=invite.words)
        return Joined(
            name=self._room.name,
            certificate=identity.certificate,
            addresses=self._room.addresses,
            proof=proof(invite.secret, "server", pin, client_id),
        )

    async def _take_in(self, name: str, node_id: str, certificate: str, addresses: tuple[str, ...]) -> Peer:
        peer = Peer(
            name=free_name(name, set()),
            node_id=node_id,
            certificate=certificate,
            addresses=addresses,
            paired_at=self._now(),
        )
        kept = await asyncio.to_thread(self._room.book.put, peer, taken=self._room.name)
        self._room.changed()
        return kept

    # Pairing, at the machine that joins.

    async def join(self, text: str) -> Paired:
        """Goes to the machine that made the code. Raises BadRequest, InviteRefused, NodeUnreachable, BadConfiguration,
        StorageFull."""
        code = Code.read(text)
        identity = await self._room.identity()
        if identity.node_id.startswith(code.pin):
            raise InviteRefused('this code is of this machine itself; run "roost node join" on the other one')
        joined, address = await self._ask_all(code, self._request(code, identity))
        server_id = str(certificates().key_digest_of_identity(joined.certificate))
        expected = proof(code.secret, "server", code.pin, identity.node_id)
        if not server_id.startswith(code.pin) or joined.proof != expected:
            raise InviteRefused("the machine that answered does not know this code; nothing was paired")
        # The address that was good stands first.
        places = (address, *(one for one in joined.addresses or code.addresses if one != address))
        peer = await self._take_in(joined.name, server_id, joined.certificate, places[:MOST_ADDRESSES])
        words = words_of(code.pin, identity.node_id, code.secret)
        log.info("paired", node=peer.name, node_id=server_id[:_PIN_DIGITS], words=words)
        return Paired(name=peer.name, node_id=server_id, address=address, words=words)

    def _request(self, code: Code, identity: Identity) -> Joining:
        invite = code.invite_id
        return Joining(
            invite=invite,
            name=self._room.name,
            certificate=identity.certificate,
            addresses=self._room.addresses,
            proof=proof(code.secret, "client", code.pin, identity.node_id),
            signature=identity.sign(transcript(invite, code.pin, identity.node_id)).hex(),
        )

    async def _ask_all(self, code: Code, joining: Joining) -> tuple[Joined, str]:
        """The first of the code's addresses where its machine answers."""
        resolver, problems = OneAddress(), []
        connector = aiohttp.TCPConnector(ssl=joining_context(code.pin), resolver=resolver, use_dns_cache=False)
        timeout = aiohttp.ClientTimeout(total=_JOIN_TIMEOUT_S, sock_connect=3.0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
            for address in code.addresses:
                resolver.address = split_address(address)
                try:
                    return await _ask(session, joining), address
                except UNREACHED as error:
                    problems.append(explained(error, address)[0])
        raise NodeUnreachable(
            f"cannot join: {'; '.join(problems)}; are both machines on one network, and is the port open there?"
        )

    # For people.

    async def revoke(self, name: str) -> Revoked:
        """Raises NotFound, StorageFull."""
        gone = await asyncio.to_thread(self._room.book.revoke, name, self._now())
        self._room.changed()
        log.info("revoked", node=gone.name, node_id=gone.node_id[:_PIN_DIGITS])
        return Revoked(name=gone.name, node_id=gone.node_id)

    def report(self) -> NodesReport:
        room = self._room
        return NodesReport(
            name=room.name,
            node_id=room.node_id,
            addresses=room.addresses,
            problem=room.problem or room.book.problem(),
            nodes=tuple(_row(view) for view in room.views()),
        )


def _identified(certificate: str) -> str:
    try:
        return str(certificates().key_digest_of_identity(certificate))
    except ValueError as error:
        raise BadRequest("cannot join: the certificate is no identity of a roost", param="certificate") from error


async def _ask(session: aiohttp.ClientSession, joining: Joining) -> Joined:
    url = f"https://join.{DOMAIN}{JOIN_PATH}"
    headers = {"Content-Type": "application/json"}
    async with session.post(url, data=joining.model_dump_json(), headers=headers, allow_redirects=False) as response:
        body = await response.content.read(_LARGEST_ANSWER_BYTES)
        while more := await response.content.read(_LARGEST_ANSWER_BYTES - len(body)):
            body += more
        if response.status != 200:
            why = told_by(body) or f"the machine answered {response.status}"
            raise InviteRefused(f"cannot join: {why}")
        return Joined.model_validate_json(body)


def _row(view: NodeView) -> NodeReport:
    models = tuple(
        NodeModelReport(
            id=model.id,
            state=model.state,
            context_length=model.context_length,
            capabilities=tuple(sorted(model.capabilities)),
            running=model.running,
            queued=model.queued,
            verdict=model.verdict,
        )
        for model in view.models
    )
    return NodeReport(
        name=view.name,
        node_id=view.node_id,
        address=view.address,
        link=view.link.value,
        latency_s=view.latency_s,
        seen_at=view.seen_at,
        version=view.version,
        draining=view.draining,
        models=models,
        roles=dict(view.roles),
        budget_bytes=view.budget_bytes,
        free_bytes=view.free_bytes,
        problem=view.problem,
        mend=view.mend,
        wakes=view.wakes,
    )
