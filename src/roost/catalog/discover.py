"""Finding models that are already on disk. Reads folders and small manifests, writes nothing, opens no weights."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.catalog.compose import quantization_tag, safe_id
from roost.catalog.folder import PICKLE_SUFFIXES
from roost.catalog.gguf_facts import split_stem
from roost.catalog.places import Places
from roost.catalog.spec import Source, SourceKind

_DEPTH_LIMIT = 5
_FOLDERS_LIMIT = 20_000
_MANIFEST_LIMIT_BYTES = 2**20
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_PROJECTOR = "application/vnd.ollama.image.projector"


@dataclass(frozen=True)
class Candidate:
    """Something that may be a model; its header decides."""

    id: str
    #: The (first) GGUF file, or the safetensors folder.
    path: Path
    source: Source
    #: Files that may be its projector: they lie beside it.
    projectors: tuple[Path, ...] = ()
    #: Why it cannot be one; then nothing is opened.
    problem: str | None = None
    #: A download is under way beside it: missing parts are no error, it is just not there yet.
    unfinished: bool = False


@dataclass(frozen=True)
class Found:
    """Models of one folder tree, before they have ids."""

    path: Path
    projectors: tuple[Path, ...] = ()


def discover(places: Places) -> list[Candidate]:
    """Everything that the given places hold; earlier places win where two hold the same file."""
    found: list[Candidate] = []
    found += _plain_folder(places.models)
    for folder in places.folders:
        found += _plain_folder(folder)
    if places.huggingface:
        found += _huggingface(places.huggingface)
    for folder in places.lm_studio:
        found += _lm_studio(folder)
    if places.ollama:
        found += _ollama(places.ollama)
    return found


def find_models(root: Path, depth: int = _DEPTH_LIMIT) -> Iterator[Found]:
    """GGUF files and safetensors folders under `root`; links are followed, no folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    waiting = [(root, 0)]
    while waiting and len(seen) < _FOLDERS_LIMIT:
        folder, level = waiting.pop()
        names, folders = _listing(folder, seen)
        yield from _models_in(folder, names)
        if level < depth and not _is_model_folder(names):
            waiting += [(folder / name, level + 1) for name in reversed(folders)]


def _listing(folder: Path, seen: set[tuple[int, int]]) -> tuple[list[str], list[str]]:
    """File names and folder names inside; empty when it was listed before or cannot be."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return [], []
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            listed = sorted((entry.name, entry.is_dir()) for entry in entries if _speakable(entry.name))
    except OSError:
        return [], []
    return [name for name, is_dir in listed if not is_dir], [name for name, is_dir in listed if is_dir]


def _speakable(name: str) -> bool:
    """Hidden files are not for us, and a name that is not UTF-8 cannot be an id."""
    return not name.startswith(".") and name.isprintable()


def _is_model_folder(names: list[str]) -> bool:
    return "config.json" in names and any(_is_weights(name) for name in names)


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") or Path(name).suffix.lower() in PICKLE_SUFFIXES


def _models_in(folder: Path, names: list[str]) -> Iterator[Found]:
    ggufs = [name for name in names if name.lower().endswith(".gguf") and not _LATER_PART.search(name)]
    projectors = tuple(folder / name for name in ggufs if "mmproj" in name.lower())
    models = [name for name in ggufs if "mmproj" not in name.lower()]
    for name in models:
        yield Found(folder / name, projectors)
    if not models and _is_model_folder(names):
        yield Found(folder)


def _plain_folder(root: Path) -> Iterator[Candidate]:
    for found in find_models(root):
        is_folder = found.path.is_dir()
        kind = SourceKind.FOLDER if is_folder else SourceKind.FILE
        yield Candidate(
            physical_id(found.path), found.path, Source(kind=kind, location=str(found.path)), found.projectors
        )


def physical_id(path: Path) -> str:
    """File stem (without a part number) or folder name."""
    return safe_id(path.name if path.is_dir() else split_stem(path.name))


def _huggingface(cache: Path) -> Iterator[Candidate]:
    for name in _listing(cache, set())[1]:
        if name.startswith("models--"):
            yield from _repository(cache / name, name.removeprefix("models--").replace("--", "/"))


def _repository(folder: Path, repository: str) -> Iterator[Candidate]:
    snapshot = _snapshot(folder)
    if snapshot is None:
        return
    source = Source(kind=SourceKind.HUGGINGFACE_CACHE, location=repository, revision=snapshot.name)
    unfinished = any(name.endswith(".incomplete") for name in _listing(folder / "blobs", set())[0])
    yield from named_in_repository(repository, list(find_models(snapshot, depth=2)), source, unfinished=unfinished)


def named_in_repository(
    repository: str, found: list[Found], source: Source, *, unfinished: bool = False
) -> Iterator[Candidate]:
    """Ids of a hub repository's models: `org/repo` for a folder, `org/repo:QUANT` for each GGUF."""
    tags = [None if item.path.is_dir() else quantization_tag(item.path.name) for item in found]
    for item, tag in zip(found, tags, strict=True):
        model_id = repository
        if tag is not None and tags.count(tag) == 1:
            model_id = f"{repository}:{tag}"
        elif not item.path.is_dir() and len(found) > 1:
            model_id = f"{repository}:{physical_id(item.path)}"
        yield Candidate(model_id, item.path, source, item.projectors, unfinished=unfinished)


