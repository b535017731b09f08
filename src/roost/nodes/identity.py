"""Who this machine is: a key in `state/node/` that never changes, and certificates of it that are renewed in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from roost.config.files import locked, replace_file
from roost.errors import BadConfiguration

#: How long a certificate that is shown in connections is valid; it is renewed when a third of that is left.
LIFETIME_S = 30 * 86400.0
_FILE_MODE = 0o600
EXTRA = "pip install 'roost[nodes]'"


def certificates() -> ModuleType:
    """The module that makes them. Raises BadConfiguration naming the extra that it needs."""
    try:
        from roost.nodes import certificates as found
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("cryptography"):
            raise
        raise BadConfiguration(
            f"paired machines need the package cryptography, which is not installed: {EXTRA}"
        ) from None
    return found


class Identity:
    """This machine's key, and what proves it. Made by `open`; blocks on small files."""

    def __init__(self, folder: Path, now: Callable[[], float], lifetime_s: float) -> None:
        self._folder, self._now, self._lifetime_s = folder, now, lifetime_s
        self._key = _kept(folder / "key.pem", certificates().new_key)
        self.certificate = _kept(
            folder / "identity.pem", lambda: str(certificates().identity_certificate(self._key, now()))
        )
        #: Digits of the SHA-256 over its public key: who it is, whatever its name.
        self.node_id = str(certificates().key_digest_of_key(self._key))
        self._check()
        #: Certificate and key in one file, as OpenSSL reads them.
        self.leaf_file = folder / "leaf.pem"
        #: Counts renewals: contexts made of an older one are stale.
        self.generation = 0
        self._valid_until = 0.0
        self.renew()

    @classmethod
    def open(cls, folder: Path, *, now: Callable[[], float] = time.time, lifetime_s: float = LIFETIME_S) -> Identity:
        """Makes the key at the first use. Raises BadConfiguration (no `cryptography`, a broken file), StorageFull."""
        certificates()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder / "key.pem"):
            try:
                return cls(folder, now, lifetime_s)
            except ValueError as error:
                raise BadConfiguration(
                    f"cannot use this machine's key in {folder}: {error}; put its files back, or remove them and pair "
                    "all machines anew"
                ) from error

    def _check(self) -> None:
        if certificates().key_digest_of_identity(self.certificate) != self.node_id:
            raise ValueError("identity.pem is of another key than key.pem")

    def renew(self) -> bool:
        """Makes a new certificate if the one in use ends soon; True if it did. Raises StorageFull."""
        if self.renews_in_s() > 0:
            return False
        leaf = certificates().identity_leaf(self._key, self._now(), self._lifetime_s)
        replace_file(self.leaf_file, (leaf + self._key).encode(), mode=_FILE_MODE)
        self._valid_until = certificates().valid_until(leaf)
        self.generation += 1
        return True

    def renews_in_s(self) -> float:
        """Seconds until the next renewal; 0 or less: now."""
        return self._valid_until - self._lifetime_s / 3 - self._now()

    def sign(self, data: bytes) -> bytes:
        return bytes(certificates().sign(self._key, data))


class HomeAuthority:
    """roost's own certificate authority: for clients on the LAN that have no key pinned and check names instead."""

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time, lifetime_s: float = LIFETIME_S) -> None:
        self._folder, self._now, self._lifetime_s = folder, now, lifetime_s
        self.leaf_file = folder / "lan.pem"
        self.generation = 0
        self._names: frozenset[str] = frozenset()
        self._valid_until = 0.0
        #: Names that it may not sign for.
        self.left_out: frozenset[str] = frozenset()

    def serve(self, names: frozenset[str]) -> bool:
        """Sees to it that the certificate is for these names and addresses and valid for long enough; True if it made a
        new one. Blocks. Raises BadConfiguration, StorageFull."""
        if names == self._names and self._valid_until - self._lifetime_s / 3 > self._now():
            return False
        try:
            self._issue(names)
        except ValueError as error:
            raise BadConfiguration(
                f"cannot use roost's own authority in {self._folder}: {error}; remove ca.key and ca.pem there to make "
                "another, and hand that out"
            ) from error
        return True

    def _issue(self, names: frozenset[str]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        make = certificates()
        authority_key = _kept(self._folder / "ca.key", make.new_key)
        authority = _kept(self._folder / "ca.pem", lambda: str(make.home_authority(authority_key, names, self._now())))
        if make.public_digest(authority) != make.key_digest_of_key(authority_key):
            raise ValueError("ca.pem is of another key than ca.key")
        key = make.new_key()
        leaf = make.home_leaf(authority, authority_key, key, names, self._now(), self._lifetime_s)
        replace_file(self.leaf_file, (leaf + authority + key).encode(), mode=_FILE_MODE)
        self.left_out = names - make.permitted_names(authority, names)
        self._names, self._valid_until = names, make.valid_until(leaf)
        self.generation += 1


def _kept(path: Path, make: Callable[[], str]) -> str:
    """What the file says; made and written at the first use."""
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        made = make()
        replace_file(path, made.encode(), mode=_FILE_MODE)
        return made
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
