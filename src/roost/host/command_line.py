"""Changing the command line that others see of this process. Standard library only: launchers use it in an engine's
interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

#: Fields 48 and 49 of /proc/PID/stat (proc(5)), counted from the third, which follows the name in parentheses.
ARG_START, ARG_END = 48 - 3, 49 - 3


def replace_command_line(argv: Sequence[str]) -> bool:
    """Writes these arguments over those that the process was started with, and blanks over the rest. False when they
    take more room, or the system offers no way (macOS): then nothing is changed."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[ARG_START]), int(fields[ARG_END])
        raw = command_line_bytes(argv, end - start)
        if raw is None:
            return False
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            return os.pwrite(memory.fileno(), raw, start) == len(raw)
    except OSError:
        return False


def command_line_bytes(argv: Sequence[str], size: int) -> bytes | None:
    """Each argument with its NUL, then one of blanks that fills the rest; None: there is no room."""
    raw = b"".join(os.fsencode(part) + b"\0" for part in argv)
    rest = size - len(raw)
    if rest < 0:
        return None
    return raw + (b" " * (rest - 1) + b"\0" if rest else b"")
