"""The machines that are paired with this one, in one 0600 file that is read again whenever it changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from roost.config.files import locked, replace_file
from roost.config.places import LOCAL
from roost.errors import BadConfiguration, NotFound

_FILE_MODE = 0o600
_ODD = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST_NAME = 64
#: Of a key's digest, that stand for its machine.
_FEWEST_DIGITS = 8
MOST_ADDRESSES = 8
ADDRESS = r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253}):\d{1,5}$"

Stamp = tuple[int, int, int, int]


class Peer(BaseModel):
    """One paired machine."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    #: Digits of its key's digest.
    node_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    #: Its identity certificate, PEM.
    certificate: str = Field(repr=False)
    #: HOST:PORT each, where it can be reached; none: it comes to us.
    addresses: tuple[Annotated[str, StringConstraints(pattern=ADDRESS)], ...] = ()
    #: Unix times.
    paired_at: float
    #: Kept after that, so that it is told that it was revoked.
    revoked_at: float | None = None


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True)
class _Reading:
    stamp: Stamp | None
    peers: Mapping[str, Peer]
    problem: str | None = None


class PeerBook:
    """The peers of one file. Reading costs one stat; whatever changes it blocks on a lock shared by all processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reading = _read(path)

    def all(self) -> tuple[Peer, ...]:
        """Those that may come in, oldest first."""
        return tuple(peer for peer in self.known() if peer.revoked_at is None)

    def known(self) -> tuple[Peer, ...]:
        """The revoked ones too."""
        return tuple(self._current().peers.values())

    def get(self, node_id: str) -> Peer | None:
        """The peer with this key; None for an unknown or revoked one."""
        peer = self._current().peers.get(node_id)
        return peer if peer is not None and peer.revoked_at is None else None

    def named(self, name: str) -> Peer | None:
        """By its name, or the first digits (8 or more) of its key's digest."""
        peers = self.all()
        by_name = next((peer for peer in peers if peer.name == name), None)
        if by_name is not None or len(name) < _FEWEST_DIGITS:
            return by_name
        # A machine may call itself as another one's key begins: names come first.
        return next((peer for peer in peers if peer.node_id.startswith(name)), None)

    def problem(self) -> str | None:
        """Why the file cannot be used; nobody is paired then. None when it can."""
        return self._current().problem

    def put(self, peer: Peer, *, taken: str = "") -> Peer:
        """Takes a peer in, or in again; its name is made one of its own: not another peer's, and not `taken`, this
        machine's, nor the word for it among candidates. Raises BadConfiguration, StorageFull."""
        placed = peer

        def with_it(before: tuple[Peer, ...]) -> tuple[Peer, ...]:
            nonlocal placed
            others = tuple(one for one in before if one.node_id != peer.node_id)
            used = {taken, LOCAL, *(one.name for one in others if one.revoked_at is None)}
            placed = peer.model_copy(update={"name": free_name(peer.name, used)})
            return (*others, placed)

        self._change(with_it)
        return placed

    def moved(self, node_id: str, addresses: tuple[str, ...]) -> bool:
        """Notes where it can be reached now; False: that was known."""
        known = self.get(node_id)
        if known is None or known.addresses == addresses or not addresses:
            return False
        self._change(
            lambda before: tuple(
                one.model_copy(update={"addresses": addresses}) if one.node_id == node_id else one for one in before
            )
        )
        return True

    def revoke(self, name: str, now: float) -> Peer:
        """Takes a peer's rights away. Raises NotFound naming `roost node list`."""
        peer = self.named(name)
        if peer is None:
            raise NotFound(f'cannot revoke {name[:80]!r}: no such machine is paired; see "roost node list"')
        gone = peer.model_copy(update={"revoked_at": now})
        self._change(lambda before: tuple(gone if one.node_id == gone.node_id else one for one in before))
        return gone

    def _current(self) -> _Reading:
        if self._reading.problem is not None or _stamp(self._path) != self._reading.stamp:
            self._reading = _read(self._path)
        return self._reading

    def _change(self, edit: Callable[[tuple[Peer, ...]], tuple[Peer, ...]]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path):
            reading = _read(self._path)
            if reading.problem is not None:
                raise BadConfiguration(
                    f"cannot change {self._path}: {reading.problem}; mend it, or remove it and pair all machines anew"
                )
            content = _Content(peers=edit(tuple(reading.peers.values())))
            replace_file(self._path, content.model_dump_json(indent=2).encode() + b"\n", mode=_FILE_MODE)
            self._reading = _read(self._path)


def free_name(wanted: str, used: set[str]) -> str:
    """The wanted name as far as it can stand before an `@`, numbered if somebody has it."""
    plain = _ODD.sub("-", wanted).strip("-.")[:_LONGEST_NAME] or "node"
    if plain not in used:
        return plain
    numbered = (f"{plain[: _LONGEST_NAME - 4]}-{number}" for number in range(2, 1000))
    return next(name for name in numbered if name not in used)


def _read(path: Path) -> _Reading:
    stamp = _stamp(path)
    try:
        content = _Content.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _Reading(None, {})
    except OSError as error:
        return _Reading(stamp, {}, f"it cannot be read ({error.strerror})")
    except ValidationError as error:
        return _Reading(stamp, {}, f"it is not a file of paired machines ({error.error_count()} mistakes)")
    return _Reading(stamp, {peer.node_id: peer for peer in content.peers})


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
