"""Advisory whole-file locks that end with the process."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int) -> bool:
    """Takes the exclusive lock of an open file; False when another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
