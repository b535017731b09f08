"""A llama.cpp server's terms by formula: what its dry run says when it can be asked, and the check upon it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from roost.catalog.spec import FileRole, ModelSpec
from roost.memory.cache_form import ELEMENT_BYTES, CacheForm, whole
from roost.memory.cells import llama_cells, sequence_cells, streams
from roost.memory.footprint import Footprint, Term, TermName, TermSource, Where, gpu_context, in_order, mib
from roost.memory.gguf_form import gguf_form
from roost.memory.types import LoadShape, Placement, Unknown
from roost.memory.widths import widths_of

#: Python, the embedded server and its threads; the vocabulary's tables for each entry. Measured over 18 starts of two
#: models; a native server takes less.
BASE_BYTES = int(32.8 * 2**20)
BASE_BYTES_PER_TOKEN = Fraction(42 * 1024, 100)
#: The image encoder computes beside its weights; nothing tells how much before the first image.
ENCODER_RESERVE = (256 * 2**20, Fraction(1, 2))
#: Recurrent state is float32 whatever the KV cache is.
_STATE_BYTES = Fraction(4)


@dataclass(frozen=True)
class Load:
    """One start: what is loaded, how, and which tensor types this CPU keeps a second time."""

    spec: ModelSpec
    shape: LoadShape
    form: CacheForm
    repacked_types: frozenset[str]

    @property
    def gpu_share(self) -> Fraction:
        """Of the layers; the engine counts the output as one more."""
        if self.shape.placement is not Placement.GPU:
            return Fraction(0)
        layers = (self.spec.attention.layers or 1) + 1
        return Fraction(min(layers, layers if self.shape.gpu_layers is None else self.shape.gpu_layers), layers)


def llama_footprint(spec: ModelSpec, shape: LoadShape, repacked_types: frozenset[str]) -> Footprint | Unknown:
    """`repacked_types`: as `repack.repacked_types` says of this machine's CPU."""
    form = gguf_form(spec)
    if isinstance(form, Unknown):
        return form
    load = Load(spec, shape, form, repacked_types)
    draft: Iterable[Term] = ()
    if shape.draft is not None:
        alone = llama_footprint(shape.draft, _draft_shape(shape), repacked_types)
        if isinstance(alone, Unknown):
            return Unknown(alone.kind, f"of its draft model: {alone.reason}")
        draft = draft_terms(alone)
    computed = [*_weights(load), *_cache(load), *_compute(load), *draft]
    unseen = unseen_terms(spec, shape, checkpoint_bytes(form, shape))
    return Footprint(in_order([*computed, *unseen]), token_bytes(form, shape), form.family)


def token_bytes(form: CacheForm, shape: LoadShape) -> int:
    """What one more token of context costs in all streams."""
    return form.token_bytes(_kv_element(shape)) * streams(shape)


def unseen_terms(spec: ModelSpec, shape: LoadShape, checkpoint: int) -> list[Term]:
    """What the engine's own account leaves out: caps, image encoder, grown outputs and the process. `checkpoint`:
    bytes of one saved state."""
    context = [gpu_context()] if shape.placement is Placement.GPU else []
    return [*_outputs(spec, shape), *_caps(shape, checkpoint), *_projector(spec, shape), _base(spec), *context]


def checkpoint_bytes(form: CacheForm, shape: LoadShape) -> int:
    """One saved state of one sequence: its windows and its recurrent state; nothing where the cache can be cut."""
    if form.can_be_cut:
        return 0
    windows = replace(form, groups=tuple(group for group in form.groups if group.window is not None))
    kv = windows.kv_bytes(_kv_element(shape), lambda window: sequence_cells(shape, window or 0))
    return kv + form.state_bytes(_STATE_BYTES, _STATE_BYTES)


def _weights(load: Load) -> list[Term]:
    """On a GPU the token embeddings stay with the host; tied, the GPU has its own copy for the output."""
    spec, share = load.spec, load.gpu_share
    embedding = min(spec.weights.embedding_bytes, spec.weights_bytes)
    layers = spec.weights_bytes - (0 if spec.weights.tied else embedding)
    on_gpu = whole(layers * share)
    on_host = spec.weights_bytes - (on_gpu if share < 1 else spec.weights_bytes - embedding)
    source = TermSource.HEADER if share in (0, 1) else TermSource.FORMULA
    return [
        Term(
            TermName.WEIGHTS, on_host, source, "tensors of the files" if not share else "token embeddings", Where.HOST
        ),
        Term(TermName.WEIGHTS, on_gpu, source, "tensors of the layers and the output", Where.GPU),
        *_repacked(load),
    ]


def _repacked(load: Load) -> list[Term]:
    if load.shape.keeps_order or load.gpu_share == 1:
        return []
    sizes = {name: size for name, size in load.spec.weights.matrices_bytes.items() if name in load.repacked_types}
    size = whole(sum(sizes.values()) * (1 - load.gpu_share))
    basis = f"{', '.join(sorted(sizes))} matrices once more, in this CPU's order"
    return [Term(TermName.REPACKED, size, TermSource.FORMULA, basis)]


