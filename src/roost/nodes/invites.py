"""One-time codes: what they hold, how both ends prove that they know one, and which are open here.

A code holds where to go, which key answers there, and a secret. Who joins proves the secret over both keys, so that
nobody between the two machines can use what passes through.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from roost.errors import BadRequest, InviteRefused, NotFound
from roost.nodes.peers import ADDRESS

LIFETIME_S = 600.0
MOST_WRONG_TRIES = 5
#: Invites that are remembered, so that a used or expired one can be told from one that never was.
_MOST_REMEMBERED = 64
_PREFIX = "roost-"
_VERSION = 1
_PIN_DIGITS = 32
_SECRET_BYTES = 16
_CHECKSUM_BYTES = 4
_MOST_ADDRESSES = 8
_LONGEST_CODE = 1000
_ADDRESS = re.compile(ADDRESS)


@dataclass(frozen=True)
class Code:
    """`addresses`: HOST:PORT each. `pin`: the first digits of the digest of the inviting machine's key."""

    addresses: tuple[str, ...]
    pin: str
    secret: bytes = field(repr=False)

    def text(self) -> str:
        """One token: lower-case letters and digits."""
        places = ",".join(self.addresses[:_MOST_ADDRESSES]).encode()
        body = bytes([_VERSION]) + bytes.fromhex(self.pin) + self.secret + places
        encoded = base64.b32encode(body + _checksum(body)).decode().rstrip("=").lower()
        return _PREFIX + encoded

    @classmethod
    def read(cls, text: str) -> Code:
        """Raises BadRequest for what is no code, or a damaged one."""
        body = _decoded(text.strip().lower())
        pin_end = 1 + _PIN_DIGITS // 2
        secret_end = pin_end + _SECRET_BYTES
        places = body[secret_end:].decode("ascii", "replace")
        addresses = tuple(place for place in places.split(",") if place)
        if body[0] != _VERSION or not addresses or not all(_ADDRESS.fullmatch(place) for place in addresses):
            raise BadRequest("this code is of another version of roost; update both machines to the same one")
        return cls(addresses, body[1:pin_end].hex(), body[pin_end:secret_end])

    @property
    def invite_id(self) -> str:
        return invite_id(self.secret)


def invite_id(secret: bytes) -> str:
    """Names an invite without telling its secret."""
    return hashlib.sha256(b"roost invite 1\0" + secret).hexdigest()[:16]


def proof(secret: bytes, side: str, server_id: str, client_id: str) -> str:
    """That `side` ("server" or "client") knows the secret and means these two keys."""
    text = f"roost pair 1\0{side}\0{server_id}\0{client_id}".encode()
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def transcript(invite: str, server_id: str, client_id: str) -> bytes:
    """What the joining machine signs: that it has its key, for this pairing and no other."""
    return f"roost join 1\0{invite}\0{server_id}\0{client_id}".encode()


def _decoded(text: str) -> bytes:
    encoded = text.removeprefix(_PREFIX).upper()
    damaged = BadRequest('this is no invite code, or not the whole of it; copy it anew from "roost node invite"')
    if not text.startswith(_PREFIX) or len(text) > _LONGEST_CODE or not text.isascii():
        raise damaged
    try:
        whole = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
    except binascii.Error:
        raise damaged from None
    body, checksum = whole[:-_CHECKSUM_BYTES], whole[-_CHECKSUM_BYTES:]
    if len(body) <= 1 + _PIN_DIGITS // 2 + _SECRET_BYTES or checksum != _checksum(body):
        raise damaged
    return body


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECKSUM_BYTES]


class State(StrEnum):
    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"
    #: Too many wrong tries.
    BURNED = "burned"


@dataclass
class Invite:
    """One that was made here."""

    secret: bytes = field(repr=False)
    expires_at: float
    wrong_tries: int = 0
    state: State = State.OPEN
    #: Who came in with it, and the words that both screens show.
    peer: str | None = None
    words: str | None = None
    #: It is not open any more.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, state: State) -> None:
        self.state = state
        self.over.set()


class Invites:
    """Those of this daemon; a restart forgets them. `now` gives unix time."""

    def __init__(self, now: Callable[[], float] = time.time, lifetime_s: float = LIFETIME_S) -> None:
        self._now, self._lifetime_s = now, lifetime_s
        self._invites: dict[str, Invite] = {}

    def make(self) -> Invite:
        secret = secrets.token_bytes(_SECRET_BYTES)
        invite = Invite(secret, self._now() + self._lifetime_s)
        self._invites[invite_id(secret)] = invite
        while len(self._invites) > _MOST_REMEMBERED:
            self._invites.pop(next(iter(self._invites))).end(State.EXPIRED)
        return invite

    def get(self, name: str) -> Invite:
        """Raises NotFound."""
        invite = self._invites.get(name)
        if invite is None:
            raise NotFound(f'there is no invite {name[:32]!r} here; "roost node invite" makes one')
        self._expire(invite)
        return invite

    def check(self, name: str, server_id: str, client_id: str, presented: str) -> Invite:
        """The invite that was proven. It stays open: end it once the pairing is written down. Raises InviteRefused."""
        invite = self.still_open(name)
        if not hmac.compare_digest(proof(invite.secret, "client", server_id, client_id), presented):
            invite.wrong_tries += 1
            if invite.wrong_tries >= MOST_WRONG_TRIES:
                invite.end(State.BURNED)
            raise InviteRefused(f"the proof is wrong: the code was made for another pair of keys; {_AGAIN}")
        return invite

    def still_open(self, name: str) -> Invite:
        """Raises InviteRefused."""
        invite = self._invites.get(name)
        if invite is None:
            raise InviteRefused(f"this machine made no such invite, or was started anew since; {_AGAIN}")
        self._expire(invite)
        if invite.state is not State.OPEN:
            raise InviteRefused(f"{_WHY[invite.state]}; {_AGAIN}")
        return invite

    def _expire(self, invite: Invite) -> None:
        if invite.state is State.OPEN and invite.expires_at <= self._now():
            invite.end(State.EXPIRED)


_AGAIN = 'run "roost node invite" there again'
_WHY = {
    State.USED: "this invite has been used; each is good for one machine",
    State.EXPIRED: f"this invite has expired: it was good for {LIFETIME_S / 60:.0f} minutes",
    State.BURNED: "this invite was withdrawn after too many wrong tries",
}
