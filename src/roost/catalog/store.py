"""The catalog's file: what was added, what was seen, and everything that was expensive to find out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from roost.catalog.locking import file_lock, write_whole
from roost.catalog.spec import Source, Value

FILE_VERSION = 1


class Entry(Value):
    """A model that the catalog remembers."""

    id: str
    source: Source
    path: Path
    #: The volume that it lies on when it was last seen; a mount that is gone explains a file that is gone.
    mount: Path | None = None
    #: True: somebody added or used it, so its fingerprint is held; False: only seen by discovery.
    added: bool = False
    fingerprint: str = ""
    chat_template_sha256: str | None = None
    projector: Path | None = None
    base_id: str | None = None
    adapter: Path | None = None


class Inspection(Value):
    """What a header said while `stamp` was true: facts, or why it was refused."""

    stamp: str
    facts: Any = None
    refused: str | None = None


class Digest(Value):
    """sha256 of a whole file as it was at that stamp."""

    stamp: str
    sha256: str


class CatalogFile(Value):
    version: int = FILE_VERSION
    entries: dict[str, Entry] = Field(default_factory=dict)
    #: By path.
    inspections: dict[str, Inspection] = Field(default_factory=dict)
    #: By path.
    digests: dict[str, Digest] = Field(default_factory=dict)


class CatalogStore:
    """Reads and replaces the catalog's file; several processes may."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Why the file on disk was set aside; None: it is sound.
        self.problem: str | None = None
        self._seen: tuple[int, int, int] | None = None
        self._content = CatalogFile()

    def read(self) -> CatalogFile:
        """The file's content; read again only when the file changed. A broken file is set aside, not trusted."""
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._seen, self._content = None, CatalogFile()
            return self._content
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._content = self._parse(self.path.read_bytes())
            self._seen = seen
        return self._content

    def update(self, change: Callable[[CatalogFile], CatalogFile]) -> CatalogFile:
        """Apply `change` to what is on disk now, under the lock, and write it if it differs. Raises OSError."""
        with file_lock(self.path.with_name(f"{self.path.name}.lock")):
            before = self.read()
            after = change(before)
            if after != before:
                write_whole(self.path, after.model_dump_json(exclude_none=True).encode())
            return self.read()

    def _parse(self, raw: bytes) -> CatalogFile:
        try:
            content = CatalogFile.model_validate(json.loads(raw))
        except (ValueError, ValidationError, RecursionError) as error:
            return self._set_aside(f"is not a catalog ({type(error).__name__})")
        if content.version > FILE_VERSION:
            return self._set_aside(f"was written by a newer roost (version {content.version})")
        return content

    def _set_aside(self, why: str) -> CatalogFile:
        kept = self.path.with_name(f"{self.path.name}.broken")
        with suppress(FileNotFoundError):  # another process has just done the same
            self.path.replace(kept)
        self.problem = f"{self.path} {why}; it was kept as {kept.name}: add your models again with roost models add"
        return CatalogFile()
