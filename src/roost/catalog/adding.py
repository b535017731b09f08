"""`roost models add`: from what somebody typed to a model that can be held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roost.catalog import embedded, hub
from roost.catalog.compose import EMBEDDED_ID, adapted_spec, best_projector, is_embedded, model_spec
from roost.catalog.digest import file_sha256
from roost.catalog.discover import find_models, physical_id
from roost.catalog.facts import ADAPTER, MODEL, PROJECTOR, Facts
from roost.catalog.gguf_facts import split_files
from roost.catalog.hub_choice import HubRequest, best_variant, parse_hub_id
from roost.catalog.inspections import Inspections
from roost.catalog.progress import Progress, Step
from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import ModelSpec, Source, SourceKind
from roost.catalog.survey import Model
from roost.config.paths import Paths
from roost.config.settings import CatalogSettings
from roost.errors import BadRequest, ModelNotFound, ModelUnavailable, Unavailable

_ID_LIMIT = 200


@dataclass(frozen=True)
class Addition:
    """A model that is about to be held."""

    spec: ModelSpec
    #: Where its base weights are: a GGUF file or a folder.
    path: Path
    #: sha256 of whole files, computed on the way.
    digests: Mapping[Path, str] = field(default_factory=dict)


class Adding:
    """One `add`. Knows the catalog as it is, changes nothing but what it fetches."""

    def __init__(
        self,
        paths: Paths,
        settings: CatalogSettings,
        environ: Mapping[str, str],
        models: Mapping[str, Model],
        inspections: Inspections,
        progress: Progress,
        digests: Mapping[Path, str] | None = None,
    ) -> None:
        self._paths = paths
        self._settings = settings
        self._environ = environ
        self._models = models
        self._inspections = inspections
        self._progress = progress
        self._digests = digests or {}

    def recognize(self, text: str, model_id: str | None, revision: str | None) -> Addition:
        """What the text means, in this order: a known id, a path, `base+adapter`, a hub id."""
        if model_id is not None:
            check_id(model_id)
        if revision is None and (known := self._known_id(text)):
            return self._known(known, model_id)
        if text == EMBEDDED_ID:
            path = embedded.ensure_embedded(self._paths, self._progress, environ=self._environ)
            return self._from_path(path, model_id)
        path = Path(text).expanduser().absolute()
        if path.exists():
            return self._from_path(path, model_id)
        if base_and_adapter := self._split_adapter(text):
            return self._adapter(*base_and_adapter, model_id)
        return self._from_hub(text, model_id, revision)

    def _known_id(self, text: str) -> str | None:
        """The id that a text names: itself, or for a hub id without quantization the best one on disk."""
        if text in self._models:
            return text
        variants = {key.rpartition(":")[2]: key for key in self._models if key.startswith(f"{text}:") and "/" in text}
        return variants[best_variant(variants)] if variants else None

    def _known(self, known_id: str, model_id: str | None) -> Addition:
        model = self._models[known_id]
        if not isinstance(model, ModelSpec):
            raise ModelUnavailable(f"cannot add {known_id}: {model.reason}")
        if model.path is None:
            raise BadRequest(f"cannot add {known_id}: roost.toml declares it already")
        spec = self._under_free_id(model, model_id or known_id)
        return Addition(spec, model.path, self._hash(spec))

    def _from_path(self, path: Path, model_id: str | None) -> Addition:
        path = self._entrance(path)
        facts = self._inspections.facts(path)
        if facts.kind != MODEL:
            raise ModelRefused(_not_alone(facts, path))
        is_folder = path.is_dir()
        source = Source(kind=SourceKind.FOLDER if is_folder else SourceKind.FILE, location=str(path))
        projector = None if is_folder else best_projector(facts, self._projectors_beside(path))
        spec = model_spec("", facts, source, projector=projector)
        named = self._under_free_id(spec, model_id or self._id_for(spec, path))
        return Addition(named, path, self._hash(named))

    def _entrance(self, path: Path) -> Path:
        """The first part of a split model; the one GGUF of a folder that holds nothing else."""
        if path.is_file():
            return split_files(path)[0]
        if (path / "config.json").exists() or (path / "adapter_config.json").exists():
            return path
        ggufs = [found.path for found in find_models(path, depth=0) if not found.path.is_dir()]
        if len(ggufs) > 1:
            names = ", ".join(sorted(item.name for item in ggufs)[:8])
            raise BadRequest(f"cannot add {path}: it holds several models ({names}); name one of these files")
        return ggufs[0] if ggufs else path

    def _projectors_beside(self, path: Path) -> list[Facts]:
        candidates = [item for item in path.parent.glob("*mmproj*.gguf") if item.is_file()]
        return [facts for item in candidates if (facts := self._inspections.facts(item)).kind == PROJECTOR]

    def _id_for(self, spec: ModelSpec, path: Path) -> str:
        """The id under which discovery knows these very files, else one after the file or folder."""
        for model in self._models.values():
            if isinstance(model, ModelSpec) and model.adapter is None and _same_files(model, spec):
                return model.id
        return EMBEDDED_ID if is_embedded(self._inspections.facts(path)) else physical_id(path)

    def _split_adapter(self, text: str) -> tuple[str, Path] | None:
        """`base+PATH`: the base must be known and the adapter there; both may hold a plus."""
        for position in (index for index, character in enumerate(text) if character == "+"):
            base, path = text[:position], Path(text[position + 1 :]).expanduser().absolute()
            if base in self._models and path.exists():
                return base, path
        return None

    def _adapter(self, base_id: str, path: Path, model_id: str | None) -> Addition:
        base = self._models[base_id]
        if not isinstance(base, ModelSpec) or base.path is None:
            why = "it is declared, not loaded by roost" if isinstance(base, ModelSpec) else base.reason
            raise ModelUnavailable(f"cannot add an adapter to {base_id}: {why}")
        facts = self._inspections.facts(path)
        if problem := misfit(base, facts):
            raise ModelRefused(f"cannot add {path.name} to {base_id}: {problem}")
        source = Source(kind=SourceKind.FILE, location=f"{base_id}+{path}")
        spec = adapted_spec("", base, facts, source)
        named = self._under_free_id(spec, model_id or f"{base_id}+{physical_id(path)}")
        return Addition(named, base.path, self._hash(named))

    def _from_hub(self, text: str, model_id: str | None, revision: str | None) -> Addition:
        request = None if text.startswith(("/", ".", "~")) else parse_hub_id(text)
        if request is None or text.endswith(".gguf"):
            raise ModelNotFound(f"cannot add {text}: there is no such file or folder, and it is no hub id (org/model)")
        if self._settings.offline or hub.is_offline(self._environ):
            raise Unavailable(
                f"cannot fetch {text}: offline is set and it is not on this disk; see roost models discover, "
                "or unset catalog.offline and HF_HUB_OFFLINE"
            )
        self._check_not_away(request)
        fetched = hub.fetch(request, revision, self._environ, self._progress)
        facts = self._inspections.facts(fetched.path)
        projector = self._inspections.facts(fetched.projector) if fetched.projector else None
        source = Source(kind=SourceKind.HUB, location=request.repository, revision=fetched.revision)
        spec = model_spec("", facts, source, projector=projector)
        named = self._under_free_id(spec, model_id or fetched.model_id)
        return Addition(named, fetched.path, {**self._hash(named, fetched.digests)})

    def _check_not_away(self, request: HubRequest) -> None:
        """A model whose volume is away is not fetched a second time."""
        for model in self._models.values():
            away = not isinstance(model, ModelSpec) and model.reason.startswith("volume not mounted")
            if away and (model.id == request.model_id or model.id.startswith(f"{request.model_id}:")):
                raise ModelUnavailable(f"cannot fetch {model.id}: it is here but its {_reason_of(model)}; mount it")

    def _under_free_id(self, spec: ModelSpec, model_id: str) -> ModelSpec:
        holder = self._models.get(model_id)
        if holder is not None and not (isinstance(holder, ModelSpec) and _same_files(holder, spec)):
            raise BadRequest(
                f"cannot add {spec.adapter or spec.path} as {model_id}: "
                f"{holder.source.location} has that id; choose another with --id"
            )
        return spec.model_copy(update={"id": model_id})

    def _hash(self, spec: ModelSpec, known: Mapping[Path, str] | None = None) -> dict[Path, str]:
        """sha256 of every file, those known already for the file as it is now taken over."""
        own = {file.path: self._digests[file.path] for file in spec.files if file.path in self._digests}
        digests = own | dict(known or {})
        digests |= {file.path: file.sha256 for file in spec.files if file.sha256}
        missing = [file for file in spec.files if file.path not in digests]
        total, done = sum(file.size_bytes for file in missing), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self._progress(Step("verify", spec.id, done, total))

        return digests | {file.path: file_sha256(file.path, advance) for file in missing}


def check_id(model_id: str) -> None:
    """Raises BadRequest for an id that a request or the registry could not carry."""
    usable = model_id.isprintable() and " " not in model_id and "@" not in model_id
    if not usable or not 0 < len(model_id) <= _ID_LIMIT:
        raise BadRequest(
            f"cannot use {model_id!r} as an id: at most {_ID_LIMIT} printable characters, no spaces, "
            "no @ (it names a node)"
        )


def misfit(base: ModelSpec, adapter: Facts) -> str | None:
    """Why an adapter cannot go on a base; None: it can."""
    if adapter.kind != ADAPTER:
        return "it is not an adapter"
    if adapter.format != base.format:
        return f"the adapter is {adapter.format}, the base {base.format}"
    if adapter.architecture and adapter.architecture != base.architecture:
        return f"it was made for {adapter.architecture}, the base is {base.architecture}"
    return None


def _same_files(one: ModelSpec, other: ModelSpec) -> bool:
    return _identities(one) == _identities(other)


def _identities(spec: ModelSpec) -> Iterable[tuple[int, int]]:
    return {(file.device, file.inode) for file in spec.files if file.role in ("weights", "adapter")}


def _not_alone(facts: Facts, path: Path) -> str:
    if facts.kind == ADAPTER:
        return f'cannot add {path.name} alone: it is an adapter; run "roost models add BASE+{path}"'
    return f"cannot add {path.name} alone: it is the projector of a vision model; add the model that lies beside it"


def _reason_of(model: Model) -> str:
    return "" if isinstance(model, ModelSpec) else model.reason
