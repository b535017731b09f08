"""The form of a cache from a GGUF header, as llama.cpp derives it."""

from __future__ import annotations

from roost.catalog.spec import ModelSpec
from roost.memory.cache_form import CacheForm, RecurrentState, grouped
from roost.memory.gguf_families import FAMILIES, Family, Form
from roost.memory.keys import HeaderKeys
from roost.memory.types import Ignorance, Unknown


class _Missing(Exception):
    """A key without which the cache's size cannot be told."""


def gguf_form(spec: ModelSpec) -> CacheForm | Unknown:
    """What llama.cpp will keep for each token and sequence, or why the header does not tell."""
    architecture = spec.architecture or ""
    family = FAMILIES.get(architecture)
    if family is None:
        return Unknown(Ignorance.ARCHITECTURE, f"roost does not know the cache of the architecture {architecture!r}")
    if family.form is Form.OWN:
        return Unknown(Ignorance.ASK_ENGINE, f"{architecture} has a cache of its own form; only its engine knows it")
    if family.form is Form.NONE:
        return CacheForm(family.form.value)
    keys = HeaderKeys.of_gguf(spec.metadata, architecture)
    try:
        return _READERS[family.form](keys, family)
    except _Missing as missing:
        return Unknown(
            Ignorance.ASK_ENGINE, f"the header of this {architecture} model holds no usable {architecture}.{missing}"
        )


def _plain(keys: HeaderKeys, family: Family) -> CacheForm:
    layers = _layers(keys)
    key, value = _lengths(keys)
    heads = _kv_heads(keys, layers)
    return CacheForm(family.form.value, grouped((count * key, count * value, None) for count in heads))


def _windowed(keys: HeaderKeys, family: Family) -> CacheForm:
    layers = _layers(keys)
    window = _window(keys, family, layers)
    if window is None:
        return _plain(keys, family)
    key, value = _lengths(keys)
    short_key = keys.positive("attention.key_length_swa") or key
    short_value = keys.positive("attention.value_length_swa") or value
    heads, looks_back = _kv_heads(keys, layers), _pattern(keys, family, layers)
    own = _own_cache_layers(keys, family, layers)
    return CacheForm(
        family.form.value,
        grouped(
            (heads[layer] * short_key, heads[layer] * short_value, window)
            if looks_back[layer]
            else (heads[layer] * key, heads[layer] * value, None)
            for layer in range(own)
        ),
    )


def _window(keys: HeaderKeys, family: Family, layers: int) -> int | None:
    if family.only_with_layers not in (None, layers):
        return None
    named = keys.number("attention.sliding_window")
    return family.window if named is None else named or None


def _pattern(keys: HeaderKeys, family: Family, layers: int) -> tuple[bool, ...]:
    """Which layers look back at the window only."""
    if flags := keys.flags("attention.sliding_window_pattern", layers):
        return flags
    period = keys.number("attention.sliding_window_pattern")
    period = family.period if period is None else period
    if not period:
        raise _Missing("attention.sliding_window_pattern")
    full = 0 if family.full_first else period - 1
    return tuple(layer % period != full for layer in range(layers))


def _own_cache_layers(keys: HeaderKeys, family: Family, layers: int) -> int:
    """The last layers of Gemma 3n and 4 read the cache of earlier ones."""
    if family.own_cache_layers is not None:
        return min(family.own_cache_layers, layers)
    return max(layers - (keys.number("attention.shared_kv_layers") or 0), 0)


def _latent(keys: HeaderKeys, family: Family) -> CacheForm:
    """With both `_mla` lengths llama.cpp keeps the compressed vector alone; files without them unpack all heads."""
    if not (keys.positive("attention.key_length_mla") and keys.positive("attention.value_length_mla")):
        return _plain(keys, family)
    layers = _layers(keys)
    heads, (key, _) = _kv_heads(keys, layers), _lengths(keys)
    index = _need(keys, "attention.indexer.key_length") if family.form is Form.INDEXED else 0
    return CacheForm(family.form.value, grouped((count * key + index, 0, None) for count in heads))


def _interval(keys: HeaderKeys, family: Family) -> CacheForm:
    layers = _layers(keys)
    recurrent = keys.flags("attention.recurrent_layers", layers)
    if recurrent is None:
        interval = keys.positive("full_attention_interval") or family.period
        recurrent = tuple((layer + 1) % interval != 0 for layer in range(layers))
    return _hybrid(keys, family, recurrent, recurrent)


def _by_heads(keys: HeaderKeys, family: Family) -> CacheForm:
    """No KV heads: recurrent, unless the layer is a feed-forward part alone."""
    layers = _layers(keys)
    heads = _kv_heads(keys, layers)
    widths = (0,) * layers
    if family.lone_feed_forward:
        widths = keys.each("feed_forward_length", layers) or widths
    recurrent = tuple(not count and not width for count, width in zip(heads, widths, strict=True))
    return _hybrid(keys, family, recurrent, tuple(count == 0 for count in heads))


def _hybrid(keys: HeaderKeys, family: Family, recurrent: tuple[bool, ...], cacheless: tuple[bool, ...]) -> CacheForm:
    key, value = _lengths(keys)
    heads = _kv_heads(keys, len(recurrent))
    groups = grouped(
        (0, 0, None) if skipped else (count * key, count * value, None)
        for count, skipped in zip(heads, cacheless, strict=True)
    )
    return CacheForm(family.form.value, groups, _state(keys, sum(recurrent)))


def _state(keys: HeaderKeys, layers: int) -> RecurrentState | None:
    if not layers:
        return None
    inner, width = _need(keys, "ssm.inner_size"), _need(keys, "ssm.state_size")
    kernel = _need(keys, "ssm.conv_kernel")
    channels = inner + 2 * (keys.number("ssm.group_count") or 0) * width
    return RecurrentState(layers, (kernel - 1) * channels, width * inner)


def _layers(keys: HeaderKeys) -> int:
    """Layers that the text passes; heads that predict several tokens at once keep no cache unless they are used."""
    layers = keys.layers("block_count")
    if layers is None:
        raise _Missing("block_count")
    ahead = keys.number("nextn_predict_layers") or 0
    return layers - ahead if ahead < layers else layers


def _lengths(keys: HeaderKeys) -> tuple[int, int]:
    """Elements of one head's key and value."""
    key, value = keys.positive("attention.key_length"), keys.positive("attention.value_length")
    if key and value:
        return key, value
    heads = keys.each("attention.head_count", 1)
    if not heads or not heads[0]:
        raise _Missing("attention.head_count")
    width = _need(keys, "embedding_length") // heads[0]
    return key or width, value or width


def _kv_heads(keys: HeaderKeys, layers: int) -> tuple[int, ...]:
    heads = keys.each("attention.head_count_kv", layers)
    if heads is None and not keys.has("attention.head_count_kv"):
        heads = keys.each("attention.head_count", layers)
    if heads is None:
        raise _Missing("attention.head_count_kv")
    return heads


def _need(keys: HeaderKeys, key: str) -> int:
    value = keys.positive(key)
    if value is None:
        raise _Missing(key)
    return value


_READERS = {
    Form.PLAIN: _plain,
    Form.WINDOWED: _windowed,
    Form.LATENT: _latent,
    Form.INDEXED: _latent,
    Form.INTERVAL: _interval,
    Form.HEADS: _by_heads,
}
