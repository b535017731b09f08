"""Most events of a stream differ from the one before in one string: a text, or a piece of it. Pure.

An event that was read in full is a template: what surrounds that string. Another event with the same surroundings and
a valid string between them is JSON of the same shape with the same facts, so it need not be decoded again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Where such a string begins. In valid JSON these bytes are a key and its colon, never text: a quotation mark inside a
#: string has a backslash before it.
_VALUE = re.compile(rb'(?<!\\)"(?:content|reasoning_content|reasoning|text|arguments)"\s*:\s*"')
#: The inside of a JSON string. Possessive: it fails at once where it fails.
_INSIDE = re.compile(rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+')


@dataclass(frozen=True, slots=True)
class Template:
    """What stands around the string of an event, as the engine sends it and as the client gets it."""

    before: bytes
    after: bytes
    sent_before: bytes
    sent_after: bytes

    def applied(self, event: bytes) -> bytes | None:
        """The event as the client gets it; None when it is not of this shape."""
        if not (event.startswith(self.before) and event.endswith(self.after)):
            return None
        inside = event[len(self.before) : len(event) - len(self.after)]
        if len(event) < len(self.before) + len(self.after) or _INSIDE.fullmatch(inside) is None:
            return None
        if not inside.isascii() and not _is_utf8(inside):
            return None
        return b"%b%b%b" % (self.sent_before, inside, self.sent_after)


def template_of(event: bytes, sent: bytes) -> Template | None:
    """The template that an event makes, which is valid JSON, and that was sent on as `sent`; None: it has no such
    string, or more than one."""
    parts, sent_parts = around(event), around(sent)
    if parts is None or sent_parts is None:
        return None
    return Template(*parts, *sent_parts)


def around(event: bytes) -> tuple[bytes, bytes] | None:
    """What stands before and behind the one such string of an event; None: it has none, or more than one."""
    places = [match.end() for match in _VALUE.finditer(event)]
    if len(places) != 1:
        return None
    inside = _INSIDE.match(event, places[0])
    end = inside.end() if inside else places[0]
    return event[: places[0]], event[end:]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
