"""Vectors of the size that was asked for."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from roost.errors import Refused
from roost.gateway.dimensions import check_dimensions

BASE64 = base64.b64encode(bytes(4 * 3)).decode()


def answer(*vectors: Any) -> dict[str, Any]:
    return {"data": [{"embedding": vector} for vector in vectors]}


@pytest.mark.parametrize("vectors", [([1, 2, 3],), ([1, 2, 3], BASE64), (BASE64,), ("no base64!",), (7,), ()])
def test_the_size_that_was_asked_passes_and_what_is_no_vector_is_not_judged(vectors: tuple[Any, ...]) -> None:
    check_dimensions(3, answer(*vectors), "m")
    check_dimensions(None, answer([1]), "m")
    check_dimensions(3, [], "m")


@pytest.mark.parametrize("vectors", [([1, 2],), (BASE64, [1]), (base64.b64encode(bytes(8)).decode(),)])
def test_another_size_is_refused(vectors: tuple[Any, ...]) -> None:
    with pytest.raises(Refused, match="the engine of m gives"):
        check_dimensions(3, answer(*vectors), "m")
