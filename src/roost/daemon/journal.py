"""The daemon's own log: JSON lines in `logs/daemon.log`, mode 0600, within a cap. Never a prompt, never a key."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOBase
from pathlib import Path
from typing import Any

import structlog
from structlog.processors import format_exc_info
from structlog.typing import BindableLogger, EventDict

from roost.config.settings import LogSettings

CAP_BYTES = 32 * 2**20


class RotatingFile(TextIOBase):
    """Two files of half the cap each. A full disk loses lines, never a request."""

    def __init__(self, path: Path, cap_bytes: int = CAP_BYTES) -> None:
        self._path = path
        self._half_bytes = cap_bytes // 2
        self._descriptor = -1
        self._size_bytes = 0
        # Threads write too, and one of them may be the one that changes files.
        self._lock = threading.Lock()
        self._open()

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        try:
            with self._lock:
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


_encode = json.JSONEncoder(default=repr, check_circular=False).encode


@lru_cache(maxsize=2)
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().removesuffix("+00:00")


def _timestamp() -> str:
    """Now in UTC, to the microsecond; of the lines of one second only the first looks at the calendar."""
    seconds, rest_ns = divmod(time.time_ns(), 10**9)
    return f"{_second(seconds)}.{rest_ns // 1000:06d}Z"


def _line(method: str, event: EventDict) -> str:
    """Level, time and JSON in one step."""
    event["level"] = "error" if method == "exception" else method
    event["timestamp"] = _timestamp()
    if "exc_info" in event:
        event = format_exc_info(None, method, event)
    return _encode(event) + "\n"


def _writing(file: RotatingFile, level: int) -> type[BindableLogger]:
    """structlog's logger without its chain of processors: there is a line for each request, and the chain takes twice
    as long as the line."""

    class Journal(structlog.make_filtering_bound_logger(level)):  # type: ignore[misc]
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **event_kw: Any) -> None:
            file.write(_line(method_name, {**self._context, **event_kw, "event": event}))

    return Journal


def open_journal(path: Path, settings: LogSettings) -> None:
    """Sends structlog and the standard library's logging to the file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = RotatingFile(path)
    level = getattr(logging, settings.level.upper())
    structlog.configure(processors=[], wrapper_class=_writing(file, level), cache_logger_on_first_use=True)
    logging.basicConfig(stream=file, level=max(level, logging.WARNING), format="%(asctime)s %(name)s %(message)s")
    # Its one warning repeats the subprotocols that a client offers, among which may be its key.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)
