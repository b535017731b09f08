"""From what is remembered and what was found on disk to one table of models. Decides; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roost.catalog.compose import EMBEDDED_ID, adapted_spec, best_projector, is_embedded, model_spec
from roost.catalog.discover import Candidate
from roost.catalog.facts import ADAPTER, MODEL, PROJECTOR, Facts
from roost.catalog.inspections import Inspections
from roost.catalog.places import IsMount, missing_volume, mount_of
from roost.catalog.refusal import ModelRefused
from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.catalog.store import Entry

Model = ModelSpec | UnavailableModel


@dataclass
class Survey:
    """One look at everything. Made, asked once, thrown away."""

    inspections: Inspections
    is_mount: IsMount
    #: sha256 by path, as far as known for the file as it is now.
    digests: Mapping[str, str]
    models: dict[str, Model] = field(default_factory=dict)
    #: What discovery saw, to be remembered until its volume comes back.
    seen: dict[str, Entry] = field(default_factory=dict)
    #: Weights files that have a name already: device and inode.
    _claimed: set[tuple[int, int]] = field(default_factory=set)

    def remembered(self, entries: Iterable[Entry]) -> None:
        """Models that somebody added, then those that were only seen and whose volume is away."""
        ordered = sorted(entries, key=lambda entry: (not entry.added, entry.adapter is not None, entry.id))
        for entry in ordered:
            if entry.added and entry.adapter is None:
                self.models[entry.id] = self._held(entry)
            elif not entry.added and (away := self._away(entry)):
                self.models.setdefault(entry.id, away)
                self.seen.setdefault(entry.id, entry)

    def adapters(self, entries: Iterable[Entry]) -> None:
        """`base+adapter` models: after the discovered ones, because their base may be one."""
        for entry in entries:
            if entry.added and entry.adapter is not None:
                self.models[entry.id] = self._adapted(entry, entry.adapter)

    def found(self, candidates: Iterable[Candidate]) -> None:
        """Models that discovery found; the same file under a second name is left out."""
        listed = list(candidates)
        self.inspections.prepare(path for item in listed if not item.problem for path in (item.path, *item.projectors))
        for candidate in listed:
            self._one_found(candidate)

    def _one_found(self, candidate: Candidate) -> None:
        try:
            if candidate.problem:
                raise ModelRefused(candidate.problem)
            facts = self.inspections.facts(candidate.path)
        except (ModelRefused, OSError) as error:
            if not candidate.unfinished:
                unavailable = UnavailableModel(id=candidate.id, reason=_reason(error), source=candidate.source)
                self.models.setdefault(candidate.id, unavailable)
            return
        if facts.kind == MODEL and _identity(facts) not in self._claimed:
            self._name(candidate, facts)

    def _name(self, candidate: Candidate, facts: Facts) -> None:
        """Give it its id, or one with its fingerprint when another file has that id: a name never changes hands."""
        model_id = EMBEDDED_ID if is_embedded(facts) else candidate.id
        projector = best_projector(facts, self._projectors(candidate.projectors))
        spec = model_spec(model_id, facts, candidate.source, projector=projector, digests=self.digests)
        holder = self.models.get(model_id)
        if isinstance(holder, ModelSpec) and holder.fingerprint == spec.fingerprint:
            return  # a copy
        if holder is not None:
            spec = spec.model_copy(update={"id": f"{model_id}~{spec.fingerprint[:8]}"})
        self._claimed.add(_identity(facts))
        self.models[spec.id] = spec
        self.seen[spec.id] = Entry(
            id=spec.id, source=spec.source, path=candidate.path, mount=mount_of(candidate.path, self.is_mount)
        )

    def _projectors(self, paths: Iterable[Path]) -> list[Facts]:
        return [facts for path in paths if (facts := self._optional(path)) and facts.kind == PROJECTOR]

    def _optional(self, path: Path) -> Facts | None:
        """A projector that cannot be read leaves its model without images, not without a name."""
        try:
            return self.inspections.facts(path)
        except (ModelRefused, OSError):
            return None

    def _held(self, entry: Entry) -> Model:
        """A model that was added: exactly those weights, or unavailable with the reason."""
        try:
            facts = self.inspections.facts(entry.path)
            projector = self.inspections.facts(entry.projector) if entry.projector else None
        except (ModelRefused, OSError) as error:
            return self._away(entry) or _unavailable(entry, _reason(error))
        spec = model_spec(entry.id, facts, entry.source, projector=projector, digests=self.digests)
        self._claimed.add(_identity(facts))
        return _as_added(entry, spec)

    def _adapted(self, entry: Entry, path: Path) -> Model:
        base = self.models.get(entry.base_id or "")
        if not isinstance(base, ModelSpec):
            why = base.reason if base else "it is not in the catalog"
            return _unavailable(entry, f"its base {entry.base_id} is unavailable: {why}")
        try:
            facts = self.inspections.facts(path)
        except (ModelRefused, OSError) as error:
            return self._away(entry) or _unavailable(entry, _reason(error))
        if facts.kind != ADAPTER:
            return _unavailable(entry, f"{path} is no adapter any more")
        return _as_added(entry, adapted_spec(entry.id, base, facts, entry.source, self.digests))

    def _away(self, entry: Entry) -> UnavailableModel | None:
        path = entry.adapter or entry.path
        if _exists(path):
            return None
        volume = missing_volume(path, entry.mount, self.is_mount)
        return _unavailable(entry, f"volume not mounted: {volume}") if volume else None


def _as_added(entry: Entry, spec: ModelSpec) -> Model:
    """Weights or template that changed since they were added are another model: its name is not theirs."""
    if entry.fingerprint and entry.fingerprint != spec.fingerprint:
        what = (
            f"its files changed since it was added (fingerprint {entry.fingerprint[:12]}, now {spec.short_fingerprint})"
        )
    elif entry.chat_template_sha256 != spec.chat_template_sha256:
        what = "its chat template changed since it was added"
    else:
        return spec
    return _unavailable(entry, f'{what}; look at it, then run "roost models rm {entry.id}" and add it again')


def _unavailable(entry: Entry, reason: str) -> UnavailableModel:
    return UnavailableModel(id=entry.id, reason=reason, source=entry.source)


def _identity(facts: Facts) -> tuple[int, int]:
    first = facts.files[0]
    return first.device, first.inode


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _reason(error: ModelRefused | OSError) -> str:
    if isinstance(error, ModelRefused):
        return error.message
    if isinstance(error, FileNotFoundError):
        return f"file missing: {error.filename}"
    return f"cannot read {error.filename}: {error.strerror}"
