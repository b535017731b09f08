"""What the C library keeps of freed memory. Standard library only: launchers of engines import it too."""

import contextlib
import ctypes


def give_back() -> None:
    """To the system, as far as whole pages are free; glibc alone keeps so much, and has a way to say it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
