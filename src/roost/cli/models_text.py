"""Models as text. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.cli import format as people

if TYPE_CHECKING:
    from roost.catalog.upkeep import FileVerdict, Removal, VerifyReport

HEADER = ("ID", "SIZE", "QUANT", "CONTEXT", "CAN", "ROLES", "FROM")


def table(models: Iterable[ModelSpec | UnavailableModel], roles: Mapping[str, str]) -> list[str]:
    """One line a model, sorted by id; what cannot be reached says why in place of its shape."""
    by_model: dict[str, list[str]] = {}
    for role, target in roles.items():
        by_model.setdefault(target.partition("@")[0], []).append(role)
    return people.columns([HEADER, *(_row(model, by_model.get(model.id, ())) for model in models)])


def _row(model: ModelSpec | UnavailableModel, roles: Collection[str]) -> tuple[str, ...]:
    shown_roles = ", ".join(sorted(roles)) or people.NOTHING
    source = model.source.kind.value
    if isinstance(model, UnavailableModel):
        return (
            model.id,
            people.NOTHING,
            people.NOTHING,
            people.NOTHING,
            f"unavailable: {model.reason}",
            shown_roles,
            source,
        )
    return (
        model.id,
        people.size(model.weights_bytes or None),
        model.quantization or people.NOTHING,
        people.count(model.context_length),
        ", ".join(sorted(model.capabilities)) or people.NOTHING,
        shown_roles,
        source,
    )


def details(spec: ModelSpec, roles: Collection[str]) -> list[str]:
    """Everything worth knowing of one model."""
    active = spec.parameters_active
    dense = active is None or active == spec.parameters_total
    parameters = people.parameters(spec.parameters_total) + ("" if dense else f", {people.parameters(active)} active")
    bits = f" ({spec.bits_per_weight:.2f} bits a weight)" if spec.bits_per_weight else ""
    rows = [
        ("id", spec.id),
        ("name", spec.name),
        ("roles", ", ".join(sorted(roles)) or "none"),
        ("fingerprint", spec.short_fingerprint or "none: declared, its weights are not known here"),
        ("architecture", spec.architecture),
        ("parameters", parameters),
        ("quantization", f"{spec.quantization or people.NOTHING}{bits}"),
        ("weights", people.size(spec.weights_bytes or None)),
        ("context", f"{people.count(spec.context_length)} tokens"),
        ("can", ", ".join(sorted(spec.capabilities)) or people.NOTHING),
        ("template", _template(spec)),
        ("source", _source(spec)),
        ("path", str(spec.path) if spec.path else None),
        ("projector", str(spec.projector) if spec.projector else None),
        ("adapter", f"{spec.adapter} on {spec.base_id}" if spec.adapter else None),
    ]
    lines = [f"{label:<13} {value}" for label, value in rows if value]
    return [*lines, *_files(spec), *(f"warning: {warning}" for warning in spec.warnings)]


def _template(spec: ModelSpec) -> str:
    if spec.chat_template_sha256 is None:
        return "none"
    markers = ", ".join([*spec.tool_markers, *spec.reasoning_markers])
    return f"sha256 {spec.chat_template_sha256[:12]}" + (f", markers {markers}" if markers else "")


def _source(spec: ModelSpec) -> str:
    revision = f" at {spec.source.revision[:12]}" if spec.source.revision else ""
    return f"{spec.source.kind.value} {spec.source.location}{revision}"


def _files(spec: ModelSpec) -> list[str]:
    rows = [
        (file.role.value, people.size(file.size_bytes), _digest(file.sha256), file.path.name) for file in spec.files
    ]
    return people.indented("files", people.columns(rows), 13)


def _digest(sha256: str | None) -> str:
    return f"sha256 {sha256[:12]}" if sha256 else "not hashed"


def removal_lines(removal: Removal, *, dry_run: bool) -> list[str]:
    """What was freed, or would be, and which files belong to others."""
    verb = "would remove" if dry_run else "removed"
    deleted = [f"  deleted  {path}" for path in removal.deleted]
    kept = [f"  kept     {path}" for path in removal.kept]
    return [f"{verb} {removal.model_id}, {people.size(removal.freed_bytes)} freed", *deleted, *kept]


def verdict_lines(report: VerifyReport) -> list[str]:
    """One line a file: matches, differs (with what was expected), or recorded just now."""
    rows = [(file.outcome, f"sha256 {file.sha256[:12]}", file.path.name, _expected(file)) for file in report.files]
    verdict = "every byte is as recorded" if report.ok else "it is not what was recorded: fetch or add it again"
    return [*people.columns(rows), f"{report.model_id}: {verdict}"]


def _expected(file: FileVerdict) -> str:
    return f"expected {file.expected[:12]}" if file.outcome == "differs" and file.expected else ""
