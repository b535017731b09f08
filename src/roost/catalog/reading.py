"""Reading the start of a file whose every number may be a lie."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from roost.catalog.refusal import ModelRefused, Truncated

#: The largest header seen in the wild is 35 MB (a 262k vocabulary with its merges); this leaves room and still bounds.
HEADER_LIMIT_BYTES = 128 * 2**20
#: Chat templates are the longest strings (about 30 kB); tokens and names are far shorter.
STRING_LIMIT_BYTES = 2**20

_CHUNK_BYTES = 2**20
_LENGTH = struct.Struct("<Q")


def open_regular(path: Path) -> BinaryIO:
    """Open for reading, refusing pipes, devices and folders; O_NONBLOCK so that a pipe cannot hang the open."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ModelRefused(f"cannot read {path}: it is not a regular file")
    return os.fdopen(descriptor, "rb", buffering=0)


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """Raises Truncated when the file shrinks under the reader."""
    parts = bytearray()
    while len(parts) < count:
        part = file.read(min(count - len(parts), 8 * _CHUNK_BYTES))
        if not part:
            raise Truncated(f"cannot read the file: it ends after {len(parts):,} of {count:,} bytes")
        parts += part
    return bytes(parts)


class HeaderReader:
    """Reads forward through a header. A length is compared with what the file holds before it is believed, and memory
    grows only by bytes that were really read."""

    def __init__(self, file: BinaryIO, size_bytes: int, limit_bytes: int = HEADER_LIMIT_BYTES) -> None:
        self.size_bytes = size_bytes
        self.position = 0
        self._file = file
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        start = self.skip(count)
        return bytes(self._buffer[start : start + count])

    def skip(self, count: int) -> int:
        """Step over `count` bytes; returns where they start."""
        start = self.position
        self._fill(start + count)
        self.position = start + count
        return start

    def number(self, layout: struct.Struct) -> int | float | bool:
        """One scalar of the given layout."""
        start = self.skip(layout.size)
        value: int | float | bool = layout.unpack_from(self._buffer, start)[0]
        return value

    def integer(self, layout: struct.Struct) -> int:
        return int(self.number(layout))

    def text(self, limit_bytes: int = STRING_LIMIT_BYTES) -> str:
        """A length-prefixed string; bytes that are not UTF-8 are replaced, never fatal."""
        length = self.integer(_LENGTH)
        self._check_string(length, limit_bytes)
        return self.take(length).decode("utf-8", errors="replace")

    def skip_strings(self, count: int) -> int:
        """Step over `count` length-prefixed strings; returns where they start."""
        if count > (self.size_bytes - self.position) // _LENGTH.size:
            raise Truncated(f"the header promises {count:,} strings, the file is too short for them")
        start = end = self.position
        buffer, unpack, remaining = self._buffer, _LENGTH.unpack_from, count
        while remaining:
            try:
                while remaining:  # the hot loop: vocabularies have 260,000 entries and merge lists twice as many
                    length = unpack(buffer, end)[0]
                    if length > STRING_LIMIT_BYTES:
                        self._check_string(length, STRING_LIMIT_BYTES)
                    end += 8 + length
                    remaining -= 1
            except struct.error:  # the buffer ends here
                self._fill(end + 8)
        self._fill(end)
        self.position = end
        return start

    def spans(self, start: int, count: int) -> Iterator[tuple[int, int]]:
        """Where each of `count` strings that were skipped from `start` on begins and ends."""
        buffer, unpack, end = self._buffer, _LENGTH.unpack_from, start
        for _ in range(count):
            begin = end + 8
            end = begin + unpack(buffer, end)[0]
            yield begin, end

    def slice(self, begin: int, end: int) -> bytes:
        """Bytes that were already passed."""
        return bytes(self._buffer[begin:end])

    def digest(self) -> str:
        """sha256 of everything up to the current position."""
        return hashlib.sha256(memoryview(self._buffer)[: self.position]).hexdigest()

    def _check_string(self, length: int, limit_bytes: int) -> None:
        if length > limit_bytes:
            raise ModelRefused(f"the header holds a string of {length:,} bytes; {limit_bytes:,} is the limit")

    def _fill(self, end: int) -> None:
        have = len(self._buffer)
        if end <= have:
            return
        if end > self.size_bytes:
            raise Truncated(f"the header needs {end:,} bytes, the file has {self.size_bytes:,}")
        if end > self._limit_bytes:
            raise ModelRefused(f"the header is longer than {self._limit_bytes:,} bytes")
        wanted = min(max(end - have, _CHUNK_BYTES), min(self.size_bytes, self._limit_bytes) - have)
        self._buffer += read_exactly(self._file, wanted)
