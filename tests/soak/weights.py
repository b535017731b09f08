"""Real models that speak differently although they think alike: copies with two words of the vocabulary exchanged.

So an answer shows which file it came from, whatever rounding the machine's load brings about: asked for the capital of
France, the one says Paris and the other Tokyo, each as surely as the other.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

#: What the model says by itself.
OWN_WORD = "Paris"
#: Names of the same length in the GGUF's vocabulary.
GGUF_WORD = "Tokyo"
MLX_WORD = "Berlin"
#: How vocabularies write the space before a word.
_SPACE = "\u0120"


def other_gguf(source: Path, target: Path) -> Path:
    """A copy that says GGUF_WORD for OWN_WORD."""
    data = bytearray(source.read_bytes())
    first, second = _place(data, OWN_WORD), _place(data, GGUF_WORD)
    data[first], data[second] = data[second], data[first]
    target.write_bytes(data)
    return target


def _place(data: bytearray, word: str) -> slice:
    """Where the token's text stands: GGUF writes its length before it."""
    token = f"{_SPACE}{word}".encode()
    entry = struct.pack("<Q", len(token)) + token
    start = data.index(entry) + 8
    if data.count(entry) != 1:
        raise ValueError(f"{word} stands more than once in this vocabulary")
    return slice(start, start + len(token))


def other_mlx(source: Path, target: Path) -> Path:
    """A folder with the same weights that says MLX_WORD for OWN_WORD."""
    target.mkdir()
    for path in source.iterdir():
        if path.name != "tokenizer.json":
            _link(path, target / path.name)
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    own, other = f"{_SPACE}{OWN_WORD}", f"{_SPACE}{MLX_WORD}"
    vocabulary[own], vocabulary[other] = vocabulary[other], vocabulary[own]
    (target / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    return target


def _link(source: Path, target: Path) -> None:
    """The weights take no room twice where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
