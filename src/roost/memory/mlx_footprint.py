"""An MLX server's terms by formula: what the lazily built model says when it can be asked, and the check upon it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from roost.catalog.spec import ModelSpec
from roost.memory.cache_form import AFFINE_BITS, AFFINE_GROUP, ELEMENT_BYTES, CacheForm, affine_bytes, whole
from roost.memory.cells import mlx_cells
from roost.memory.config_form import config_form
from roost.memory.footprint import Footprint, Term, TermName, TermSource, Where, gpu_context, in_order, mib
from roost.memory.keys import HeaderKeys
from roost.memory.types import LoadShape, Placement, Unknown
from roost.memory.widths import widths_of

#: Imports of each engine's server, measured on Linux; vllm-mlx brings torch.
BASE_BYTES: Mapping[str, int] = {"mlx-lm": 76 * 2**20, "vllm-mlx": 582 * 2**20}
#: The tokenizer's tables for each entry of the vocabulary, at their peak while it is read.
BASE_BYTES_PER_TOKEN = Fraction(175 * 1024, 100)
#: Head sizes for which Metal computes attention without a matrix of scores.
FUSED_HEAD_SIZES = frozenset({64, 80, 128})


def mlx_footprint(spec: ModelSpec, shape: LoadShape) -> Footprint | Unknown:
    """At the whole window in every sequence: batches are rectangular, so each may be as long as the longest."""
    form = config_form(spec)
    if isinstance(form, Unknown):
        return form
    dtype = dtype_of(spec)
    element = kv_bytes_of(shape, dtype)
    longest = max((group.key_elements + group.value_elements for group in form.groups), default=0)
    terms = [
        _weights(spec, shape),
        *_cache(form, shape, dtype),
        *compute_terms(spec, shape, dtype, whole(longest * element)),
        *unseen_terms(spec, shape),
    ]
    return Footprint(in_order(terms), form.token_bytes(element) * shape.sequences, form.family)


def place_of(shape: LoadShape) -> Where:
    """MLX holds everything but its process on one device."""
    return Where.GPU if shape.placement is Placement.GPU else Where.HOST


def dtype_of(spec: ModelSpec) -> str:
    """Element type of the activations: of the unquantized tensors, else as config.json says."""
    keys = HeaderKeys.of_config(spec.metadata)
    declared = keys.text("dtype") or keys.text("torch_dtype")
    short = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    return spec.weights.dtype or short.get(declared or "", "f32")


def kv_bytes_of(shape: LoadShape, dtype: str) -> Fraction:
    """Bytes of one element of the KV cache: in the type of the activations, or quantized."""
    bits = AFFINE_BITS.get(shape.kv_type or "")
    return affine_bytes(bits, AFFINE_GROUP, dtype) if bits else ELEMENT_BYTES[dtype]


def unseen_terms(spec: ModelSpec, shape: LoadShape) -> list[Term]:
    """What the model itself does not show: caps and the process."""
    vocabulary, where = widths_of(spec).vocabulary, place_of(shape)
    context = [gpu_context()] if shape.placement is Placement.GPU else []
    base = BASE_BYTES.get(shape.engine, max(BASE_BYTES.values())) + whole(vocabulary * BASE_BYTES_PER_TOKEN)
    return [
        Term(TermName.PROMPT_CACHE, shape.cache_bytes, TermSource.SETTING, "its cap, set at the start", where),
        Term(TermName.REUSE, shape.reuse_bytes, TermSource.SETTING, "their cap, set at the start", where),
        Term(TermName.BASE, base, TermSource.CALIBRATED, f"imports and the tables of {vocabulary:,} tokens"),
        *context,
    ]


def _weights(spec: ModelSpec, shape: LoadShape) -> Term:
    """Towers for images and heads for several tokens are dropped by text engines."""
    left_out = min(spec.weights.tower_bytes + spec.weights.unloaded_bytes, spec.weights_bytes)
    basis = "tensors of the files" + (f" without {mib(left_out)} that it does not load" if left_out else "")
    return Term(TermName.WEIGHTS, spec.weights_bytes - left_out, TermSource.HEADER, basis, place_of(shape))


def _cache(form: CacheForm, shape: LoadShape, dtype: str) -> list[Term]:
    element, plain = kv_bytes_of(shape, dtype), ELEMENT_BYTES[dtype]
    kv = form.kv_bytes(element, lambda window: mlx_cells(shape.context, window, shape.step)) * shape.sequences
    state = form.state_bytes(plain, Fraction(4) if form.state and form.state.is_float32 else plain)
    cells = f"{mlx_cells(shape.context):,} cells × {shape.sequences} sequences"
    window = " and its windows" if form.has_windows else ""
    basis = f"{form.token_bytes(element):,} bytes a token × {cells}{window}, {shape.kv_type or dtype}"
    basis_of_state = f"{state:,} bytes × {shape.sequences} sequences"
    return [
        Term(TermName.KV, kv, TermSource.FORMULA, basis, place_of(shape)),
        Term(TermName.STATE, state * shape.sequences, TermSource.FORMULA, basis_of_state, place_of(shape)),
    ]


def compute_terms(spec: ModelSpec, shape: LoadShape, dtype: str, cell_bytes: int) -> list[Term]:
    """One step of a prompt in every sequence: its widest layer, the scores where attention is not fused, and a layer's
    cache (`cell_bytes` a token) old and new while it grows. Logits are of one token a sequence: the engines evaluate
    the caches alone before the last one, and what nobody evaluates takes nothing."""
    widths, element = widths_of(spec), ELEMENT_BYTES[dtype]
    step = min(shape.step, shape.context)
    rows = step * shape.sequences
    layer = rows * widths.activations() * element
    logits = shape.sequences * widths.vocabulary * (element + 4)
    fused = shape.fused_attention and widths.head in FUSED_HEAD_SIZES
    scores = 0 if fused else rows * shape.context * widths.heads * element
    growth = cell_bytes * mlx_cells(shape.context) * shape.sequences
    basis = f"{step:,} tokens a step in {shape.sequences} sequences" + ("" if fused else ", with scores")
    size = whole(max(layer, logits) + scores + growth)
    return [
        Term(TermName.COMPUTE, size, TermSource.FORMULA, basis, place_of(shape)),
        Term(
            TermName.LOADING,
            spec.weights.largest_stack_bytes,
            TermSource.HEADER,
            "the experts of one layer twice, while they are stacked",
            place_of(shape),
        ),
    ]
