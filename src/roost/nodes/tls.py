"""TLS contexts of both ends. Whom a machine trusts is its file of peers and nothing else: no public authority counts.

A peer names the machine that it means in the TLS handshake (SNI): such a connection is answered with this machine's own
key, and the peer's certificate is checked against the pinned ones. Any other connection is a plain client's and is
shown a certificate that such clients can check by name.
"""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from roost.nodes.identity import Identity, certificates

log = structlog.get_logger(__name__)

#: What a name in a handshake ends with when it means a key and not a host. Never looked up anywhere.
DOMAIN = "node.roost"
_LABEL_DIGITS = 32


def node_host(node_id: str) -> str:
    """The machine with this key, as a host name."""
    return f"{node_id[:_LABEL_DIGITS]}.{DOMAIN}"


class WrongKey(ssl.SSLCertVerificationError):
    """Another key answers than the pinned one."""


def client_context(identity: Identity, certificate: str, node_id: str) -> ssl.SSLContext:
    """For connections to one peer: its pinned key or none, and our own."""
    context = _client_context()
    context.load_verify_locations(cadata=certificate)
    context.load_cert_chain(identity.leaf_file)
    _pin(context, node_id)
    return context


def joining_context(pin: str) -> ssl.SSLContext:
    """For the one connection to a machine of which only the first digits of its key's digest are known, and that does
    not know us."""
    context = _client_context()
    context.verify_mode = ssl.CERT_NONE
    _pin(context, pin)
    return context


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # It is the key that is checked, below; a peer has no name that would prove anything.
    context.check_hostname = False
    return context


def _pin(context: ssl.SSLContext, pin: str) -> None:
    """Ends each handshake of this context with WrongKey unless the other end's key begins with these digits."""
    digest = certificates().key_digest

    class Pinned(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = self.getpeercert(binary_form=True)
            found = str(digest(shown)) if shown else ""
            if not hmac.compare_digest(found[: len(pin)], pin):
                raise WrongKey("another key than the pinned one")

    # Documented for this: what `wrap_bio` makes, which is what asyncio calls.
    context.sslobject_class = Pinned


class DoorTls:
    """The server's end. `context` is handed to the listener once; what holds is looked up at each handshake, so that
    pairing, renewal and a replaced certificate need no restart.

    `anchors`: the identity certificates of all peers, in PEM. `plain`: a context for clients that are no peers.
    """

    def __init__(
        self, identity: Identity, anchors: Callable[[], tuple[str, ...]], plain: Callable[[], ssl.SSLContext]
    ) -> None:
        self._identity, self._anchors, self._plain = identity, anchors, plain
        self._made_of: tuple[int, tuple[str, ...]] | None = None
        self._for_peers = self._peer_context()
        self.context = server_context(identity.leaf_file)
        # A resumed session would show a certificate that was checked long ago.
        self.context.num_tickets = 0
        # Asked of everybody and needed by nobody: who has none shows an API key. Which ones are trusted, the contexts
        # below say; this flag alone cannot be swapped in a handshake.
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        is_peer = name is not None and name.endswith(f".{DOMAIN}")
        connection.context = self._peer_context() if is_peer else self._plain()

    def _peer_context(self) -> ssl.SSLContext:
        made_of = (self._identity.generation, self._anchors())
        if made_of != self._made_of:
            context = server_context(self._identity.leaf_file)
            for certificate in made_of[1]:
                try:
                    context.load_verify_locations(cadata=certificate)
                except ssl.SSLError as error:
                    # One that was edited by hand shuts out its own machine, not all of them.
                    log.warning("peer's certificate refused", problem=str(error))
            self._for_peers, self._made_of = context, made_of
        return self._for_peers


def server_context(chain: Path, key: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 and newer with this certificate. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(chain, key)
    return context
