"""The catalog: every model that this machine knows, by its physical id."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from roost.catalog.adding import Adding
from roost.catalog.compose import EMBEDDED_ID
from roost.catalog.declared import declared_models
from roost.catalog.discover import discover
from roost.catalog.embedded import SHA256 as EMBEDDED_SHA256
from roost.catalog.embedded import ensure_embedded
from roost.catalog.inspect import inspect_model
from roost.catalog.inspections import Inspect, Inspections
from roost.catalog.ledger import (
    current_digests,
    entry_of,
    is_remembered,
    seen_only,
    with_digests,
    with_entry,
    with_survey,
    without_entry,
)
from roost.catalog.places import IsMount, Places
from roost.catalog.progress import Progress, silent
from roost.catalog.refusal import disk_errors
from roost.catalog.spec import ModelSpec
from roost.catalog.store import CatalogFile, CatalogStore
from roost.catalog.survey import Model, Survey
from roost.catalog.upkeep import Removal, VerifyReport, removal_of, verify_files
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.errors import ModelNotFound, ModelUnavailable


class Catalog:
    """Implements `types.CatalogView`. Reads are of one immutable table; changes take turns and swap it whole.

    Every method that changes something blocks (stat, hashing, downloads): call it in a thread.
    """

    def __init__(
        self, paths: Paths, settings: Settings, environ: Mapping[str, str], is_mount: IsMount, inspect: Inspect
    ) -> None:
        self._paths = paths
        self._settings = settings
        self._environ = environ
        self._is_mount = is_mount
        self._store = CatalogStore(paths.catalog)
        self._inspections = Inspections(inspect)
        self._turn = threading.RLock()
        self._models: Mapping[str, Model] = MappingProxyType({})
        self._write_problem: str | None = None

    @classmethod
    def open(
        cls,
        paths: Paths,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        is_mount: IsMount = os.path.ismount,
        inspect: Inspect = inspect_model,
    ) -> Catalog:
        """Read what is known and look at the disk. Raises BadConfiguration for a declared model that makes no sense."""
        catalog = cls(paths, settings, environ, is_mount, inspect)
        catalog.refresh()
        return catalog

    def get(self, model_id: str) -> Model | None:
        return self._models.get(model_id)

    def all(self) -> Iterable[Model]:
        models = self._models
        return [models[model_id] for model_id in sorted(models)]

    def added(self) -> frozenset[str]:
        """Ids that somebody added or used; the others were only discovered or declared."""
        return frozenset(entry.id for entry in self._store.read().entries.values() if entry.added)

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the catalog's own file, for status."""
        return tuple(text for text in (self._store.problem, self._write_problem) if text)

    def refresh(self, settings: Settings | None = None) -> None:
        """Look at the disk again: stats alone when nothing changed. With `settings`: by new settings from now on."""
        with self._turn:
            self._settings = settings or self._settings
            declared = declared_models(self._settings)
            known = self._store.read()
            self._inspections.remember(
                {path: item for path, item in known.inspections.items() if path not in self._inspections.known}
            )
            survey = Survey(self._inspections, self._is_mount, current_digests(known))
            survey.remembered(known.entries.values())
            survey.found(discover(self._places()))
            survey.adapters(known.entries.values())
            self._remember(known, survey)
            self._models = MappingProxyType({**survey.models, **declared})

    def add(
        self,
        text: str,
        *,
        model_id: str | None = None,
        progress: Progress | None = None,
        revision: str | None = None,
        digests: Mapping[Path, str] | None = None,
    ) -> ModelSpec:
        """Make a file, folder, hub id, `base+adapter` or known id a model of this catalog and hold its digests.

        `digests`: sha256 of whole files that the caller has just computed.
        Raises BadRequest (refused, or the id is taken: give another with --id), ModelNotFound, ModelUnavailable,
        Unavailable (hub), StorageFull.
        """
        with self._turn, disk_errors(f"add {text}"):
            self.refresh()
            adding = Adding(
                self._paths,
                self._settings.catalog,
                self._environ,
                self._models,
                self._inspections,
                progress or silent,
                digests or {},
            )
            addition = adding.recognize(text, model_id, revision)
            entry = entry_of(addition.spec, addition.path, self._is_mount)
            self._store.update(lambda file: with_digests(with_entry(file, entry), addition.digests))
            self.refresh()
            return self.require(entry.id)

    def pin(self, model_id: str) -> ModelSpec:
        """Hold a discovered model's fingerprint under its id, as `roost use` does; nothing is hashed or fetched.

        Raises ModelNotFound, ModelUnavailable.
        """
        with self._turn, disk_errors(f"hold {model_id}"):
            spec = self.require(model_id)
            if spec.path is None or model_id in self.added():
                return spec
            entry = entry_of(spec, spec.path, self._is_mount)
            self._store.update(lambda file: with_entry(file, entry))
            self.refresh()
            return self.require(model_id)

    def require(self, model_id: str) -> ModelSpec:
        """The spec of a model that can be used now. Raises ModelNotFound or ModelUnavailable."""
        model = self._models.get(model_id)
        if model is None:
            raise ModelNotFound(f"cannot use {model_id!r}: this machine does not have it; see roost models list")
        if not isinstance(model, ModelSpec):
            raise ModelUnavailable(f"cannot use {model_id!r}: {model.reason}")
        return model

    def remove(self, model_id: str) -> Removal:
        """Forget a model and delete those of its files that lie below roost's own models folder, and no others.

        Raises ModelNotFound, or BadRequest when it belongs to another program or to roost.toml.
        """
        with self._turn, disk_errors(f"remove {model_id}"):
            model = self._models.get(model_id)
            if model is None:
                raise ModelNotFound(f"cannot remove {model_id!r}: there is no such model; see roost models list")
            removal = removal_of(model, self._models.values(), self._paths.models, is_added=model_id in self.added())
            removal.delete()
            self._store.update(lambda file: without_entry(file, model_id))
            self.refresh()
            return removal

    def verify(self, model_id: str, progress: Progress | None = None) -> VerifyReport:
        """Hash every file of a model and compare with what was recorded; what never was is recorded now."""
        with self._turn, disk_errors(f"verify {model_id}"):
            spec = self.require(model_id)
            report = verify_files(spec, self._store.read().digests, progress or silent)
            self._store.update(lambda file: with_digests(file, report.fresh))
            self.refresh()
            return report

    def ensure_embedded(self, progress: Progress | None = None) -> ModelSpec:
        """The model that roost brings along, fetched and checked if this machine does not have it.

        A copy of it anywhere on disk will do once its whole-file digest is right. Raises Unavailable, ModelRefused.
        """
        with self._turn, disk_errors("prepare the embedded model"):
            self.refresh()
            known = self._models.get(EMBEDDED_ID)
            if isinstance(known, ModelSpec) and self._sound_embedded(known, progress or silent):
                return known
            path = ensure_embedded(self._paths, progress or silent, environ=self._environ)
            self._store.update(lambda file: with_digests(file, {path: EMBEDDED_SHA256}))
            self.refresh()
            return self.require(EMBEDDED_ID)

    def _sound_embedded(self, spec: ModelSpec, progress: Progress) -> bool:
        weights = spec.files[0]
        if weights.sha256 is None:
            report = verify_files(spec, {}, progress)
            self._store.update(lambda file: with_digests(file, report.fresh))
            return report.files[0].sha256 == EMBEDDED_SHA256
        return weights.sha256 == EMBEDDED_SHA256

    def record(self, digests: Mapping[Path, str]) -> None:
        """Keep sha256 of whole files that somebody has just computed."""
        with self._turn, disk_errors("keep digests"):
            self._store.update(lambda file: with_digests(file, digests))
            self.refresh()

    def recorded_sha256(self, path: Path) -> str | None:
        """The whole-file digest known for a file as it is now; None: nobody computed it since it changed."""
        return current_digests(self._store.read()).get(str(path))

    def _places(self) -> Places:
        return Places.find(self._paths.models, self._settings.catalog, self._environ)

    def _remember(self, known: CatalogFile, survey: Survey) -> None:
        """Write what this look found out, if anything: a full disk costs the memory, not the service."""
        self._inspections.forget(lambda path: os.path.lexists(path) or is_remembered(known, path))
        fresh = dict(self._inspections.known)
        if fresh == known.inspections and survey.seen == seen_only(known):
            return
        try:
            self._store.update(lambda file: with_survey(file, fresh, survey.seen))
            self._write_problem = None
        except OSError as error:
            self._write_problem = (
                f"cannot write {self._paths.catalog}: {error.strerror}; models are inspected anew at start"
            )
