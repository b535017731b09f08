"""How many files and connections this process may have open at once."""

from __future__ import annotations

import contextlib
import resource

#: Each idle client takes one. Shells give 1,024 on Linux and 256 on macOS, and far more on request.
WANTED = (65_536, 10_240)


def raise_open_files_limit() -> int:
    """Raises the soft limit as far as the hard one allows without asking anybody; returns what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in WANTED:
        if soft >= wanted:
            break
        # macOS says "no limit" and takes no more than a limit of its own: then the smaller one is tried.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
