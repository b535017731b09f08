"""registry.json as bytes: what is a registry, and where what is not one breaks."""

import pytest

from roost.registry.file import MAX_BYTES, parse
from roost.registry.types import Registry, RegistryProblem


def problem(data: bytes) -> RegistryProblem:
    found = parse(data)
    assert isinstance(found, RegistryProblem), found
    return found


def registry(data: bytes) -> Registry:
    found = parse(data)
    assert isinstance(found, Registry), found
    return found


def test_roles_and_endpoints_are_flat_strings() -> None:
    found = registry(b'{"models": {"default": "a/b@box"}, "endpoints": {"local": "http://x/v1"}, "nodeports": [1]}')
    assert found.roles == {"default": "a/b@box"}
    assert found.endpoints == {"local": "http://x/v1"}
    assert len(found.digest) == 64


def test_an_object_without_models_is_an_empty_registry() -> None:
    assert registry(b"{}").roles == {}


def test_its_own_object_is_read_and_kept_from_change() -> None:
    found = registry(b'{"roost": {"a": [1, 2.5, null]}}')
    assert found.roost == {"a": [1, 2.5, None]}
    with pytest.raises(TypeError):
        found.roles["x"] = "y"  # type: ignore[index]


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert registry(b'\xef\xbb\xbf{"models": {"oss": "x"}}').roles == {"oss": "x"}


def test_names_may_hold_any_printable_script() -> None:
    assert registry('{"models": {"größe": "模型/一"}}'.encode()).roles == {"größe": "模型/一"}


BROKEN = {
    "nothing": (b"", "empty", 1, 1),
    "blanks": (b" \n ", "empty", 1, 1),
    "an array": (b"[]", "must be an object", 1, 1),
    "a number": (b"\n 3", "must be an object", 2, 2),
    "not UTF-8": (b'{\n "models": {"a": "\xff"}}', "byte 0xff is not UTF-8", 2, 19),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte 0xff is not UTF-8", 1, 1),
    "a role that is a number": (b'{"models": {\n  "coding": 3}}', 'role "coding" must be a string', 2, 13),
    "a role that is null": (b'{"models": {"coding": null}}', "must be a string", 1, 23),
    "an empty id": (b'{"models": {"coding": ""}}', "is empty or has blanks", 1, 23),
    "an id with a blank behind": (b'{"models": {"coding": "a "}}', "is empty or has blanks", 1, 23),
    "an id with a line break": (b'{"models": {"coding": "a\\nb"}}', "control characters", 1, 23),
    "half a surrogate pair": (b'{"models": {"coding": "\\ud800"}}', "control characters", 1, 23),
    "an empty role": (b'{"models": {"": "a"}}', "cannot name a role", 1, 13),
    "models as a list": (b'{"models": ["a"]}', '"models" must be an object', 1, 12),
    "endpoints as text": (b'{"endpoints": "a"}', '"endpoints" must be an object', 1, 15),
    "an endpoint that is an object": (b'{"endpoints": {"a": {}}}', "must be a string", 1, 21),
    "roost as text": (b'{"roost": 3}', '"roost" must be an object', 1, 11),
    "a role twice": (b'{"models": {"a": "b",\n "a": "c"}}', 'has the key "a" twice', 2, 2),
    "models twice": (b'{"models": {}, "models": {}}', 'has the key "models" twice', 1, 16),
    "a role twice, escaped": (b'{"models": {"a": "b", "\\u0061": "c"}}', 'has the key "a" twice', 1, 23),
    "NaN": (b'{"x": NaN}', "not a JSON value", 1, 7),
    "Infinity": (b'{"x": -Infinity}', "not a JSON value", 1, 7),
    "a leading zero": (b'{"x": 01}', "not a JSON value", 1, 7),
    "a single quote": (b"{'models': 1}", "a key in double quotes is missing", 1, 2),
    "a trailing comma": (b'{"models": {"a": "b",}}', "a key in double quotes is missing", 1, 22),
    "a comment": (b'{"models": {} // x\n}', '"}" or "," is missing', 1, 15),
    "a missing colon": (b'{"models" {}}', '":" is missing', 1, 11),
    "a second value": (b"{} {}", "more text follows", 1, 4),
    "a raw line break": (b'{"models": {"a": "b\n"}}', "does not end", 1, 18),
    "a wrong escape": (b'{"models": {"a": "\\x"}}', "wrong escape", 1, 18),
    "a cut word": (b'{"x": tru', "not a JSON value", 1, 7),
    "a cut object": (b'{"models": {', '"}" is missing', 1, 13),
    "a depth of 100,000": (b'{"x": ' + b"[" * 100_000, "nested more than 64 deep", 1, 71),
    "a number of 5,000 digits for roost": (b'{"roost": {"a": ' + b"9" * 5000 + b"}}", "cannot be read", 1, 11),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_registry_names_its_line_and_column(name: str) -> None:
    data, message, line, column = BROKEN[name]
    found = problem(data)
    assert message in found.message
    assert (found.line, found.column) == (line, column)


def test_a_huge_file_is_refused_unread() -> None:
    assert "larger than" in problem(b" " * (MAX_BYTES + 1)).message


def test_numbers_of_other_programs_are_never_converted() -> None:
    assert registry(b'{"x": ' + b"9" * 100_000 + b"}").roles == {}


def test_doubled_keys_of_other_programs_are_their_own_affair() -> None:
    assert registry(b'{"other": {"a": 1, "a": 2}}').roles == {}
