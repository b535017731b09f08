"""A footprint in which the engine's own account takes the place of the formulas."""

from __future__ import annotations

from dataclasses import replace

from roost.catalog.spec import ModelSpec
from roost.memory.cache_form import CacheForm
from roost.memory.cells import llama_cells, mlx_cells, streams
from roost.memory.config_form import config_form
from roost.memory.footprint import Footprint, Term, TermName, TermSource, Where, in_order
from roost.memory.gguf_form import gguf_form
from roost.memory.llama_footprint import checkpoint_bytes, token_bytes, unseen_terms
from roost.memory.mlx_footprint import compute_terms, kv_bytes_of, place_of
from roost.memory.mlx_footprint import unseen_terms as mlx_unseen_terms
from roost.memory.types import CacheKind, DryRun, LlamaDryRun, LoadShape, MlxDryRun, Part, Placement

_TOLD = "as the engine itself says"
#: Of a cache whose form only the engine knows.
_OWN_FAMILY = "as only the engine knows"


def dry_footprint(spec: ModelSpec, shape: LoadShape, told: DryRun) -> Footprint:
    """What the engine says, and by formula what its account leaves out."""
    if isinstance(told, MlxDryRun):
        return _mlx(spec, shape, told)
    return _llama(spec, shape, told)


def _llama(spec: ModelSpec, shape: LoadShape, told: LlamaDryRun) -> Footprint:
    form = gguf_form(spec)
    context = sum(part.context_bytes for part in told.parts)
    if isinstance(form, CacheForm):
        checkpoint, each, family = checkpoint_bytes(form, shape), token_bytes(form, shape), form.family
    else:
        checkpoint = told.state_bytes // max(shape.sequences, 1)
        each, family = (
            max(context - told.state_bytes, 0) // (llama_cells(shape) * streams(shape)) * streams(shape),
            _OWN_FAMILY,
        )
    terms = [
        *_llama_weights(spec, shape, told.parts),
        *_llama_cache(told, context),
        *_by_place(TermName.COMPUTE, told.parts, "compute_bytes"),
        *_draft(told.draft),
        *unseen_terms(spec, shape, checkpoint),
    ]
    return Footprint(in_order(terms), each, family, is_dry_run=True)


def _llama_weights(spec: ModelSpec, shape: LoadShape, parts: tuple[Part, ...]) -> list[Term]:
    """The host maps its file whole, whatever is kept a second time elsewhere in it."""
    if shape.placement is not Placement.GPU:
        mapped = [Term(TermName.WEIGHTS, spec.weights_bytes, TermSource.HEADER, "tensors of the files")]
    else:
        held = [part for part in parts if not part.is_repacked]
        mapped = _by_place(TermName.WEIGHTS, tuple(held), "model_bytes")
    copied = sum(part.model_bytes for part in parts if part.is_repacked)
    return [*mapped, Term(TermName.REPACKED, copied, TermSource.DRY_RUN, _TOLD)]


def _llama_cache(told: LlamaDryRun, context: int) -> list[Term]:
    """State and KV lie together; where they are split over devices, both in the same proportion."""
    terms = _by_place(TermName.KV, told.parts, "context_bytes")
    if not told.state_bytes or not context:
        return terms
    share = min(told.state_bytes / context, 1.0)
    states = [replace(term, name=TermName.STATE, size_bytes=round(term.size_bytes * share)) for term in terms]
    caches = [
        replace(term, size_bytes=term.size_bytes - state.size_bytes) for term, state in zip(terms, states, strict=True)
    ]
    return [*caches, *states]


def _by_place(name: TermName, parts: tuple[Part, ...], field: str) -> list[Term]:
    return [
        Term(
            name,
            sum(getattr(part, field) for part in parts if part.is_gpu is (where is Where.GPU)),
            TermSource.DRY_RUN,
            _TOLD,
            where,
        )
        for where in Where
    ]


def _draft(parts: tuple[Part, ...]) -> list[Term]:
    return [
        Term(
            TermName.DRAFT,
            sum(
                part.model_bytes + part.context_bytes + part.compute_bytes
                for part in parts
                if part.is_gpu is (where is Where.GPU)
            ),
            TermSource.DRY_RUN,
            _TOLD,
            where,
        )
        for where in Where
    ]


def _mlx(spec: ModelSpec, shape: LoadShape, told: MlxDryRun) -> Footprint:
    """The cache of one sequence at the whole window, times the sequences; quantized if it will be."""
    quantized = kv_bytes_of(shape, told.dtype) / kv_bytes_of(replace(shape, kv_type=None), told.dtype)
    kv = sum(kind.count * kind.cell_bytes * _cells(kind, shape) for kind in told.caches)
    state = sum(kind.count * kind.fixed_bytes for kind in told.caches)
    growing = sum(kind.count * kind.cell_bytes for kind in told.caches if kind.window is None)
    longest = max((kind.cell_bytes for kind in told.caches), default=0)
    where = place_of(shape)
    terms = [
        Term(TermName.WEIGHTS, told.parameter_bytes, TermSource.DRY_RUN, "as the model itself was built", where),
        Term(TermName.KV, int(kv * shape.sequences * quantized), TermSource.DRY_RUN, _TOLD, where),
        Term(TermName.STATE, state * shape.sequences, TermSource.DRY_RUN, _TOLD, where),
        *compute_terms(spec, shape, told.dtype, longest),
        *mlx_unseen_terms(spec, shape),
    ]
    each = int(growing * shape.sequences * quantized)
    form = config_form(spec)
    return Footprint(
        in_order(terms), each, form.family if isinstance(form, CacheForm) else _OWN_FAMILY, is_dry_run=True
    )


def _cells(kind: CacheKind, shape: LoadShape) -> int:
    return mlx_cells(shape.context, kind.window, shape.step)
