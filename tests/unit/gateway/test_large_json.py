"""What passes of a large answer, however the network cuts it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.gateway.large_json import LargeJson
from roost.gateway.splice import rename_model

NAME = 'org/"quoted" ü'


def passed(text: bytes, size: int) -> tuple[bytes, LargeJson]:
    large = LargeJson(NAME)
    return b"".join(large.feed(text[at : at + size]) for at in range(0, len(text), size)), large


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("model"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["model", "usage", "data", "timings", 'a"\\', "é"]), VALUES, max_size=5)


@given(OBJECTS, st.text(), st.integers(1, 40), st.booleans(), st.sampled_from([None, 2]))
def test_only_the_name_at_the_top_changes_whatever_the_pieces(
    values: dict[str, Any], model: str, size: int, ascii_only: bool, indent: int | None
) -> None:
    values = {**values, "model": model}
    text = json.dumps(values, ensure_ascii=ascii_only, indent=indent)
    got, large = passed(text.encode("utf-8", "surrogatepass"), size)
    assert got == rename_model(text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass"), values, NAME)
    assert large.complete
    for key in ("usage", "timings"):
        kept = values.get(key)
        assert large.fact(key) == (kept if isinstance(kept, dict) else None)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        (b'{"mode\\u006c" : "x"}', b'{"mode\\u006c" : @}'),
        (b'{"model":null,"a":"model","b":{"model":"x"}}', b'{"model":null,"a":"model","b":{"model":"x"}}'),
        (b'{"a":[{"model":"x"},"model","y"],"model":"a\\\\\\"b"}', b'{"a":[{"model":"x"},"model","y"],"model":@}'),
        (b'["model","x"]', b'["model","x"]'),
        (b' {"x":"model","model":"m","usage":{"n":1}}\n', b' {"x":"model","model":@,"usage":{"n":1}}\n'),
    ],
)
def test_what_counts_as_the_name(given_text: bytes, expected: bytes, size: int) -> None:
    got, large = passed(given_text, size)
    assert got == expected.replace(b"@", json.dumps(NAME, ensure_ascii=False).encode())
    assert large.complete


@pytest.mark.parametrize("text", [b"", b"  ", b'{"data":[1,2', b'{"a":"}', b'{"a":{}'])
def test_an_answer_without_its_end_is_not_complete(text: bytes) -> None:
    assert not passed(text, 2)[1].complete


def test_what_is_kept_is_bounded() -> None:
    huge = b'{"usage":{"a":"' + b"x" * 10**6 + b'"},"' + b"k" * 10**6 + b'":1}'
    _, large = passed(huge, 1000)
    assert large.complete and large.fact("usage") is None
