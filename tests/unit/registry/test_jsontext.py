"""The position-keeping JSON reader agrees with the standard one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.registry.jsontext import JsonError, Node, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def covered(text: str, node: Node) -> object:
    """The value again, built from the spans that the reader found."""
    if node.kind == "object":
        return {member.key: covered(text, member.value) for member in node.members}
    return json.loads(text[node.start : node.end])


@given(JSON, st.sampled_from([None, 0, 1, 4, "\t"]), st.booleans())
def test_every_value_is_found_at_its_own_place(value: object, indent: int | str | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert covered(text, parse_json(text)) == value


@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \\u"\n', max_size=30))
def test_what_the_standard_parser_refuses_is_refused_too(text: str) -> None:
    def refuse(constant: str) -> object:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        with pytest.raises(JsonError):
            parse_json(text)
    else:
        parse_json(text)


def test_the_last_of_two_equal_keys_counts() -> None:
    node = parse_json('{"a": "x", "a": "y"}').get("a")
    assert node is not None
    assert node.text == "y"
