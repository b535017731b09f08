"""Slots of llama.cpp filled without computing them: a saved slot of a few tokens, repeated to any length, is restored.

Memory does not see the difference, and a prompt of 32,768 tokens costs a small CPU an hour. What a full window makes
the computation take is then touched by a real step at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

#: `ggsq`, version, words of the prompt: a mark, its version, the count, the tokens, no media. Then streams, cells.
_HEADER = struct.Struct("<III")
_PROMPT = struct.Struct("<iii")
_PROMPT_END = struct.Struct("<i")
_CELLS = struct.Struct("<II")
#: Position, number of sequences, the sequence.
_CELL = struct.Struct("<iIi")
#: Whether values are transposed, layers, and two words that are 0.
_LAYERS = struct.Struct("<IIII")
#: Element type, bytes of a cell.
_ROWS = struct.Struct("<iQ")
_MAGIC, _MARK = 0x67677371, -1


@dataclass(frozen=True)
class SavedSlot:
    """The bytes of a saved slot, taken apart. Keys and values of each layer by cell."""

    version: int
    cells: int
    layers: int
    #: Keys of all layers, then values of all: element type, bytes of a cell, cells.
    rows: tuple[tuple[int, int, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> SavedSlot:
        """Raises ValueError for a form that is not known."""
        magic, version, words = _HEADER.unpack_from(data)
        mark, _, _ = _PROMPT.unpack_from(data, _HEADER.size)
        at = _HEADER.size + 4 * words
        streams, cells = _CELLS.unpack_from(data, at)
        at += _CELLS.size + cells * _CELL.size
        transposed, layers, *zeros = _LAYERS.unpack_from(data, at)
        at += _LAYERS.size
        if (magic, mark, streams, transposed, any(zeros)) != (_MAGIC, _MARK, 1, 0, False):
            raise ValueError(f"a saved slot of an unknown form, version {version}")
        rows = []
        for _ in range(2 * layers):
            kind, size = _ROWS.unpack_from(data, at)
            at += _ROWS.size
            rows.append((kind, size, data[at : at + size * cells]))
            at += size * cells
        if at != len(data):
            raise ValueError(f"a saved slot of an unknown form: {len(data) - at} bytes are left")
        return cls(version, cells, layers, tuple(rows))

    def repeated(self, tokens: Sequence[int]) -> bytes:
        """A slot that holds these tokens, with the cells of this one over and over."""
        count = len(tokens)
        parts = [_HEADER.pack(_MAGIC, self.version, count + 4), _PROMPT.pack(_MARK, 1, count)]
        parts += [struct.pack(f"<{count}i", *tokens), _PROMPT_END.pack(0), _CELLS.pack(1, count)]
        parts += [_CELL.pack(position, 1, 0) for position in range(count)]
        parts.append(_LAYERS.pack(0, self.layers, 0, 0))
        for kind, size, cells in self.rows:
            parts += [_ROWS.pack(kind, size), (cells * (count // self.cells + 1))[: count * size]]
        return b"".join(parts)
