"""The YAML text as plain values, with variables of the environment filled in as llama-swap does it: first of all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from roost.config.llama_swap.types import Notes, refuse
from roost.errors import BadConfiguration

_VARIABLE = re.compile(r"\$\{env\.([a-zA-Z_][a-zA-Z0-9_]*)\}")
#: Their values are keys: these references are looked at by whoever reads them, and are never written down.
_SECRET_KEYS = frozenset({"apiKey", "apiKeys"})
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values, which llama-swap reads: dates, `on` and `1:30` are text; a key twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a single value", key_node.start_mark)
            if key_node.value in found:
                problem = f'the key "{key_node.value}" stands here twice'
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            # As it is written: a model may be called 1.50.
            found[key_node.value] = self.construct_object(value_node, deep=True)
        return found


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?\Z|[-+]?[0-9]+[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])
_Loader.add_constructor(f"{_TAG}map", lambda loader, node: loader.construct_mapping(node))


def parse(text: str, environ: Mapping[str, str], notes: Notes) -> dict[str, Any]:
    """The file's mapping. Raises BadConfiguration with line and column, or naming a variable that is not set."""
    try:
        values, names = _parsed(text, environ)
    except yaml.YAMLError as error:
        # A bare reference inside brackets is no YAML until it is filled in.
        names = set(_VARIABLE.findall(text))
        if not names:
            raise _broken(error) from error
        values = _parsed_again(filled_in(text, environ, "the file"))
    if written := sorted(names):
        notes.add(
            ", ".join(f"${{env.{name}}}" for name in written),
            "the value of now was written into the settings, which know no variables; keep that file private",
        )
    return values


def _parsed(text: str, environ: Mapping[str, str]) -> tuple[dict[str, Any], set[str]]:
    """The values, and the names of the variables that were filled in. Raises YAMLError."""
    loader = _Loader(text)
    node = loader.get_single_node()
    if not isinstance(node, yaml.MappingNode):
        raise refuse("the file", "a mapping with the key `models` is expected")
    names = set(_fill_in(node, loader, environ, set()))
    values: dict[str, Any] = loader.construct_document(node)
    return values, names


def _parsed_again(text: str) -> dict[str, Any]:
    try:
        return _parsed(text, {})[0]
    except yaml.YAMLError as error:
        raise _broken(error) from error


def variable(text: str) -> str | None:
    """The name, when the whole text is one reference."""
    found = _VARIABLE.fullmatch(text.strip())
    return found[1] if found else None


def filled_in(text: str, environ: Mapping[str, str], place: str) -> str:
    """The text with each reference replaced. Raises BadConfiguration for a variable that is not set."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise refuse(place, f"the environment variable {found[1]} is not set")
        return environ[found[1]]

    return _VARIABLE.sub(value, text)


def _fill_in(node: yaml.Node, loader: _Loader, environ: Mapping[str, str], seen: set[int]) -> Iterator[str]:
    """Replaces references in place and yields their names; an anchor's node is visited once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _fill_in(key, loader, environ, seen)
            if key.value not in _SECRET_KEYS:
                yield from _fill_in(value, loader, environ, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _fill_in(item, loader, environ, seen)
    elif "${env." in node.value:
        yield from _VARIABLE.findall(node.value)
        node.value = filled_in(node.value, environ, f"line {node.start_mark.line + 1}")
        if node.style is None:
            # A plain value is a number or a truth value if its text now reads like one.
            node.tag = loader.resolve(yaml.ScalarNode, node.value, (True, False))


def _broken(error: yaml.YAMLError) -> BadConfiguration:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return refuse(f"line {mark.line + 1}, column {mark.column + 1}", str(error.problem))
    return refuse("the file", "it is not YAML")