def _cache(load: Load) -> list[Term]:
    shape, form = load.shape, load.form
    element = _kv_element(shape)
    kv = form.kv_bytes(element, lambda window: llama_cells(shape, window)) * streams(shape)
    state = form.state_bytes(_STATE_BYTES, _STATE_BYTES) * shape.sequences
    cells = f"{llama_cells(shape):,} cells" + (f" × {streams(shape)}" if streams(shape) > 1 else "")
    window = " and its windows" if form.has_windows else ""
    return [
        *_placed(
            load,
            TermName.KV,
            kv,
            f"{form.token_bytes(element):,} bytes a token × {cells}{window}, {shape.kv_type or 'f16'}",
        ),
        *_placed(
            load, TermName.STATE, state, f"{state // max(shape.sequences, 1):,} bytes × {shape.sequences} sequences"
        ),
    ]


def _compute(load: Load) -> list[Term]:
    """The mask of a step over all cells, and the widest of what one step computes: a layer or the output."""
    widths, step = widths_of(load.spec), min(load.shape.step, load.shape.context)
    cells = llama_cells(load.shape)
    mask = step * cells * 2
    rows = min(load.shape.output_rows, step)
    widest = max(step * widths.activations() * 4, rows * widths.vocabulary * 4 + step * widths.embedding * 6 * 4)
    scores = 0 if load.shape.fused_attention else step * cells * widths.heads * 4
    basis = f"{step:,} tokens a step over {cells:,} cells, {rows:,} rows of logits"
    return _placed(load, TermName.COMPUTE, mask + widest + scores, basis)


def _outputs(spec: ModelSpec, shape: LoadShape) -> list[Term]:
    """Logits of every sequence; all rows of a step, with their embeddings, once somebody asks for embeddings."""
    widths = widths_of(spec)
    rows = max(shape.sequences, min(shape.output_rows, shape.step))
    width = widths.vocabulary + (widths.embedding if shape.output_rows > shape.sequences else 0)
    return [Term(TermName.OUTPUTS, rows * width * 4, TermSource.FORMULA, f"{rows:,} rows of {width:,} numbers")]


def _caps(shape: LoadShape, checkpoint: int) -> list[Term]:
    basis = f"at most {shape.checkpoints} × {shape.sequences} sequences × {mib(checkpoint)}"
    saved = checkpoint * shape.checkpoints * shape.sequences
    return [
        Term(TermName.PROMPT_CACHE, shape.cache_bytes, TermSource.SETTING, "its cap, set at the start"),
        Term(TermName.CHECKPOINTS, saved, TermSource.SETTING, basis),
    ]


def _projector(spec: ModelSpec, shape: LoadShape) -> list[Term]:
    size = sum(file.size_bytes for file in spec.files if file.role is FileRole.PROJECTOR)
    if not size:
        return []
    least, part = ENCODER_RESERVE
    where = Where.GPU if shape.placement is Placement.GPU else Where.HOST
    scratch = max(least, whole(size * part))
    return [
        Term(TermName.PROJECTOR, size, TermSource.HEADER, "the projector's file", where),
        Term(TermName.PROJECTOR, scratch, TermSource.RESERVE, "scratch of an image, until one was measured", where),
    ]


def _base(spec: ModelSpec) -> Term:
    vocabulary = widths_of(spec).vocabulary
    size = BASE_BYTES + whole(vocabulary * BASE_BYTES_PER_TOKEN)
    return Term(TermName.BASE, size, TermSource.CALIBRATED, f"the server and the tables of {vocabulary:,} tokens")


def draft_terms(alone: Footprint) -> list[Term]:
    """A draft model's own footprint as terms of the model that it serves."""
    shared = (TermName.PROMPT_CACHE, TermName.CHECKPOINTS, TermName.BASE)
    counted = [term for term in alone.terms if term.name not in shared]
    basis = "its weights, a KV cache of the same window, its buffers"
    return [
        Term(
            TermName.DRAFT,
            sum(term.size_bytes for term in counted if term.where is where),
            TermSource.FORMULA,
            basis,
            where,
        )
        for where in Where
    ]


def _draft_shape(shape: LoadShape) -> LoadShape:
    return replace(shape, draft=None, cache_bytes=0, checkpoints=0, output_rows=shape.sequences)


def _placed(load: Load, name: TermName, size: int, basis: str) -> list[Term]:
    """Split over host and GPU as the layers are."""
    on_gpu = whole(size * load.gpu_share)
    return [
        Term(name, size - on_gpu, TermSource.FORMULA, basis, Where.HOST),
        Term(name, on_gpu, TermSource.FORMULA, basis, Where.GPU),
    ]


def _kv_element(shape: LoadShape) -> Fraction:
    return ELEMENT_BYTES[shape.kv_type or "f16"]
