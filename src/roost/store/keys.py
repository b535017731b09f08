"""The API keys, hashed, in one 0600 file that is read again whenever it changes.

A key is `roost-PUBLIC-SECRET`. The public part finds the entry; of the secret (256 random bits, so a plain digest is
enough: nobody can guess through it) only the SHA-256 is stored, and the key itself is shown once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from roost.config.files import locked, replace_file
from roost.errors import BadConfiguration, NotFound, Refused

_KEY = re.compile(r"roost-([0-9a-f]{12})-([0-9a-f]{64})")
_FILE_MODE = 0o600
_NAME_CHARACTERS = 80
#: Compared when the public part is unknown, so that the answer takes as long.
_NO_DIGEST = "0" * 64

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Consumer:
    """Who a key belongs to."""

    key_id: str
    name: str
    admin: bool = False
    #: The names that it may ask for, exactly as a request writes them; None: any.
    names: frozenset[str] | None = None
    #: None: no limit.
    requests_per_minute: int | None = None
    requests_at_once: int | None = None
    #: Its requests never go to a provider.
    no_cloud: bool = False
    #: What they may cost there in a day, in US dollars; None: no limit of its own.
    cloud_usd_per_day: float | None = None

    def may_ask_for(self, name: str) -> bool:
        return self.names is None or name in self.names


@dataclass(frozen=True)
class Limits:
    """What a new key is held to; None: no limit."""

    names: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    requests_at_once: int | None = None
    no_cloud: bool = False
    cloud_usd_per_day: float | None = None


NO_LIMITS = Limits()


class KeyRecord(BaseModel):
    """One key as it is stored and listed; the secret cannot be had from it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    admin: bool = False
    sha256: str = Field(repr=False, pattern=r"^[0-9a-f]{64}$")
    #: Unix times.
    created_at: float
    expires_at: float | None = None
    key_id: str = Field(pattern=r"^[0-9a-f]{12}$")
    names: tuple[str, ...] | None = None
    requests_per_minute: int | None = Field(None, ge=1)
    requests_at_once: int | None = Field(None, ge=1)
    no_cloud: bool = False
    cloud_usd_per_day: float | None = Field(None, ge=0)

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def consumer(self) -> Consumer:
        """Its owner, with what the owner may."""
        names = None if self.names is None else frozenset(self.names)
        return Consumer(
            self.key_id,
            self.name,
            self.admin,
            names,
            self.requests_per_minute,
            self.requests_at_once,
            self.no_cloud,
            self.cloud_usd_per_day,
        )


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    keys: tuple[KeyRecord, ...] = ()
    #: Somebody said that no key is needed on loopback any more. A file without keys alone does not say that.
    open_loopback: bool = False

    def has(self, key_id: str) -> bool:
        return any(record.key_id == key_id for record in self.keys)


@dataclass(frozen=True)
class _Reading:
    """The file at one look. A file that cannot be read lets nobody in and still counts as configured."""

    stamp: Stamp | None
    records: Mapping[str, KeyRecord]
    problem: str | None = None
    #: Whether a caller needs a key; there may be none.
    required: bool = True


