"""A worker's output: always drained, redacted, capped on disk (mode 0600), its last lines kept for the error text."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

LAST_LINES = 40
LONGEST_LINE_BYTES = 4096

#: Places where engines are known to print what users wrote; all after the match goes.
PROMPT_MARKS: tuple[re.Pattern[bytes], ...] = (
    re.compile(rb"(last[ _]user[^:=]{0,40}[:=]).*", re.IGNORECASE),
    re.compile(rb"((?:prompt|content|messages|input)(?:_text|_preview)?['\"]?\s*[:=]\s*)['\"\[{].*", re.IGNORECASE),
    # Without quotes too: `prompt: text`, but not `prompt: 37 tokens`.
    re.compile(rb"(\b(?:prompt|content|messages)(?:_text|_preview)?\s*[:=]\s*)[^\s\d'\"\[{].*", re.IGNORECASE),
)
#: A line without any of these matches no mark. Finding that out costs a tenth of the marks, which matters when an
#: engine writes as fast as it can: every line is looked at on the daemon's loop.
_PROMPT_WORDS = (b"last", b"prompt", b"content", b"messages", b"input")
#: What docker ends each of its errors with.
_HINT = re.compile(r"(Run|See) '.* --help'( for more information)?\.?|Usage: +(docker|podman|nerdctl) .*")
#: Why llama.cpp aborts: it goes past its own log, whose lines are written by another thread and may come after it.
_ASSERTION = re.compile(r"\bGGML_ASSERT\(")
#: All but the tab.
CONTROL_CHARACTERS = bytes(number for number in range(32) if number != 9)


def redact(line: bytes) -> bytes:
    """The line without prompt text, and without control characters that could play with a terminal."""
    lowered = line.lower()
    if any(word in lowered for word in _PROMPT_WORDS):
        for mark in PROMPT_MARKS:
            line = mark.sub(rb"\1 [redacted]", line)
    return line.translate(None, CONTROL_CHARACTERS)


class WorkerLog:
    """Two files of half the cap each: `NAME.log` grows, then becomes `NAME.log.1`. Losing the disk loses log lines,
    never the worker: its pipe is drained whatever happens here."""

    def __init__(self, path: Path, cap_bytes: int) -> None:
        self.path = path
        self._half_bytes = cap_bytes // 2
        self._file: BinaryIO | None = None
        self._written_bytes = 0
        self._rest = b""
        #: The start of a line was written and its end has not come. What follows belongs to it and goes: a prompt is
        #: known by what stands before it on its line.
        self._cut = False
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        #: Counts chunks: a sign of life while loading.
        self.activity = 0

    def feed(self, chunk: bytes) -> None:
        """Takes raw output as it comes."""
        self.activity += 1
        if self._cut:
            _, newline, chunk = chunk.partition(b"\n")
            self._cut = not newline
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST_LINE_BYTES:
            lines.append(self._rest)
            self._rest, self._cut = b"", True
        self._write([redact(line[:LONGEST_LINE_BYTES]) for line in lines])

    def close(self) -> None:
        if self._rest:
            self._write([redact(self._rest)])
            self._rest = b""
        if self._file:
            self._file.close()
            self._file = None

    def last_line(self) -> str:
        """The last line that says something: an assertion that failed before any other; a hint at somebody's help says
        nothing."""
        lines = [line.strip() for line in reversed(self._last)]
        saying = [line for line in lines if line and not _HINT.fullmatch(line)]
        return next((line for line in saying if _ASSERTION.search(line)), saying[0] if saying else "")

    def last_lines(self, count: int = 20) -> tuple[str, ...]:
        return tuple(self._last)[-count:]

    def _write(self, lines: Iterable[bytes]) -> None:
        kept = list(lines)
        self._last.extend(line.decode(errors="replace") for line in kept[-LAST_LINES:])
        data = b"".join(line + b"\n" for line in kept)
        try:
            self._open().write(data)
            self._open().flush()
        except OSError:  # disk full or gone: the output is still drained
            return
        self._written_bytes += len(data)
        if self._written_bytes >= self._half_bytes:
            self._rotate()

    def _open(self) -> BinaryIO:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            self._file = os.fdopen(descriptor, "ab", buffering=0)
            self._written_bytes = self.path.stat().st_size
        return self._file

    def _rotate(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
        try:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        except OSError:
            return
