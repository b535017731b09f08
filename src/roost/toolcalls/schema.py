"""A tool's JSON schema: whether it accepts arguments, and what a value that was written as text means by it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

from roost.toolcalls.literal import MOST_DEPTH, decode, dumped, read_value
from roost.toolcalls.values import NoCall, Reason, Tool

#: A longer schema is not compiled: arguments are held to its names alone.
_LONGEST_SCHEMA = 256 * 1024
_MOST_REFERENCES = 8
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)
_PYTHON_WORDS = {"True": True, "False": False, "None": None}


#: Of a complaint about arguments: a validator quotes the whole of what it complains about.
_LONGEST_COMPLAINT = 400


class Validator(Protocol):
    def is_valid(self, instance: Any) -> bool: ...

    def iter_errors(self, instance: Any) -> Iterator[Any]: ...


def accepts(tool: Tool, arguments: Mapping[str, Any]) -> bool:
    """Whether the schema accepts them. Of one that is not sound only the names of parameters hold."""
    validator = validator_of(tool.schema)
    if validator is not None:
        return validator.is_valid(arguments)
    required = tool.schema.get("required")
    wanted = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    declared = tool.declared
    return wanted <= arguments.keys() and (declared is None or arguments.keys() <= declared.keys())


def complaint(tool: Tool, arguments: Mapping[str, Any]) -> str:
    """Why the schema refuses them, in words for the model that wrote them; they quote the arguments."""
    validator = validator_of(tool.schema)
    error = next(validator.iter_errors(arguments), None) if validator is not None else None
    if error is None:
        return f'the arguments of "{tool.name}" lack some, or have others than it takes'
    place = "/".join(map(str, error.instance_path))
    said = str(error.message)[:_LONGEST_COMPLAINT]
    return f'the arguments of "{tool.name}" are not valid{f" at {place}" if place else ""}: {said}'


def validator_of(schema: Mapping[str, Any]) -> Validator | None:
    """The schema ready to be asked; None: it is not sound, or too long."""
    return _compiled(json.dumps(schema, sort_keys=True, default=str))


@lru_cache(maxsize=512)
def _compiled(schema: str) -> Validator | None:
    """Patterns are matched in linear time and nothing is ever fetched: both come from a client."""
    # Only whoever meets a call needs it: it takes a start 60 ms and some memory.
    import jsonschema_rs

    if len(schema) > _LONGEST_SCHEMA:
        return None
    try:
        return jsonschema_rs.validator_for(
            json.loads(schema), retriever=_never, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ValidationError):
        return None


def _never(uri: str) -> Any:
    raise ValueError("a schema is not fetched")


def coerced(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with text turned into what it says, where the schema forbids text. Nothing is lost by it."""
    value = _coerce(arguments, tool.schema, tool.schema, 0)
    return value if isinstance(value, dict) else arguments


def typed(tool: Tool, name: str, text: str) -> Any:
    """A parameter that was written without quotes: text if the schema wants text, else what it reads as."""
    schema = (tool.declared or {}).get(name, True)
    kinds = kinds_of(schema, tool.schema)
    if kinds == frozenset({"string"}):
        return text
    try:
        value = _reading(text)
    except ValueError:
        return text
    if kinds is None or _kind(value) & kinds:
        return value
    return text


def kinds_of(schema: object, root: Mapping[str, Any], followed: int = 0) -> frozenset[str] | None:
    """The JSON types that a schema lets through; None: any."""
    schema = _resolved(schema, root, followed)
    if not isinstance(schema, dict):
        return None
    found = _own_kinds(schema)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found = _both(found, _union(schema[key], root, followed))
    for part in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
        found = _both(found, kinds_of(part, root, followed + 1))
    return found | {"null"} if found is not None and schema.get("nullable") is True else found


