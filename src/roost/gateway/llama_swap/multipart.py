"""Finding one text field in a multipart body without taking the body apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from roost.errors import BadRequest, MissingParameter

#: A part's own headers, of which only one is looked at.
_LONGEST_PART_HEADERS = 16 * 2**10
_LONGEST_VALUE = 4096
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[^\r\n]*?[;\s]name="?([^";\r\n]*)"?', re.IGNORECASE)


@dataclass(frozen=True)
class Field:
    """A field's value, `body[start:end]`."""

    value: str
    start: int
    end: int


def boundary_of(content_type: str) -> bytes:
    """Raises BadRequest when a multipart body does not say what parts it."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadRequest("a multipart body needs a boundary in its Content-Type")
    return (found[1] or found[2]).encode("latin-1", "replace")


def find_field(body: bytes, boundary: bytes, name: str) -> Field:
    """The one part of this name.

    Raises MissingParameter when there is none, BadRequest when there are two (servers disagree on which one counts)
    or the body is not multipart.
    """
    fields = [field for field in _parts(body, boundary) if field[0] == name.encode()]
    if not fields:
        raise MissingParameter(f"the field `{name}` is missing; name a role or an id", param=name)
    if len(fields) > 1:
        raise BadRequest(f"the field `{name}` stands twice in the body", param=name)
    _, start, end = fields[0]
    if end - start > _LONGEST_VALUE:
        raise BadRequest(f"the field `{name}` is longer than {_LONGEST_VALUE} bytes", param=name)
    try:
        return Field(body[start:end].decode(), start, end)
    except UnicodeDecodeError:
        raise BadRequest(f"the field `{name}` is not UTF-8", param=name) from None


def spliced(body: bytes, field: Field, value: str) -> bytes:
    """The body with the field's value replaced and every other byte as it came."""
    return b"".join((body[: field.start], value.encode(), body[field.end :]))


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each part's name and where its content lies."""
    mark = b"--" + boundary
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at == 1:
        raise _broken()
    while not body.startswith(b"--", at + len(mark)):
        head = body.find(b"\r\n\r\n", at, at + _LONGEST_PART_HEADERS)
        end = body.find(b"\r\n" + mark, head) if head >= 0 else -1
        if end < 0:
            raise _broken()
        if found := _NAME.search(body, at, head):
            yield found[1], head + 4, max(end, head + 4)
        at = end + 2


def _broken() -> BadRequest:
    return BadRequest("the body is not the multipart that its Content-Type says; a part has no end")
