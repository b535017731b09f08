"""Embeddings of the size that was asked for. An engine that does not know the field `dimensions` ignores it in silence,
and vectors of another size break whoever stores them. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from roost.errors import Refused

_FLOAT_BYTES = 4


def check_dimensions(asked: Any, answer: Any, model_id: str) -> None:
    """`asked`: of the request, None: any. Raises Refused when the vectors have another size."""
    sizes = {size for row in _rows(answer) if (size := _size(row)) is not None}
    if asked is not None and sizes and sizes != {asked}:
        found = ", ".join(str(size) for size in sorted(sizes))
        raise Refused(
            f"cannot give embeddings of {asked} dimensions: the engine of {model_id} gives {found}; leave `dimensions` "
            "out",
            param="dimensions",
        )


def _rows(answer: Any) -> list[Any]:
    rows = answer.get("data") if isinstance(answer, Mapping) else None
    return rows if isinstance(rows, list) else []


def _size(row: Any) -> int | None:
    """Numbers of a vector, which is a list or base64 of floats of 32 bits; None: it is neither."""
    match row:
        case {"embedding": list(vector)}:
            return len(vector)
        case {"embedding": str(text)}:
            try:
                return len(base64.b64decode(text, validate=True)) // _FLOAT_BYTES
            except binascii.Error:
                return None
    return None