def _own_kinds(schema: Mapping[str, Any]) -> frozenset[str] | None:
    if isinstance(schema.get("enum"), list):
        return frozenset().union(*(_kind(value) for value in schema["enum"]))
    if "const" in schema:
        return _kind(schema["const"])
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return frozenset({kinds})
    return frozenset(kind for kind in kinds if isinstance(kind, str)) if isinstance(kinds, list) else None


def _union(parts: list[Any], root: Mapping[str, Any], followed: int) -> frozenset[str] | None:
    if followed >= _MOST_REFERENCES:
        return None
    found = [kinds_of(part, root, followed + 1) for part in parts]
    return None if None in found else frozenset().union(*(kinds for kinds in found if kinds is not None))


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _kind(value: object) -> frozenset[str]:
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return frozenset({name, "number"}) if name == "integer" else frozenset({name})
    return frozenset()


def _resolved(schema: object, root: Mapping[str, Any], followed: int) -> object:
    """The schema that a local `$ref` names; others are taken as they are."""
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
        followed += 1
        if followed > _MOST_REFERENCES or not schema["$ref"].startswith("#/"):
            return True
        found: Any = root
        for part in schema["$ref"][2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        schema = found
    return schema


def _coerce(value: Any, schema: object, root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolved(schema, root, 0)
    if not isinstance(schema, dict) or depth > MOST_DEPTH:
        return value
    if isinstance(value, str):
        kinds = kinds_of(schema, root)
        return value if kinds is None or "string" in kinds else _said(value, kinds, schema, root, depth)
    if isinstance(value, dict):
        return {key: _coerce(one, _part(schema, key), root, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        items = schema.get("items", True)
        return [_coerce(one, items, root, depth + 1) for one in value]
    return value


def _part(schema: Mapping[str, Any], key: str) -> object:
    properties = schema.get("properties")
    if isinstance(properties, dict) and key in properties:
        return properties[key]
    return schema.get("additionalProperties", True)


def _said(text: str, kinds: frozenset[str], schema: object, root: Mapping[str, Any], depth: int) -> Any:
    """What a text says where text is forbidden; the text itself when that is of another kind too."""
    try:
        value = _reading(text)
    except ValueError:
        return text
    if not _kind(value) & kinds:
        return text
    return _coerce(value, schema, root, depth + 1) if isinstance(value, dict | list) else value


def _reading(text: str) -> Any:
    """Raises ValueError for what is neither JSON, or near enough to it, nor one of Python's three words."""
    word = text.strip()
    if word in _PYTHON_WORDS:
        return _PYTHON_WORDS[word]
    if word[:1] not in ("{", "["):
        return decode(word)
    try:
        read = read_value(word, 0)
    except NoCall:
        raise ValueError("no value") from None
    if read.end != len(word):
        raise ValueError("more than a value")
    return read.value


def checked(tool: Tool, arguments: Any, raw: str | None) -> tuple[str, tuple[str, ...]]:
    """The arguments as JSON text that the schema accepts, and the steps to it. Raises NoCall(SCHEMA)."""
    steps: tuple[str, ...] = ()
    if isinstance(arguments, str) and arguments.strip():
        arguments, raw, steps = _once_decoded(arguments)
    if arguments is None or arguments == "":
        arguments, raw = {}, None
    if not isinstance(arguments, dict):
        raise NoCall(Reason.SCHEMA)
    if accepts(tool, arguments):
        return raw or dumped(arguments), steps
    arguments = coerced(tool, arguments)
    if not accepts(tool, arguments):
        raise NoCall(Reason.SCHEMA, complaint(tool, arguments))
    return dumped(arguments), (*steps, "coerced")


def _once_decoded(text: str) -> tuple[Any, str | None, tuple[str, ...]]:
    """Arguments that were encoded twice: one layer is taken off, and an object must lie below."""
    word = text.strip()
    try:
        read = read_value(word, 0)
    except NoCall:
        raise NoCall(Reason.SCHEMA) from None
    if read.end != len(word):
        raise NoCall(Reason.SCHEMA)
    return read.value, read.raw, ("decoded_arguments", *read.steps)
