"""Removing a model's files, and checking them byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roost.catalog.digest import file_sha256, named_sha256
from roost.catalog.progress import Progress, Step
from roost.catalog.spec import ModelFormat, ModelSpec, SourceKind, UnavailableModel
from roost.catalog.store import Digest
from roost.errors import BadRequest

#: Who keeps a model that roost only found, and how it is removed there.
_OWNERS = {
    SourceKind.OLLAMA: ("Ollama", 'run "ollama rm {location}"'),
    SourceKind.LM_STUDIO: ("LM Studio", "remove it there"),
    SourceKind.HUGGINGFACE_CACHE: ("the Hugging Face cache", 'run "hf cache rm model/{location}"'),
    SourceKind.FILE: ("a folder of yours", "delete {location}"),
    SourceKind.FOLDER: ("a folder of yours", "delete {location}"),
}


@dataclass(frozen=True)
class Removal:
    """What `roost models rm` did or will do."""

    model_id: str
    #: Files and folders below roost's own models folder.
    deleted: tuple[Path, ...]
    freed_bytes: int
    #: Files that belong to others and stay.
    kept: tuple[Path, ...]

    def delete(self) -> None:
        """Do it. A link is removed, never what it points to."""
        for path in self.deleted:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class FileVerdict:
    path: Path
    sha256: str
    #: What was recorded, or what a content-addressed store calls it; None: nothing was known.
    expected: str | None

    @property
    def outcome(self) -> Literal["matches", "differs", "recorded"]:
        if self.expected is None:
            return "recorded"
        return "matches" if self.sha256 == self.expected else "differs"


@dataclass(frozen=True)
class VerifyReport:
    model_id: str
    files: tuple[FileVerdict, ...]

    @property
    def ok(self) -> bool:
        return all(file.outcome != "differs" for file in self.files)

    @property
    def fresh(self) -> dict[Path, str]:
        """Digests to record: of files that match or were never hashed before."""
        return {file.path: file.sha256 for file in self.files if file.outcome != "differs"}


def removal_of(
    model: ModelSpec | UnavailableModel,
    others: Iterable[ModelSpec | UnavailableModel],
    own_folder: Path,
    *,
    is_added: bool,
) -> Removal:
    """What removing a model means. Raises BadRequest when roost holds nothing of it."""
    if model.source.kind is SourceKind.DECLARED:
        raise BadRequest(f'cannot remove {model.id}: roost.toml declares it; remove its [models."{model.id}"] there')
    if isinstance(model, UnavailableModel):
        return _forgotten(model, is_added)
    needed = {
        file.path for other in others if isinstance(other, ModelSpec) and other.id != model.id for file in other.files
    }
    paths = _own_paths(model)
    deleted = tuple(path for path in paths if _is_below(path, own_folder) and not _holds(path, needed))
    if not deleted and not is_added:
        raise _belongs_elsewhere(model)
    return Removal(
        model_id=model.id,
        deleted=deleted,
        freed_bytes=sum(_freed_bytes(path) for path in deleted),
        kept=tuple(path for path in paths if path not in deleted),
    )


def _forgotten(model: UnavailableModel, is_added: bool) -> Removal:
    if not is_added:
        raise _belongs_elsewhere(model)
    return Removal(model.id, (), 0, ())


def _belongs_elsewhere(model: ModelSpec | UnavailableModel) -> BadRequest:
    owner, mend = _OWNERS.get(model.source.kind, ("another program", "remove it there"))
    return BadRequest(f"cannot remove {model.id}: it belongs to {owner}; {mend.format(location=model.source.location)}")


def _own_paths(spec: ModelSpec) -> tuple[Path, ...]:
    """The files that are this model: of an adapter model only the adapter, of a folder the folder itself."""
    if spec.adapter is not None:
        return (spec.adapter,)
    if spec.format is ModelFormat.SAFETENSORS and spec.path is not None:
        return (spec.path,)
    return tuple(file.path for file in spec.files)


def _is_below(path: Path, folder: Path) -> bool:
    """Lies strictly inside, links in between resolved: the last step may be a link, which is then removed itself."""
    place = path.parent.resolve() / path.name
    root = folder.resolve()
    return place != root and place.is_relative_to(root)


def _holds(path: Path, needed: set[Path]) -> bool:
    return any(file == path or path in file.parents for file in needed)


def _freed_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(status.st_size for file in files if (status := file.lstat()).st_nlink == 1 and not file.is_dir())


def verify_files(spec: ModelSpec, recorded: Mapping[str, Digest], progress: Progress) -> VerifyReport:
    """Hash every file of a model. Raises OSError when one cannot be read."""
    total, done = sum(file.size_bytes for file in spec.files), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(Step("verify", spec.id, done, total))

    verdicts = []
    for file in spec.files:
        known = recorded.get(str(file.path))
        expected = known.sha256 if known else named_sha256(file.path)
        verdicts.append(FileVerdict(file.path, file_sha256(file.path, advance), expected))
    return VerifyReport(spec.id, tuple(verdicts))
