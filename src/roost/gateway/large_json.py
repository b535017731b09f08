"""A JSON answer too large to be held, read and renamed as it passes. Pure: bytes in, bytes and facts out.

Nothing is decoded but short strings at the top level: the value of `model` is replaced, `usage` and `timings` are kept,
and the end is recognised. Whatever the pieces of the network, the output bytes are the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

from roost.gateway.splice import name_literal

#: Where something happens: everywhere, and at the top level, where members are told apart.
_DEEP = re.compile(rb'["{}\[\]]')
_TOP = re.compile(rb'["{}\[\],:]')
_STRING_EVENT = re.compile(rb'["\\]')
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")
_QUOTE, _COMMA, _COLON, _BACKSLASH = b'",:\\'
#: Longer keys are none that matter, longer facts are none.
_LONGEST_KEY_BYTES = 64
_LONGEST_FACT_BYTES = 64 * 2**10


class LargeJson:
    """Feed it the answer piece by piece, pass on what it returns."""

    def __init__(self, model_id: str) -> None:
        self._name = name_literal(model_id).encode()
        self._depth = 0
        self._opened = False
        self._in_string = False
        #: The next byte is escaped by the last one of the piece before.
        self._escaped = False
        self._expects_key = True
        #: The key at the top level that is being read, and the last one.
        self._reading: bytearray | None = None
        self._key = ""
        #: The string that is being passed over is the value to be replaced.
        self._dropping = False
        #: The object that is being kept, and those that were.
        self._keeping: bytearray | None = None
        self._kept: dict[str, bytes] = {}

    @property
    def complete(self) -> bool:
        """The outermost object or list was closed."""
        return self._opened and self._depth == 0

    def fact(self, key: str) -> dict[str, Any] | None:
        """`usage` or `timings`, where the answer had it."""
        try:
            value = json.loads(self._kept.get(key, b""))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def feed(self, data: bytes) -> bytes:
        """The piece as the client gets it."""
        out: list[bytes] = []
        at = kept_from = fact_from = 0
        while at < len(data):
            if self._in_string:
                dropped = self._dropping
                at = self._pass_string(data, at)
                kept_from = at if dropped else kept_from
                continue
            found = (_TOP if self._depth <= 1 else _DEEP).search(data, at)
            if found is None:
                break
            at = found.end()
            byte = data[at - 1]
            if byte == _QUOTE:
                if self._begin_string():
                    out += (data[kept_from : at - 1], self._name)
                    kept_from = len(data)
            elif byte in _OPENING:
                fact_from = at - 1 if self._open() else fact_from
            elif byte in _CLOSING:
                self._close(data[fact_from:at])
            else:
                self._expects_key = byte == _COMMA
        if self._keeping is not None:
            self._keep(data[fact_from:])
        out.append(data[kept_from:])
        return b"".join(out)

    def _begin_string(self) -> bool:
        """Whether it is the value to be replaced."""
        self._in_string = True
        if self._depth != 1:
            return False
        if self._expects_key:
            self._reading = bytearray()
        self._dropping = not self._expects_key and self._key == "model"
        return self._dropping

    def _pass_string(self, data: bytes, at: int) -> int:
        """Where the string ends, or the piece."""
        start = at
        if self._escaped:
            self._escaped, at = False, at + 1
        while found := _STRING_EVENT.search(data, at):
            at = found.end()
            if data[at - 1] == _QUOTE:
                self._read_key(data[start : at - 1])
                self._end_string()
                return at
            at += 1
        self._escaped = at > len(data)
        self._read_key(data[start:])
        return len(data)

    def _read_key(self, piece: bytes) -> None:
        if self._reading is not None and len(self._reading) <= _LONGEST_KEY_BYTES:
            self._reading += piece

    def _end_string(self) -> None:
        self._in_string = self._dropping = False
        if self._reading is not None:
            self._key, self._reading = _text(bytes(self._reading)), None

    def _open(self) -> bool:
        """Whether an object begins that is kept."""
        self._depth += 1
        self._opened = True
        if self._depth != 2 or self._key not in ("usage", "timings") or self._expects_key:
            return False
        self._keeping = bytearray()
        return True

    def _close(self, since: bytes) -> None:
        self._depth -= 1
        if self._depth == 1 and self._keeping is not None:
            self._keep(since)
            self._kept[self._key] = bytes(self._keeping)
            self._keeping = None

    def _keep(self, piece: bytes) -> None:
        if self._keeping is not None and len(self._keeping) <= _LONGEST_FACT_BYTES:
            self._keeping += piece


def _text(key: bytes) -> str:
    """A key as it is meant: it may be spelt with escapes."""
    try:
        return str(json.loads(b'"%b"' % key)) if b"\\" in key else key.decode()
    except ValueError:
        return ""
