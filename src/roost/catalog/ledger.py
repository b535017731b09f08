"""Changes of the catalog's file, each a pure function of its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from roost.catalog.inspect import file_stamp
from roost.catalog.places import IsMount, mount_of
from roost.catalog.spec import ModelSpec
from roost.catalog.store import CatalogFile, Digest, Entry, Inspection


def entry_of(spec: ModelSpec, path: Path, is_mount: IsMount) -> Entry:
    """The memory of a model under its present fingerprint. `path`: its own, or its base's for an adapter."""
    return Entry(
        id=spec.id,
        source=spec.source,
        path=path,
        mount=mount_of(spec.adapter or path, is_mount),
        added=True,
        fingerprint=spec.fingerprint,
        chat_template_sha256=spec.chat_template_sha256,
        projector=spec.projector,
        base_id=spec.base_id,
        adapter=spec.adapter,
    )


def with_entry(file: CatalogFile, entry: Entry) -> CatalogFile:
    return file.model_copy(update={"entries": {**file.entries, entry.id: entry}})


def without_entry(file: CatalogFile, model_id: str) -> CatalogFile:
    return file.model_copy(update={"entries": {key: entry for key, entry in file.entries.items() if key != model_id}})


def with_digests(file: CatalogFile, digests: Mapping[Path, str]) -> CatalogFile:
    fresh = {str(path): Digest(stamp=file_stamp(path), sha256=sha256) for path, sha256 in digests.items()}
    return file.model_copy(update={"digests": {**file.digests, **fresh}})


def with_survey(file: CatalogFile, inspections: Mapping[str, Inspection], seen: Mapping[str, Entry]) -> CatalogFile:
    """What a look at the disk found. Added models are somebody's word and stay."""
    added = {key: entry for key, entry in file.entries.items() if entry.added}
    return file.model_copy(update={"inspections": dict(inspections), "entries": {**seen, **added}})


def seen_only(file: CatalogFile) -> dict[str, Entry]:
    """Models that were discovered and nobody added."""
    return {key: entry for key, entry in file.entries.items() if not entry.added}


def is_remembered(file: CatalogFile, path: str) -> bool:
    """Whether a model of the file lies there, present or not."""
    return any(path in (str(entry.path), str(entry.projector), str(entry.adapter)) for entry in file.entries.values())


def current_digests(file: CatalogFile) -> dict[str, str]:
    """sha256 by path, of files that are as they were when it was computed."""
    return {path: item.sha256 for path, item in file.digests.items() if _stamp(path) == item.stamp}


def _stamp(path: str) -> str | None:
    try:
        return file_stamp(Path(path))
    except OSError:
        return None
