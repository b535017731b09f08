from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.errors import InvalidJson, InvalidUtf8
from roost.gateway.document import deeper_than, parse_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), JSON, max_size=6), st.sampled_from([None, 0, 2]), st.booleans())
def test_every_member_is_found_where_it_stands(value: dict[str, object], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    document = parse_object(f" \n{text}\t".encode(), 64)
    assert document.values == value
    for key, member in document.members.items():
        assert json.loads(document.text[member.value_start : member.value_end]) == value[key]
        assert document.text[member.key_start] == '"'


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_refusal_with_a_reason(body: bytes) -> None:
    try:
        values = parse_object(body, 8).values
    except (InvalidJson, InvalidUtf8) as error:
        assert error.message.startswith("the body")
    else:
        assert json.loads(body) == values


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"a":1,"a":2}', "twice"),
        ('{"a":1}x', "follows"),
        ('{"a":1,}', "key in double quotes"),
        ('{"a" 1}', "colon"),
        ('{"a":1 "b":2}', "comma"),
        ('{"a":', "expecting value"),
        ('{"a":"\n"}', "line 1 column 7"),
        ('{"a":Infinity}', "Infinity"),
        ('{\n "a": [1,,2]}', "line 2"),
        ('{"a":' + "9" * 5000 + "}", "too many digits"),
        ('{"a":' + "[" * 5000, "too deep"),
        ("\ufeff{}", "object is expected"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(body: str, said: str) -> None:
    with pytest.raises(InvalidJson, match=said):
        parse_object(body.encode(), 64)


def test_no_text_of_the_body_is_repeated() -> None:
    with pytest.raises(InvalidJson) as raised:
        parse_object(b'{"my secret prompt": 1, "my secret prompt": 2}', 64)
    assert "secret" not in raised.value.message


def test_bad_utf8_is_told_with_its_offset() -> None:
    with pytest.raises(InvalidUtf8, match="byte 6"):
        parse_object(b'{"a":"\xc3("}', 64)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_depth_is_counted_to_the_level(depth: int) -> None:
    body = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b',"b":[],"c":{}}' if depth > 1 else b"{}"
    parse_object(body, max(depth, 2))
    assert not deeper_than(json.loads(body), depth if depth > 1 else 1)
    if depth > 2:
        with pytest.raises(InvalidJson, match="deeper"):
            parse_object(body, depth - 1)