def _snapshot(folder: Path) -> Path | None:
    """The commit that `main` names, else the youngest one."""
    snapshots = folder / "snapshots"
    main = folder / "refs" / "main"
    if main.is_file() and (named := snapshots / main.read_text(errors="replace").strip()[:64]).is_dir():
        return named if named.parent == snapshots else None
    commits = [snapshots / name for name in _listing(snapshots, set())[1]]
    return max(commits, key=lambda commit: commit.stat().st_mtime_ns, default=None)


def _lm_studio(root: Path) -> Iterator[Candidate]:
    for publisher in _listing(root, set())[1]:
        for repository in _listing(root / publisher, set())[1]:
            yield from _publication(root / publisher / repository, f"{publisher}/{repository}")


def _publication(folder: Path, name: str) -> Iterator[Candidate]:
    found = list(find_models(folder, depth=2))
    for item in found:
        model_id = safe_id(name if len(found) == 1 else f"{name}/{physical_id(item.path)}")
        source = Source(kind=SourceKind.LM_STUDIO, location=str(item.path))
        yield Candidate(model_id, item.path, source, item.projectors)


def _ollama(store: Path) -> Iterator[Candidate]:
    root = store / "manifests"
    for manifest in _manifests(root):
        model_id = ollama_name(manifest.relative_to(root).parts)
        source = Source(kind=SourceKind.OLLAMA, location=model_id)
        try:
            blobs = _ollama_blobs(store, manifest)
        except (OSError, ValueError, RecursionError) as error:
            yield Candidate(model_id, manifest, source, problem=f"its manifest cannot be read: {error}")
            continue
        if _OLLAMA_MODEL in blobs:
            projector = blobs.get(_OLLAMA_PROJECTOR)
            yield Candidate(model_id, blobs[_OLLAMA_MODEL], source, (projector,) if projector else ())


def _manifests(root: Path) -> Iterator[Path]:
    """HOST/NAMESPACE/NAME/TAG files."""
    for host in _listing(root, set())[1]:
        for namespace in _listing(root / host, set())[1]:
            for name in _listing(root / host / namespace, set())[1]:
                folder = root / host / namespace / name
                yield from (folder / tag for tag in _listing(folder, set())[0])


def ollama_name(parts: Iterable[str]) -> str:
    """What Ollama calls it: `name:tag`, with namespace or host only where they are not the usual ones."""
    host, namespace, name, tag = parts
    prefix = "" if namespace == "library" else f"{namespace}/"
    if host != "registry.ollama.ai":
        prefix = f"{host}/{namespace}/"
    return safe_id(f"{prefix}{name}:{tag}")


def _ollama_blobs(store: Path, manifest: Path) -> dict[str, Path]:
    """Media type -> blob. A model that lives in Ollama's cloud has no model layer."""
    raw = manifest.read_bytes()
    if len(raw) > _MANIFEST_LIMIT_BYTES:
        raise ValueError(f"{len(raw):,} bytes")
    layers = _list(json.loads(raw), "layers")
    return {
        str(layer.get("mediaType")): store / "blobs" / _blob_name(str(layer.get("digest")))
        for layer in layers
        if isinstance(layer, dict)
    }


def _list(content: Any, key: str) -> list[Any]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise ValueError(f"it has no {key}")
    return value


def _blob_name(digest: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"the digest {digest[:80]!r} is not a sha256")
    return digest.replace(":", "-")
