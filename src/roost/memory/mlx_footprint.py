"""An MLX server's terms by formula: what the lazily built model says when it can be asked, and the check upon it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from roost.catalog.spec import ModelSpec
from roost.memory.cache_form import AFFINE_BITS, AFFINE_GROUP, ELEMENT_BYTES, CacheForm, affine_bytes, whole
from roost.memory.cells import mlx_cells
from roost.memory.config_form import config_form
from roost.memory.footprint import Footprint, Term, TermName, TermSource, Where, in_order, mib
from roost.memory.keys import HeaderKeys
from roost.memory.types import LoadShape, Placement, Unknown
from roost.memory.widths import Widths, widths_of

#: Imports of each engine's server, measured on Linux; vllm-mlx brings torch.
BASE_BYTES: Mapping[str, int] = {"mlx-lm": 76 * 2**20, "vllm-mlx": 582 * 2**20}
#: The tokenizer's tables for each entry of the vocabulary, at their peak while it is read.
BASE_BYTES_PER_TOKEN = Fraction(175 * 1024, 100)
#: Head sizes for which Metal computes attention without a matrix of scores.
FUSED_HEAD_SIZES = frozenset({64, 80, 128})


@dataclass(frozen=True)
class _Load:
    spec: ModelSpec
    shape: LoadShape
    form: CacheForm
    widths: Widths
    #: Activations are computed in it, and so is the KV cache.
    dtype: str

    @property
    def where(self) -> Where:
        return Where.GPU if self.shape.placement is Placement.GPU else Where.HOST


def mlx_footprint(spec: ModelSpec, shape: LoadShape) -> Footprint | Unknown:
    """At the whole window in every sequence: batches are rectangular, so each may be as long as the longest."""
    form = config_form(spec)
    if isinstance(form, Unknown):
        return form
    load = _Load(spec, shape, form, widths_of(spec), dtype_of(spec))
    terms = [_weights(load), *_cache(load), *_compute(load), *unseen_terms(load)]
    return Footprint(in_order(terms), form.token_bytes(_kv_element(load)) * shape.sequences, form.family)


def dtype_of(spec: ModelSpec) -> str:
    """Element type of the activations: of the unquantized tensors, else as config.json says."""
    declared = HeaderKeys.of_config(spec.metadata).text("dtype") or HeaderKeys.of_config(spec.metadata).text(
        "torch_dtype"
    )
    short = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    return spec.weights.dtype or short.get(declared or "", "f32")


def unseen_terms(load: _Load) -> list[Term]:
    """What the model itself does not show: caps and the process."""
    shape = load.shape
    base = BASE_BYTES.get(shape.engine, max(BASE_BYTES.values())) + whole(load.widths.vocabulary * BASE_BYTES_PER_TOKEN)
    basis = f"imports and the tables of {load.widths.vocabulary:,} tokens"
    return [
        Term(TermName.PROMPT_CACHE, shape.cache_bytes, TermSource.SETTING, "its cap, set at the start", load.where),
        Term(TermName.BASE, base, TermSource.CALIBRATED, basis),
    ]


def _weights(load: _Load) -> Term:
    """Towers for images and heads for several tokens are dropped by text engines."""
    weights = load.spec.weights
    left_out = min(weights.tower_bytes + weights.unloaded_bytes, load.spec.weights_bytes)
    basis = "tensors of the files" + (f" without {mib(left_out)} that it does not load" if left_out else "")
    return Term(TermName.WEIGHTS, load.spec.weights_bytes - left_out, TermSource.HEADER, basis, load.where)


def _cache(load: _Load) -> list[Term]:
    shape, form, element = load.shape, load.form, _kv_element(load)
    kv = form.kv_bytes(element, lambda window: mlx_cells(shape.context, window, shape.step)) * shape.sequences
    dtype = ELEMENT_BYTES[load.dtype]
    state = form.state_bytes(dtype, Fraction(4) if form.state and form.state.is_float32 else dtype) * shape.sequences
    cells = f"{mlx_cells(shape.context):,} cells × {shape.sequences} sequences"
    window = " and its windows" if form.has_windows else ""
    basis = f"{form.token_bytes(element):,} bytes a token × {cells}{window}, {shape.kv_type or load.dtype}"
    return [
        Term(TermName.KV, kv, TermSource.FORMULA, basis, load.where),
        Term(TermName.STATE, state, TermSource.FORMULA, f"of {shape.sequences} sequences", load.where),
    ]


def _compute(load: _Load) -> list[Term]:
    """One step of a prompt in every sequence: its widest layer, its logits, the scores where attention is not fused,
    and a layer's cache old and new while it grows."""
    shape, widths, element = load.shape, load.widths, ELEMENT_BYTES[load.dtype]
    step = min(shape.step, shape.context)
    rows = step * shape.sequences
    layer = rows * widths.activations() * element
    logits = rows * widths.vocabulary * element + shape.sequences * widths.vocabulary * 4
    scores = 0 if is_fused(load) else rows * shape.context * widths.heads * element
    longest = max((group.key_elements + group.value_elements for group in load.form.groups), default=0)
    growth = longest * mlx_cells(shape.context) * shape.sequences * _kv_element(load)
    basis = f"{step:,} tokens a step in {shape.sequences} sequences" + ("" if is_fused(load) else ", with scores")
    terms = [Term(TermName.COMPUTE, whole(max(layer, logits) + scores + growth), TermSource.FORMULA, basis, load.where)]
    if stack := load.spec.weights.largest_stack_bytes:
        basis = "the experts of one layer twice, while they are stacked"
        terms.append(Term(TermName.LOADING, stack, TermSource.HEADER, basis, load.where))
    return terms


def is_fused(load: _Load) -> bool:
    """Attention without a matrix of scores: Metal's kernel for usual head sizes; a CPU has none."""
    return load.shape.fused_attention and load.widths.head in FUSED_HEAD_SIZES


def _kv_element(load: _Load) -> Fraction:
    bits = AFFINE_BITS.get(load.shape.kv_type or "")
    return affine_bytes(bits, AFFINE_GROUP, load.dtype) if bits else ELEMENT_BYTES[load.dtype]
