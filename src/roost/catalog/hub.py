"""Fetching a model by its hub id into the hub's own cache, pinned to one commit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roost.catalog.digest import file_sha256
from roost.catalog.folder import read_config
from roost.catalog.folder_config import refuse_code
from roost.catalog.hub_choice import Choice, HubRequest, choose
from roost.catalog.places import huggingface_cache
from roost.catalog.progress import Progress, Step
from roost.catalog.refusal import ModelRefused
from roost.errors import Forbidden, ModelNotFound, Refused, StorageFull, Unavailable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Fetched:
    """A model that now lies in the hub cache."""

    model_id: str
    #: The GGUF file, or the snapshot folder.
    path: Path
    revision: str
    projector: Path | None
    #: sha256 of the large files, compared with what the hub says.
    digests: Mapping[Path, str]


@dataclass(frozen=True)
class _Listing:
    commit: str
    sizes: Mapping[str, int]
    #: Of files in large-file storage; the hub states no sha256 for others.
    digests: Mapping[str, str]


def is_offline(environ: Mapping[str, str]) -> bool:
    """The hub's own switch."""
    return any(environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def fetch(request: HubRequest, revision: str | None, environ: Mapping[str, str], progress: Progress) -> Fetched:
    """Fetch the chosen files of a repository; what is there already is not fetched again, what was cut off goes on.

    Raises ModelNotFound (no such repository), Forbidden (gated), Unavailable (hub not reachable), ModelRefused,
    StorageFull, Refused (the `hub` extra is not installed).
    """
    api = _api(request, environ)
    with _translated(request):
        listing = _list(api, request.repository, revision)
        choice = choose(request, listing.sizes)
        fetcher = _Fetcher(api, request.repository, listing, huggingface_cache(environ), progress)
        return fetcher.fetch(choice)


def _api(request: HubRequest, environ: Mapping[str, str]) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise Refused(
            f"cannot fetch {request.model_id}: the package huggingface_hub is not installed; "
            "install huggingface-hub beside roost (python -m pip install huggingface-hub), or give a file or folder"
        ) from error
    return HfApi(endpoint=environ.get("HF_ENDPOINT") or None, token=environ.get("HF_TOKEN") or None)


@contextmanager
def _translated(request: HubRequest) -> Iterator[None]:
    """The hub library's errors as ours."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise Forbidden(
            f"cannot fetch {request.model_id}: its publisher asks for consent; accept it on the model's page "
            "and set HF_TOKEN"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(request, error) from error
        raise ModelNotFound(f"cannot fetch {request.model_id}: the hub has no such model, file or revision") from error
    except (errors.HTTPError, errors.OfflineModeIsEnabled, errors.FileMetadataError) as error:  # type: ignore[attr-defined]
        # HTTPError is the base of the hub's HTTP library, whichever that is in this version; it is not re-exported
        raise _unreachable(request, error) from error


def _unreachable(request: HubRequest, error: Exception) -> Unavailable:
    why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return Unavailable(
        f"cannot fetch {request.model_id}: the hub did not answer ({why}); what has arrived is kept, "
        f"run roost models add {request.model_id} again to go on"
    )


def _list(api: HfApi, repository: str, revision: str | None) -> _Listing:
    info = api.model_info(repository, revision=revision, files_metadata=True)
    siblings = info.siblings or []
    if not info.sha:
        raise ModelRefused(f"cannot fetch {repository}: the hub names no commit to pin it to")
    return _Listing(
        commit=info.sha,
        sizes={item.rfilename: item.size or 0 for item in siblings},
        digests={item.rfilename: item.lfs.sha256 for item in siblings if item.lfs},
    )


class _Fetcher:
    """One fetch: counts bytes over all files, so that the bar runs once."""

    def __init__(self, api: HfApi, repository: str, listing: _Listing, cache: Path, progress: Progress) -> None:
        self._api = api
        self._repository = repository
        self._listing = listing
        self._cache = cache
        self._progress = progress
        self._done_bytes = 0
        self._total_bytes = 0

    def fetch(self, choice: Choice) -> Fetched:
        self._total_bytes = sum(self._listing.sizes[name] for name in choice.files)
        self._check_space(choice)
        local = {name: self._fetch_file(name, choice.model_id) for name in choice.files}
        digests = self._verify(local, choice.model_id)
        primary = local[choice.primary] if choice.primary else local["config.json"].parent
        projector = local[choice.projector] if choice.projector else None
        return Fetched(choice.model_id, primary, self._listing.commit, projector, digests)

    def _check_space(self, choice: Choice) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(self._cache).free
        missing = sum(self._listing.sizes[name] for name in choice.files if not self._snapshot(name).exists())
        if missing > free_bytes:
            raise StorageFull(
                f"cannot fetch {choice.model_id}: it needs {missing / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB are free "
                f"at {self._cache}; free some space or set HF_HOME to another disk"
            )

    def _snapshot(self, name: str) -> Path:
        folder = "models--" + self._repository.replace("/", "--")
        return self._cache / folder / "snapshots" / self._listing.commit / name

    def _fetch_file(self, name: str, model_id: str) -> Path:
        before = self._done_bytes
        path = Path(
            self._api.hf_hub_download(
                self._repository,
                name,
                revision=self._listing.commit,
                cache_dir=self._cache,
                tqdm_class=counting_bar(lambda count: self._advance(count, model_id)),
            )
        )
        self._done_bytes = before  # the file's real size, whatever the bar was told about resumed or cached bytes
        self._advance(self._listing.sizes[name], model_id)
        if name == "config.json":  # fetched first: a model that brings code costs no weights
            refuse_code(read_config(path), name)
        return path

    def _advance(self, count: int, model_id: str) -> None:
        self._done_bytes += count
        self._progress(Step("fetch", model_id, min(self._done_bytes, self._total_bytes), self._total_bytes))

    def _verify(self, local: Mapping[str, Path], model_id: str) -> dict[Path, str]:
        expected = {name: digest for name, digest in self._listing.digests.items() if name in local}
        total, done, digests = sum(self._listing.sizes[name] for name in expected), 0, {}

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._progress(Step("verify", model_id, done, total))

        for name, digest in expected.items():
            actual = file_sha256(local[name], advance)
            if actual != digest:
                raise ModelRefused(
                    f"cannot use {model_id}: {name} arrived with sha256 {actual}, the hub says {digest}; "
                    f"remove {local[name].resolve()} and run roost models add {model_id} again"
                )
            digests[local[name]] = actual
        return digests


def counting_bar(advance: Callable[[int], None]) -> type[Any]:
    """A tqdm class that draws nothing and tells how many bytes came, also from parallel and resumed downloads."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            if initial := options.get("initial"):
                advance(int(initial))

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            return None

    return Bar
