"""Reading registry.json: bytes in, a valid Registry or the reason with its line and column out. Never an exception."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from roost.config.locate import position_at
from roost.registry.jsontext import JsonError, Node, parse_json
from roost.registry.types import Registry, RegistryProblem

#: A registry names some dozens of models; a file beyond this is something else.
MAX_BYTES = 2**20
_OWN_TABLES = ("models", "endpoints", "roost")


class _Invalid(Exception):
    """Valid JSON that is no registry."""

    def __init__(self, message: str, node_start: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = node_start


def read(path: Path) -> Registry | RegistryProblem:
    """The registry on disk; a file that is not there is an empty registry."""
    data = read_bytes(path)
    if isinstance(data, bytes):
        return parse(data)
    return Registry() if data is None else data


def read_bytes(path: Path) -> bytes | RegistryProblem | None:
    """The content; None when there is no file. A link to nothing is a problem: somebody meant a file to be there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if path.is_symlink():
            return RegistryProblem(f"it links to {path.readlink()}, which is not there")
        return None
    except OSError as error:
        return RegistryProblem(f"it cannot be read: {error.strerror}")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return RegistryProblem("it is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        return RegistryProblem(f"it cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def parse(data: bytes) -> Registry | RegistryProblem:
    """A registry of the file's bytes. Unknown keys of the top level belong to other programs and are not judged."""
    if len(data) > MAX_BYTES:
        return RegistryProblem(f"it is larger than {MAX_BYTES} bytes, which no registry is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        readable = data[: error.start].decode("utf-8", "replace")
        return _problem(f"byte 0x{data[error.start]:02x} is not UTF-8", readable, len(readable))
    if not text.strip():
        return RegistryProblem("it is empty; an empty registry is {}", 1, 1)
    try:
        return _registry(text, hashlib.sha256(data).hexdigest())
    except (JsonError, _Invalid) as error:
        return _problem(error.message, text, error.offset)


def _problem(message: str, text: str, offset: int) -> RegistryProblem:
    position = position_at(text, offset)
    return RegistryProblem(message, position.line, position.column)


def _registry(text: str, digest: str) -> Registry:
    root = parse_json(text)
    if root.kind != "object":
        raise _Invalid("the registry must be an object", root.start)
    _refuse_duplicates(root, "the registry")
    tables = {name: _table(root, name) for name in _OWN_TABLES}
    return Registry(
        roles=MappingProxyType(dict(_strings(tables["models"], "role"))),
        endpoints=MappingProxyType(dict(_strings(tables["endpoints"], "endpoint"))),
        roost=MappingProxyType(_plain_object(text, tables["roost"])),
        digest=digest,
    )


def _table(root: Node, name: str) -> Node | None:
    node = root.get(name)
    if node is None:
        return None
    if node.kind != "object":
        raise _Invalid(f'"{name}" must be an object', node.start)
    _refuse_duplicates(node, f'"{name}"')
    return node


def _refuse_duplicates(node: Node, where: str) -> None:
    for member in node.duplicates():
        raise _Invalid(f"{where} has the key {json.dumps(member.key)} twice", member.key_start)


def _strings(table: Node | None, what: str) -> Iterator[tuple[str, str]]:
    for member in table.members if table else ():
        value = member.value.text
        shown = json.dumps(member.key)
        if not _is_name(member.key):
            raise _Invalid(f"{shown} cannot name a {what}", member.key_start)
        if value is None:
            raise _Invalid(f"the value of {what} {shown} must be a string", member.value.start)
        if not _is_name(value):
            raise _Invalid(
                f"the value of {what} {shown} is empty or has blanks around or control characters in it",
                member.value.start,
            )
        yield member.key, value


def _is_name(text: str) -> bool:
    """Printable, nothing to trim, and writable as UTF-8 (JSON can spell half a surrogate pair)."""
    return bool(text) and text == text.strip() and text.isprintable()


def _plain_object(text: str, node: Node | None) -> dict[str, object]:
    if node is None:
        return {}
    try:
        plain: dict[str, object] = json.loads(text[node.start : node.end])
    except ValueError as error:  # a number with thousands of digits
        raise _Invalid(f'"roost" holds a value that cannot be read: {error}', node.start) from error
    return plain
