"""What a saved cache is, whose it is, and which must go: decisions without a disk.

    saved/KEY/saved.json    the sidecar: every fact that the cache depends on, and each file's size and digest
    saved/KEY/files/        what the engine wrote; there only between a stop and the next start

KEY is a digest of the facts. The sidecar holds the facts themselves too, which are compared before each restore: an
engine may take another model's file without a word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

VERSION = 1


class Reuse(StrEnum):
    """Whether the engine uses what it restores, by its own count of cached tokens."""

    UNTESTED = "untested"
    WORKS = "works"
    #: Then nothing is saved for these facts any more.
    FAILS = "fails"


@dataclass(frozen=True)
class SavedFile:
    size_bytes: int
    #: Over samples of the content: a file cut short or never written out ends the engine's process.
    sha256: str


@dataclass(frozen=True)
class Sidecar:
    """`saved.json`."""

    model_id: str
    facts: Mapping[str, Any]
    saved_at: float
    tokens: int = 0
    reuse: Reuse = Reuse.UNTESTED
    files: Mapping[str, SavedFile] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True)
class Allowance:
    """What the settings allow at this moment."""

    #: For all models together; 0: nothing is kept.
    max_bytes: int
    #: Whether this model may be saved.
    model: bool = True


def key_of(facts: Mapping[str, Any]) -> str:
    """The name of the folder."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def encode(sidecar: Sidecar) -> bytes:
    files = {name: [file.size_bytes, file.sha256] for name, file in sidecar.files.items()}
    value = {
        "version": VERSION,
        "model": sidecar.model_id,
        "facts": dict(sidecar.facts),
        "saved_at": sidecar.saved_at,
        "tokens": sidecar.tokens,
        "reuse": sidecar.reuse.value,
        "files": files,
    }
    return json.dumps(value, indent=1, sort_keys=True).encode()


def decode(raw: bytes) -> Sidecar | None:
    """None for anything that `encode` has not written."""
    try:
        value = json.loads(raw)
        if value["version"] != VERSION:
            return None
        return Sidecar(
            model_id=str(value["model"]),
            facts=dict(value["facts"]),
            saved_at=float(value["saved_at"]),
            tokens=int(value["tokens"]),
            reuse=Reuse(value["reuse"]),
            files={str(name): SavedFile(int(size), str(digest)) for name, (size, digest) in value["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def mismatch(sidecar: Sidecar, facts: Mapping[str, Any], found: Mapping[str, SavedFile]) -> str | None:
    """Why this must not be restored; None: it may."""
    if sidecar.facts != json.loads(json.dumps(facts)):
        return "it was saved from another model or with other settings"
    if dict(sidecar.files) != dict(found):
        return "its files are not those that were saved"
    return None


def no_room(free_bytes: int, max_bytes: int) -> str | None:
    """Why nothing is saved on this disk. The size of a cache is known only once it is written, its bound before."""
    if free_bytes >= max_bytes:
        return None
    return f"{free_bytes / 2**30:.1f} GiB of disk are free, less than the {max_bytes / 2**30:.1f} of resume.max_bytes"


def to_drop(entries: Mapping[str, Sidecar], max_bytes: int) -> list[str]:
    """Keys of those that must go, the oldest first, until the rest takes at most `max_bytes`."""
    total = sum(sidecar.size_bytes for sidecar in entries.values())
    gone: list[str] = []
    for key, sidecar in sorted(_holding(entries), key=lambda entry: entry[1].saved_at):
        if total <= max_bytes:
            break
        gone.append(key)
        total -= sidecar.size_bytes
    return gone


def _holding(entries: Mapping[str, Sidecar]) -> Iterable[tuple[str, Sidecar]]:
    """A sidecar without files is a finding about an engine, and takes no room worth mentioning."""
    return ((key, sidecar) for key, sidecar in entries.items() if sidecar.files)
