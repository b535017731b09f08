"""The folder of saved caches: whole or not there, private, bounded. Blocking; call it in a thread."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roost.catalog.samples import identity_sha256
from roost.workers.saved_files import Allowance, Reuse, SavedFile, Sidecar, decode, encode, key_of, mismatch, to_drop

SIDECAR = "saved.json"
FILES = "files"
#: What a killed daemon left half done begins with this.
NEW = ".new-"


class SavedStore:
    """One folder for each model that is away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_empty(self) -> bool:
        """There is nothing to read, to move or to drop. Quick enough for the event loop."""
        try:
            with os.scandir(self._folder) as entries:
                return next(entries, None) is None
        except FileNotFoundError:
            return True

    def reuse(self, facts: Mapping[str, Any]) -> Reuse:
        sidecar = self._read(key_of(facts))
        return sidecar.reuse if sidecar else Reuse.UNTESTED

    def free_bytes(self) -> int:
        self._make()
        return shutil.disk_usage(self._folder).free

    def put(self, model_id: str, facts: Mapping[str, Any], tokens: int, saved_at: float, written: Path) -> Sidecar:
        """Takes over what an engine wrote into `written`, which lies on the same volume and is empty afterwards."""
        self._make()
        for key, sidecar in self.entries().items():
            if sidecar.model_id == model_id and key != key_of(facts):
                self._remove(key)
        sidecar = Sidecar(model_id, facts, saved_at, tokens, self.reuse(facts), seen(written))
        new = self._folder / f"{NEW}{os.urandom(4).hex()}"
        new.mkdir(mode=0o700)
        written.rename(new / FILES)
        written.mkdir(mode=0o700)
        for path in (new / FILES, *(new / FILES).rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        _write(new / SIDECAR, sidecar)
        self._remove(key_of(facts))
        new.rename(self._folder / key_of(facts))
        return sidecar

    def take(self, facts: Mapping[str, Any], target: Path) -> Sidecar | str | None:
        """Moves the files into the empty folder `target`; a reason when they must not be used; None without files.

        They are gone from here whatever becomes of them: a file that ends its engine is never met twice.
        """
        key = key_of(facts)
        sidecar, files = self._read(key), self._folder / key / FILES
        if sidecar is None or not files.is_dir():
            return None
        if reason := mismatch(sidecar, facts, seen(files)):
            self._remove(key)
            return reason
        files.rename(target)
        self.note(sidecar, sidecar.reuse)
        return sidecar

    def note(self, sidecar: Sidecar, reuse: Reuse) -> None:
        """Remembers a finding about the engine, without any file."""
        self._make()
        folder = self._folder / key_of(sidecar.facts)
        folder.mkdir(mode=0o700, exist_ok=True)
        _write(folder / SIDECAR, Sidecar(sidecar.model_id, sidecar.facts, sidecar.saved_at, 0, reuse))

    def keep_within(self, allowance: Allowance, model_id: str) -> list[str]:
        """Removes what may not stay: this model's where that is off, the oldest beyond the bound, what is not whole.
        The models that lost theirs."""
        entries = self.entries()
        gone = [key for key, sidecar in entries.items() if sidecar.model_id == model_id and not allowance.model]
        rest = {key: sidecar for key, sidecar in entries.items() if key not in gone}
        gone += to_drop(rest, allowance.max_bytes)
        for key in gone:
            self._remove(key)
        for folder in self._folder.glob("*"):
            if folder.name not in entries:
                shutil.rmtree(folder, ignore_errors=True)
        return [entries[key].model_id for key in gone if entries[key].files]

    def entries(self) -> dict[str, Sidecar]:
        """What is whole, by key."""
        found = {folder.name: self._read(folder.name) for folder in self._folder.glob("[!.]*")}
        return {key: sidecar for key, sidecar in found.items() if sidecar}

    def _read(self, key: str) -> Sidecar | None:
        try:
            return decode((self._folder / key / SIDECAR).read_bytes())
        except OSError:
            return None

    def _make(self) -> None:
        self._folder.mkdir(parents=True, mode=0o700, exist_ok=True)

    def _remove(self, key: str) -> None:
        shutil.rmtree(self._folder / key, ignore_errors=True)


def seen(folder: Path) -> dict[str, SavedFile]:
    """The files below a folder, by their path in it."""
    return {str(file.relative_to(folder)): _seen(file) for file in sorted(folder.rglob("*")) if file.is_file()}


def _seen(file: Path) -> SavedFile:
    size_bytes = file.stat().st_size
    with file.open("rb") as opened:
        return SavedFile(size_bytes, identity_sha256(opened, size_bytes, ""))


def _write(path: Path, sidecar: Sidecar) -> None:
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(encode(sidecar))
    new.rename(path)
