"""A model that arrives from another machine: piece by piece into a hidden folder, each checked, then moved at once.

What the other machine says of itself is no reason to believe it: names are plain, suffixes are those of weights and
texts, sizes and digests are compared, and only then does a folder appear where models are looked for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import FileRole, ModelFormat
from roost.catalog.travel import TEXT_SUFFIXES, Piece
from roost.errors import StorageFull

#: In the folder of models; discovery enters no hidden folder.
PARTS = ".arriving"
#: What nobody came back for in so long is removed when something else arrives.
FORGOTTEN_AFTER_S = 14 * 24 * 3600.0
_PLAIN = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}")
_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_CHUNK_BYTES = 4 * 2**20


def check_pieces(form: str, pieces: tuple[Piece, ...]) -> None:
    """Raises ModelRefused for names that no model has, or that would lead out of its folder."""
    names: set[str] = set()
    for piece in pieces:
        parts = piece.name.split("/")
        suffix = Path(piece.name).suffix.lower()
        fits = suffix == ".gguf" if form == ModelFormat.GGUF else suffix in {".safetensors", *TEXT_SUFFIXES}
        deep = len(parts) > (1 if form == ModelFormat.GGUF else 2)
        if deep or not fits or not all(_PLAIN.fullmatch(part) for part in parts):
            raise ModelRefused(f"cannot take {piece.name[:200]!r}: no file of a {form} model is called so")
        # Some disks do not tell upper from lower case.
        names.add(piece.name.lower())
    if not names or len(names) != len(pieces):
        raise ModelRefused("cannot take these files: two have the same name, or there is none")


def entrance(form: str, pieces: Iterable[Piece]) -> str | None:
    """The name of the file that stands for a GGUF model; None: its folder does."""
    weights = sorted(piece.name for piece in pieces if piece.role == FileRole.WEIGHTS)
    return weights[0] if form == ModelFormat.GGUF and weights else None


class Arrival:
    """The files of one model on their way into `models`. What is there of them from an earlier try is kept."""

    def __init__(self, models: Path, pieces: tuple[Piece, ...]) -> None:
        lines = sorted(f"{piece.sha256}:{piece.size_bytes}:{piece.name}" for piece in pieces)
        self.key = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
        self.pieces = pieces
        self._models, self._folder = models, models / PARTS / self.key

    def prepare(self) -> None:
        """Blocks. Raises StorageFull when the rest does not fit, OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        os.utime(self._folder)
        self._forget_others()
        missing = sum(piece.size_bytes - self.arrived_bytes(piece) for piece in self.pieces)
        free = shutil.disk_usage(self._folder).free
        if missing > free:
            raise StorageFull(
                f"cannot take the model: it needs {missing / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free at "
                f"{self._models}; free some space or set ROOST_MODELS to another disk"
            )

    def arrived_bytes(self, piece: Piece) -> int:
        """How much of it lies here; not checked yet."""
        try:
            found = (self._folder / piece.name).stat().st_size
        except OSError:
            return 0
        return found if found <= piece.size_bytes else 0

    def landing(self, piece: Piece) -> Landing:
        """Where it goes on. Blocks: what lies here of it is read. Raises OSError."""
        return Landing(self._folder / piece.name, piece)

    def copy(self, piece: Piece, twin: Piece) -> None:
        """The same bytes under a second name. Blocks. Raises OSError."""
        (self._folder / twin.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._folder / piece.name, self._folder / twin.name)

    def settle(self, model_id: str) -> Path:
        """All pieces are here and were checked: the model's folder, in its place at once. Blocks. Raises OSError."""
        plain = _ODD.sub("--", model_id).strip(".-")[:100] or "model"
        for name in (plain, f"{plain}--{self.key[:8]}"):
            place = self._models / name
            try:
                # Goes over an empty folder, and over nothing else.
                self._folder.rename(place)
            except OSError:
                if not place.exists():
                    raise
            else:
                return place
        raise ModelRefused(f"cannot keep {model_id}: {place} is there already; remove it and try again")

    def _forget_others(self) -> None:
        """What was given up long ago."""
        for other in self._folder.parent.iterdir():
            if other != self._folder and other.stat().st_mtime < time.time() - FORGOTTEN_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)


class Landing:
    """One file that is being written. Its methods block; close it in any case."""

    def __init__(self, path: Path, piece: Piece) -> None:
        self._path, self._piece = path, piece
        path.parent.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256()
        self._file: BinaryIO = _opened(path, piece.size_bytes)
        self.offset = 0
        while part := self._file.read(_CHUNK_BYTES):
            self._digest.update(part)
            self.offset += len(part)

    def take(self, data: bytes) -> None:
        """What comes next. Raises ModelRefused when it is more than was promised, OSError."""
        if self.offset + len(data) > self._piece.size_bytes:
            raise ModelRefused(f"cannot take {self._piece.name}: more comes than its {self._piece.size_bytes:,} bytes")
        self._file.write(data)
        self._digest.update(data)
        self.offset += len(data)

    def finish(self) -> None:
        """It is whole. Raises ModelRefused when its digest is another one, and keeps nothing of it then."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self.offset != self._piece.size_bytes or self._digest.hexdigest() != self._piece.sha256:
            self._path.unlink(missing_ok=True)
            raise ModelRefused(
                f"cannot keep {self._piece.name}: its sha256 is {self._digest.hexdigest()[:12]}…, it must be "
                f"{self._piece.sha256[:12]}…; nothing was added, try again"
            )

    def close(self) -> None:
        self._file.close()


def _opened(path: Path, size_bytes: int) -> BinaryIO:
    """For reading what is there and writing behind it; more than the whole is nothing of use."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    file = os.fdopen(descriptor, "r+b")
    if os.fstat(descriptor).st_size > size_bytes:
        file.truncate(0)
    return file
