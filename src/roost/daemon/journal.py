"""The daemon's own log: JSON lines in `logs/daemon.log`, mode 0600, within a cap. Never a prompt, never a key."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from io import TextIOBase
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.processors import format_exc_info
from structlog.typing import EventDict, WrappedLogger

from roost.config.settings import LogSettings

CAP_BYTES = 32 * 2**20


class RotatingFile(TextIOBase):
    """Two files of half the cap each. A full disk loses lines, never a request."""

    def __init__(self, path: Path, cap_bytes: int = CAP_BYTES) -> None:
        self._path = path
        self._half_bytes = cap_bytes // 2
        self._descriptor = -1
        self._size_bytes = 0
        self._open()

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        try:
            self._size_bytes += os.write(self._descriptor, data)
            if self._size_bytes >= self._half_bytes:
                self._rotate()
        except OSError:
            return 0
        return len(text)

    def flush(self) -> None:
        """Every line is written at once."""

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size_bytes = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._open()


_encode = json.JSONEncoder(default=repr).encode


def _line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Level, time and JSON in one step: each request waits for its line, and structlog's own chain of processors
    takes twice as long."""
    event["level"] = "error" if method == "exception" else method
    event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    if "exc_info" in event:
        event = format_exc_info(logger, method, event)
    return _encode(event)


def open_journal(path: Path, settings: LogSettings) -> None:
    """Sends structlog and the standard library's logging to the file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = cast(TextIO, RotatingFile(path))
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=file),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=file, level=max(level, logging.WARNING), format="%(asctime)s %(name)s %(message)s")
    # Its one warning repeats the subprotocols that a client offers, among which may be its key.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
