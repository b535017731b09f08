"""What a model takes and whether it fits, as text and as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from roost.cli import format as people
from roost.memory.admission import Admit, AdmitAlone, Clamp, Refuse, Verdict
from roost.memory.footprint import Footprint, Where
from roost.memory.plan import MOST_SEQUENCES, Machine, Plan

_LABEL = 13
#: The shortest names of the verdicts, for programs and narrow columns.
FITS, FITS_SMALLER, FITS_NOT, ALONE = "fits", "fits smaller", "does not fit", "alone"


def lines(plan: Plan, machine: Machine) -> Iterator[str]:
    """The whole answer."""
    yield from _labelled("model", [_title(plan)])
    if plan.footprint is not None:
        yield from _labelled("takes", people.columns(_terms(plan.footprint)))
    yield from _labelled("needs", list(_needs(plan)))
    yield from _labelled("can be had", people.columns([_budget(name, machine) for name in machine.day]))
    yield from _labelled("verdict", list(_verdict(plan.verdict)))
    yield from _labelled("would fit", list(_largest(plan)))
    yield from _labelled("tier", [f"{plan.standing.tier.value}: {plan.standing.reason}".rstrip(": ")])
    if plan.rate is not None:
        yield from _labelled("decodes", [f"at most {plan.rate.tokens_per_s:,.0f} tokens/s: {plan.rate.basis}"])
    for gpu in machine.unreadable:
        yield from _labelled("not used", [gpu])


def _labelled(label: str, texts: list[str]) -> list[str]:
    return people.indented(label, texts, _LABEL)


def _title(plan: Plan) -> str:
    shape = plan.shape
    if shape is None:
        return f"{plan.question.spec.id} with {plan.question.engine}"
    at_once = f"{shape.sequences} at once" + (" in one window" if shape.unified and shape.sequences > 1 else "")
    return f"{plan.question.spec.id} with {plan.question.engine}, {shape.context:,} tokens, {at_once}"


def _terms(footprint: Footprint) -> list[tuple[str, ...]]:
    rows = [
        (people.gib(term.size_bytes), term.name.value, _place(term.where), term.source.value, term.basis)
        for term in footprint.terms
    ]
    total = (people.gib(footprint.total_bytes), "together", "", "", _per_token(footprint))
    return [*rows, total] if any(row[2] for row in rows) else [_without_place(row) for row in (*rows, total)]


def _without_place(row: tuple[str, ...]) -> tuple[str, ...]:
    return (*row[:2], *row[3:])


def _place(where: Where) -> str:
    return "on the GPU" if where is Where.GPU else ""


def _per_token(footprint: Footprint) -> str:
    each = footprint.kv_bytes_per_token
    return f"{footprint.family}; one more token of context: {each / 1024:,.1f} KiB" if each else footprint.family


def _needs(plan: Plan) -> Iterator[str]:
    need = plan.need
    if need is None:
        yield "size unknown"
        return
    margin = need.host.margin_bytes + need.gpu.margin_bytes
    with_margin = f", of it {people.gib(margin)} margin" if margin else ""
    yield f"{people.gib(need.total_bytes)}{with_margin}, by {need.basis.value}"
    if need.gpu.total_bytes:
        yield f"{people.gib(need.host.total_bytes)} of the host, {people.gib(need.gpu.total_bytes)} on GPUs"
    if plan.question.not_asked:
        yield f"the engine was asked and did not tell: {plan.question.not_asked}"


def _budget(device: str, machine: Machine) -> tuple[str, ...]:
    day, night = machine.day[device], machine.night[device]
    at_night = f"at night {people.gib(night.most_bytes)}" if night.most_bytes != day.most_bytes else ""
    return (
        people.gib(day.free_bytes),
        device,
        f"of at most {people.gib(day.most_bytes)}",
        f"bound by {day.binding}",
        at_night,
    )


def _verdict(verdict: Verdict) -> Iterator[str]:
    match verdict:
        case Admit(devices=devices):
            gpus = f" on {', '.join(devices.gpus)}" if devices.gpus else ""
            yield f"{FITS}{gpus}"
        case AdmitAlone(reason=reason):
            yield f"{reason}: it gets the machine for itself"
        case Clamp(shape=shape):
            without = ", no cached prompts" if shape.cache_bytes == 0 else ""
            yield f"{FITS_SMALLER}: a context of {shape.context:,}, {shape.sequences} at once{without}"
        case Refuse(reason=reason):
            yield f"{FITS_NOT}: {reason}"


def _largest(plan: Plan) -> Iterator[str]:
    if plan.largest is None or plan.shape is None:
        return
    context, sequences = plan.largest.context, plan.largest.sequences
    yield f"a context of {context:,} with {plan.shape.sequences} at once" if context else "no context at all"
    if sequences:
        more = " or more" if sequences >= MOST_SEQUENCES else ""
        yield f"{sequences}{more} at once with a context of {plan.shape.context:,}"


def word(verdict: Verdict) -> str:
    """One of four."""
    return {Admit: FITS, AdmitAlone: ALONE, Clamp: FITS_SMALLER, Refuse: FITS_NOT}[type(verdict)]


def values(plan: Plan, machine: Machine) -> dict[str, Any]:
    """The answer for programs; sizes are bytes."""
    shape, footprint, need = plan.shape, plan.footprint, plan.need
    return {
        "model": plan.question.spec.id,
        "engine": plan.question.engine,
        "context": shape.context if shape else None,
        "concurrency": shape.sequences if shape else None,
        "attention": footprint.family if footprint else None,
        "terms": [asdict(term) for term in footprint.terms] if footprint else [],
        "total_bytes": footprint.total_bytes if footprint else None,
        "kv_bytes_per_token": footprint.kv_bytes_per_token if footprint else None,
        "need": None if need is None else _need_values(need),
        "dry_run_failed": plan.question.not_asked,
        "budgets": [
            {
                "device": device,
                "free_bytes": budget.free_bytes,
                "most_bytes": budget.most_bytes,
                "night_bytes": machine.night[device].most_bytes,
                "binding": budget.binding,
            }
            for device, budget in machine.day.items()
        ],
        "verdict": _verdict_values(plan.verdict),
        "largest": asdict(plan.largest) if plan.largest else None,
        "tier": plan.standing.tier.value,
        "tier_reason": plan.standing.reason,
        "decode": asdict(plan.rate) if plan.rate else None,
    }


def _need_values(need: Any) -> dict[str, Any]:
    return {
        "basis": need.basis.value,
        "total_bytes": need.total_bytes,
        "margin_bytes": need.host.margin_bytes + need.gpu.margin_bytes,
        "host_bytes": need.host.total_bytes,
        "gpu_bytes": need.gpu.total_bytes,
    }


def _verdict_values(verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {"verdict": word(verdict), "reason": None, "permanent": None, "devices": {}}
    match verdict:
        case Admit(devices=devices):
            told["devices"] = dict(devices.bytes_by_device)
        case AdmitAlone(reason=reason):
            told["reason"] = reason
        case Clamp(shape=shape, devices=devices):
            told |= {"devices": dict(devices.bytes_by_device), "context": shape.context, "concurrency": shape.sequences}
        case Refuse(reason=reason, permanent=permanent):
            told |= {"reason": reason, "permanent": permanent}
    return told
