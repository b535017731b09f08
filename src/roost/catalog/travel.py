"""A model's files as another machine is given them: which they are, their names there, their digests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from roost.catalog.digest import file_sha256
from roost.catalog.inspect import file_stamp
from roost.catalog.spec import FileRole, ModelFile, ModelFormat, ModelSpec
from roost.errors import BadRequest

#: What may lie in the folder of a model besides its weights: settings and texts, nothing that runs.
TEXT_SUFFIXES = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken"})
SETTING = "setting"
_LARGEST_TEXT_BYTES = 96 * 2**20
_MOST_TEXTS = 500


@dataclass(frozen=True)
class Piece:
    """One file. `name` is relative to the folder of the model, with `/`."""

    role: str
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Lying:
    """One file of this machine before it is hashed."""

    path: Path
    role: str
    name: str
    #: As the catalog has it; None: nobody computed it yet.
    sha256: str | None = None


def files_of(spec: ModelSpec) -> tuple[Lying, ...]:
    """All files that make the model. Blocks on stat. Raises BadRequest for one that is no set of files."""
    if spec.path is None:
        raise BadRequest(f"cannot hand over {spec.id}: another server has its files, roost only knows its address")
    if spec.adapter is not None:
        raise BadRequest(
            f"cannot hand over {spec.id}: it is an adapter on {spec.base_id}; hand over that, and add the adapter there"
        )
    if spec.format is ModelFormat.GGUF:
        return tuple(_gguf(file) for file in spec.files)
    known = tuple(Lying(file.path, file.role, file.path.name, file.sha256) for file in spec.files)
    taken = {file.path for file in known}
    return (*known, *(file for file in _texts(spec.path) if file.path not in taken))


def _gguf(file: ModelFile) -> Lying:
    """Blobs of other programs have names that say nothing; discovery goes by them."""
    name = file.path.name.lstrip(".")
    if not name.lower().endswith(".gguf"):
        name = f"{name}.gguf"
    if file.role is FileRole.PROJECTOR and "mmproj" not in name.lower():
        name = f"mmproj-{name}"
    return Lying(file.path, file.role, name, file.sha256)


def _texts(folder: Path) -> Iterator[Lying]:
    """What engines read beside what the catalog does, one folder deep: pooling, processors, generation defaults."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    places = [("", folder), *((f"{one.name}/", Path(one.path)) for one in listed if one.is_dir())]
    found = [one for prefix, place in places if not prefix.startswith(".") for one in _texts_in(prefix, place)]
    yield from found[:_MOST_TEXTS]


def _texts_in(prefix: str, folder: Path) -> Iterator[Lying]:
    for path in sorted(folder.iterdir()):
        plain = path.suffix.lower() in TEXT_SUFFIXES and not path.name.startswith(".")
        if plain and path.is_file() and path.stat().st_size <= _LARGEST_TEXT_BYTES:
            yield Lying(path, SETTING, f"{prefix}{path.name}")


class Digests:
    """sha256 of files, computed once while they stay as they are."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[str, str]] = {}

    def pieces(self, files: tuple[Lying, ...], advance: Callable[[int], None]) -> dict[Piece, Path]:
        """Hashes what is not known. Blocks. Raises OSError, ModelRefused."""
        return {
            Piece(file.role, file.name, file.path.stat().st_size, self._sha256(file, advance)): file.path
            for file in files
        }

    def _sha256(self, file: Lying, advance: Callable[[int], None]) -> str:
        if file.sha256 is not None:
            return file.sha256
        stamp = file_stamp(file.path)
        known = self._known.get(file.path)
        if known is None or known[0] != stamp:
            known = (stamp, file_sha256(file.path, advance))
            self._known[file.path] = known
        return known[1]
