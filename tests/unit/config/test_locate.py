"""Where the keys of a TOML text stand."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from roost.config.locate import KeyPath, Position, key_positions, position_at

TEXT = '''\
drain_s = 5 # comment = no key
[gateway]
  port = 1
allowed_hosts = [
  "a = 1", # [not.a.table]
  'b',
]

[models."org/a.b".engine]
env = { A = "x", "B.C" = 'y]' , D.E = 1.5}
text = """
[gateway]
port = 2 \\"""
"""
raw = \'\'\'
[x] \'\'\'\'
"quoted\\u0020key".'inner' = 2026-01-01 07:32:00

[[list]]
name = [[1, 2], [{ a = 1 }]]
'''


def test_keys_are_found_and_values_are_not() -> None:
    found = {path: (at.line, at.column) for path, at in key_positions(TEXT).items()}
    assert found == {
        ("drain_s",): (1, 1),
        ("gateway",): (2, 2),
        ("gateway", "port"): (3, 3),
        ("gateway", "allowed_hosts"): (4, 1),
        ("models",): (9, 2),
        ("models", "org/a.b"): (9, 2),
        ("models", "org/a.b", "engine"): (9, 2),
        ("models", "org/a.b", "engine", "env"): (10, 1),
        ("models", "org/a.b", "engine", "env", "A"): (10, 9),
        ("models", "org/a.b", "engine", "env", "B.C"): (10, 18),
        ("models", "org/a.b", "engine", "env", "D"): (10, 33),
        ("models", "org/a.b", "engine", "env", "D", "E"): (10, 33),
        ("models", "org/a.b", "engine", "text"): (11, 1),
        ("models", "org/a.b", "engine", "raw"): (15, 1),
        ("models", "org/a.b", "engine", "quoted key"): (17, 1),
        ("models", "org/a.b", "engine", "quoted key", "inner"): (17, 1),
        ("list",): (19, 3),
        ("list", "name"): (20, 1),
    }


def test_the_text_of_the_example_is_toml() -> None:
    tomllib.loads(TEXT)


def test_an_empty_text_has_no_keys() -> None:
    assert key_positions("") == {}
    assert key_positions("# only\n\r\n") == {}


def test_positions_count_from_one() -> None:
    assert position_at("ab\nc", 0) == Position(1, 1)
    assert position_at("ab\nc", 2) == Position(1, 3)
    assert position_at("ab\nc", 3) == Position(2, 1)


KEYS = st.text(max_size=5).map(lambda text: '"' + text.translate(_ESCAPES) + '"')
_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", **{code: f"\\u{code:04x}" for code in (*range(32), 127)}}
SCALARS = st.sampled_from(
    ["1", "-1.5e3", "true", "inf", '"a]b#c"', "'a}b'", '"""a\n"" ] = {"""', "'''\nx = 1'''", "07:32:00", '""', "''''''"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n" + ", # ]\n".join(items) + "]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=6,
)


def paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    """The paths of all keys of a table, those inside lists left out."""
    if not isinstance(value, dict):
        return set()
    inner = {found for key in value for found in paths(value[key], (*path, key))}
    return {(*path, key) for key in value} | inner


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=3))
def test_the_keys_found_are_the_keys_parsed(top: dict[str, str], table: dict[str, str]) -> None:
    lines = [f"{key} = {value}" for key, value in top.items()]
    lines += ["[table_of_the_test]", *(f"{key} = {value}" for key, value in table.items())]
    text = "\n".join(lines)
    found = key_positions(text)
    assert set(found) == paths(tomllib.loads(text))
    assert all(text.split("\n")[at.line - 1][at.column - 1] in '"t' for at in found.values())