class KeyFile:
    """The keys of one file. Reading costs one stat; whatever changes it blocks on a lock shared by all processes.

    `look_every_s`: what was seen so recently is not looked at again; a busy daemon asks thousands of times a second.
    `always`: a key is needed whatever the file says, for an endpoint that other machines reach.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float] = time.time,
        look_every_s: float = 0.0,
        always: bool = False,
    ) -> None:
        self._path = path
        self._now = now
        self._look_every_s = look_every_s
        self._always = always
        self._looked_at = time.monotonic()
        self._reading = _read(path)

    def configured(self) -> bool:
        """Whether callers need a key. Once there was one they do, until `open_loopback`: an expired key, no key left, a
        broken file and a file that vanished open no door."""
        return self._always or self._current().required

    def exist(self) -> bool:
        """Whether there is any key at all, expired or not."""
        return bool(self._current().records)

    def consumer(self, presented: str) -> Consumer | None:
        """The owner of this key; None for a wrong, revoked or expired one. Constant time in the secret part."""
        public, secret = _parts(presented)
        record = self._current().records.get(public)
        matches = hmac.compare_digest(_digest(secret), record.sha256 if record else _NO_DIGEST)
        if record is None or not matches or record.expired(self._now()):
            return None
        return record.consumer()

    def problem(self) -> str | None:
        """Why the file cannot be used, for status and doctor; None when it can."""
        return self._current().problem

    def shut_out(self) -> str | None:
        """That nobody can get in, as a sentence for status and doctor; None while somebody can."""
        if self.problem() is not None or self.exist() or not self.configured():
            return None
        return (
            "every request over HTTP needs a key and there is none; "
            'to let this machine\'s programs in without one again, run "roost keys open-loopback"'
        )

    def list(self) -> tuple[KeyRecord, ...]:
        """All keys, oldest first. Raises BadConfiguration when the file is broken."""
        return tuple(sorted(self._usable().records.values(), key=lambda record: record.created_at))

    def add(
        self, name: str, *, expires_at: float | None = None, admin: bool = False, limits: Limits = NO_LIMITS
    ) -> str:
        """Makes a key and returns it: it cannot be shown again. `expires_at` is a Unix time.

        Raises BadConfiguration (no proper name, an expiry in the past, an administrator who is kept to some names, a
        broken file) or StorageFull.
        """
        _refuse_name(name)
        if admin and limits.names is not None:
            raise BadConfiguration(f"cannot add key {name!r}: an administrator may give any role any model")
        if expires_at is not None and expires_at <= self._now():
            raise BadConfiguration(f"cannot add key {name!r}: its expiry has passed already; choose a later one")
        public, secret = secrets.token_hex(6), secrets.token_hex(32)
        record = KeyRecord(
            key_id=public,
            name=name,
            admin=admin,
            sha256=_digest(secret),
            created_at=self._now(),
            expires_at=expires_at,
            **asdict(limits),
        )
        self._change(lambda before: _Content(keys=(*before.keys, record)))
        return f"roost-{public}-{secret}"

    def adopt(self, name: str, key: str, *, admin: bool = False) -> None:
        """Takes over a key that clients have already, as its hash like any other; twice the same is once.

        Raises BadConfiguration, StorageFull.
        """
        _refuse_name(name)
        public, secret = _parts(key)
        record = KeyRecord(key_id=public, name=name, admin=admin, sha256=_digest(secret), created_at=self._now())
        self._change(lambda before: before if before.has(public) else _Content(keys=(record, *before.keys)))

    def revoke(self, key_id: str) -> KeyRecord:
        """Takes a key away, for every running daemon too; after the last one nobody gets in over HTTP.

        Raises NotFound naming `roost keys list`.
        """
        gone: KeyRecord | None = None

        def without(before: _Content) -> _Content:
            nonlocal gone
            gone = next((record for record in before.keys if record.key_id == key_id), None)
            return before.model_copy(update={"keys": tuple(r for r in before.keys if r.key_id != key_id)})

        self._change(without)
        if gone is None:
            raise NotFound(f'cannot revoke key {key_id[:_NAME_CHARACTERS]!r}: there is none; see "roost keys list"')
        return gone

    def open_loopback(self) -> None:
        """This machine's programs need no key from now on. Raises Refused while there are keys."""

        def opened(before: _Content) -> _Content:
            if before.keys:
                names = ", ".join(record.name for record in before.keys[:5])
                raise Refused(
                    f"cannot open the loopback address: {len(before.keys)} keys exist ({names}), and who has one would "
                    'be no safer than who has none; revoke them first ("roost keys list")'
                )
            return _Content(open_loopback=True)

        self._change(opened)

    def _current(self) -> _Reading:
        looked_at = time.monotonic()
        if looked_at - self._looked_at >= self._look_every_s:
            self._looked_at = looked_at
            if self._reading.problem is not None or _stamp(self._path) != self._reading.stamp:
                self._reading = _after(self._reading, _read(self._path))
        return self._reading

    def _usable(self) -> _Reading:
        reading = self._current()
        if reading.problem is not None:
            raise BadConfiguration(
                f"cannot use {self._path}: {reading.problem}; mend it, or remove it and make keys anew "
                '(or run "roost keys open-loopback" then)'
            )
        return reading

    def _change(self, edit: Callable[[_Content], _Content]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path):
            self._reading = _read(self._path)
            before = _Content(keys=tuple(self._usable().records.values()))
            after = edit(before)
            if after != before:
                replace_file(self._path, after.model_dump_json(indent=2).encode() + b"\n", mode=_FILE_MODE)
        self._reading = _read(self._path)


def _after(before: _Reading, now: _Reading) -> _Reading:
    """A file that vanishes under a running daemon takes its keys away, and no more than that."""
    vanished = now.stamp is None and not now.required
    return replace(now, required=True) if vanished and before.required and before.problem is None else now


def _read(path: Path) -> _Reading:
    stamp = _stamp(path)
    try:
        data = path.read_bytes()
        content = _Content.model_validate_json(data)
    except FileNotFoundError:
        return _Reading(None, {}, required=False)
    except OSError as error:
        return _Reading(stamp, {}, f"it cannot be read ({error.strerror})")
    except ValidationError as error:
        return _Reading(stamp, {}, f"it is not a file of keys ({error.error_count()} mistakes)")
    records = {record.key_id: record for record in content.keys}
    return _Reading(stamp, records, required=bool(records) or not content.open_loopback)


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _parts(key: str) -> tuple[str, str]:
    """The public and the secret part of a key; one that was made elsewhere is found by the hash of its hash."""
    if found := _KEY.fullmatch(key):
        return found[1], found[2]
    return _digest(_digest(key))[:12], key


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _refuse_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _NAME_CHARACTERS:
        raise BadConfiguration(f"cannot add a key: its name must be 1 to {_NAME_CHARACTERS} printable characters")
