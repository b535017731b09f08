"""What the event loop says about trouble of its own, kept from drowning the journal."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from typing import Any

import structlog

#: asyncio tells of each connection that it could not take, hundreds of times a second and with a traceback.
REPEAT_AFTER_S = 60.0
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)

log = structlog.get_logger(__name__)


class LoopErrors:
    """The loop's exception handler: connections that find no free descriptor are one line a minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told_at: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_FILES:
            loop.default_exception_handler(context)
        elif self._told_at is None or self._now() - self._told_at >= REPEAT_AFTER_S:
            self._told_at = self._now()
            log.error("connections wait", why=error.strerror, mend="close idle clients, or raise `ulimit -n`")
