"""The longest token of a vocabulary, in bytes of the text that it stands for.

Prompt bytes divided by it is a lower bound of the prompt's tokens, so it must never come out too small: where a
tokenizer may swallow text (WordPiece's unknown words, Unicode compatibility forms), the answer is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from roost.catalog.gguf import GgufHeader, LongArray

_SPACE = "▁".encode()
#: Composed (NFC) text is at most three times shorter in UTF-8: three Hangul jamo, 9 bytes, become one syllable of 3.
_NFC_SHRINKS = 3
#: token_type of llama.cpp: control and user-defined tokens are stored as the text itself.
_LITERAL_TYPES = (3, 4)


def _gpt2_alphabet() -> frozenset[str]:
    """The 256 characters that stand for bytes in byte-level BPE (GPT-2's bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return frozenset(map(chr, [*printable, *range(0x100, 0x100 + 256 - len(printable))]))


_GPT2_ALPHABET = _gpt2_alphabet()


def byte_level_length(token: str) -> int:
    """Bytes of a byte-level BPE token: one a character; a token outside that alphabet was added as plain text."""
    return len(token) if _GPT2_ALPHABET.issuperset(token) else len(token.encode("utf-8", "surrogatepass"))


def sentencepiece_length(token: str) -> int:
    """Bytes of a SentencePiece token: `▁` is one space, `<0xEF>` one byte."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return 1
    raw = token.encode("utf-8", "surrogatepass")
    return len(raw) - (len(_SPACE) - 1) * raw.count(_SPACE)


def longest_in_gguf(header: GgufHeader) -> int | None:
    """From `tokenizer.ggml.tokens`; None for tokenizers other than byte-level BPE and SentencePiece BPE."""
    tokens = header.strings("tokenizer.ggml.tokens")
    model = header.text("tokenizer.ggml.model")
    if tokens is None or not tokens.count or header.metadata.get("tokenizer.ggml.remove_extra_whitespaces") is True:
        return None
    if model == "gpt2":
        return _longest(header, tokens, byte_level_length)
    if model == "llama":
        return _longest(header, tokens, sentencepiece_length)
    return None


def _token_types(header: GgufHeader, count: int) -> Iterable[int]:
    value = header.metadata.get("tokenizer.ggml.token_type")
    if isinstance(value, LongArray) and value.element_type in (4, 5) and value.count == count:
        return memoryview(header.reader.slice(value.start, value.start + 4 * count)).cast("i")
    if isinstance(value, list) and len(value) == count:
        return [int(item) for item in value]
    return [1] * count


def _longest(header: GgufHeader, tokens: LongArray, measure: Callable[[str], int]) -> int | None:
    longest = 0
    spans = header.reader.spans(tokens.start, tokens.count)
    for (begin, end), kind in zip(spans, _token_types(header, tokens.count), strict=True):
        if end - begin > longest:  # the stored form is never shorter than the text, so most tokens end here
            raw = header.reader.slice(begin, end)
            longest = max(longest, len(raw) if kind in _LITERAL_TYPES else measure(raw.decode("utf-8", "replace")))
    return longest or None


def longest_in_tokenizer_json(tokenizer: dict[str, Any]) -> int | None:
    """From a Hugging Face tokenizer.json; None unless it is a BPE whose normalizer is known to keep the text."""
    model, shrink = _mapping(tokenizer.get("model")), _shrink(tokenizer.get("normalizer"))
    vocabulary = model.get("vocab")
    if model.get("type", "BPE") != "BPE" or shrink is None or not isinstance(vocabulary, dict) or not vocabulary:
        return None
    byte_level = "ByteLevel" in _types(tokenizer.get("pre_tokenizer")) | _types(tokenizer.get("decoder"))
    if not byte_level and not model.get("byte_fallback"):
        return None  # unknown characters may be fused into one token
    measure = byte_level_length if byte_level else sentencepiece_length
    added = tokenizer.get("added_tokens")
    literal = (item.get("content") for item in added if isinstance(item, dict)) if isinstance(added, list) else ()
    lengths = [len(text.encode("utf-8", "surrogatepass")) for text in literal if isinstance(text, str)]
    return max(shrink * max(map(measure, vocabulary)), *lengths, 1)


def _shrink(normalizer: Any) -> int | None:
    kinds = _types(normalizer)
    if kinds - {"NFC", "Prepend", "Replace", "Sequence"} or not _replaces_only_spaces(normalizer):
        return None
    return _NFC_SHRINKS if "NFC" in kinds else 1


def _replaces_only_spaces(normalizer: Any) -> bool:
    return all(
        _mapping(part.get("pattern")).get("String") == " "
        for part in _parts(normalizer)
        if part.get("type") == "Replace"
    )


def _types(component: Any) -> frozenset[str]:
    return frozenset(str(part.get("type")) for part in _parts(component))


def _parts(component: Any) -> list[dict[str, Any]]:
    """A tokenizer component and the members of its Sequence."""
    if not isinstance(component, dict):
        return []
    members = [component]
    for key in ("normalizers", "pretokenizers", "decoders"):
        nested = component.get(key)
        members += [item for item in nested if isinstance(item, dict)] if isinstance(nested, list) else []
    return members


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
