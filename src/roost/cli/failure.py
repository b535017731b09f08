"""What an error looks like on a terminal, and the exit codes."""

from __future__ import annotations

from roost.errors import BadConfiguration, RoostError

DONE = 0
FAILED = 1
USAGE = 2
BAD_CONFIGURATION = 78
INTERRUPTED = 130


class NotThere(RoostError):
    """A model or the daemon did not become what the command waits for."""


def sentences(error: Exception) -> list[str]:
    """The lines for standard error: the sentence, then one line a problem. Never a traceback."""
    if isinstance(error, BadConfiguration):
        listed = [problem for problem in error.problems if problem not in error.message]
        return [f"error: {error.message}", *(f"  - {problem}" for problem in listed)]
    if isinstance(error, RoostError):
        return [f"error: {error.message}"]
    if isinstance(error, OSError):
        return [f"error: {_system_error(error)}"]
    return [
        f"error: roost met something it does not know: {type(error).__name__}: {error}",
        "  run it again with ROOST_TRACEBACK=1 to see where, and report that",
    ]


def exit_code(error: Exception) -> int:
    return BAD_CONFIGURATION if isinstance(error, BadConfiguration) else FAILED


def _system_error(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"cannot use {error.filename}: {reason}" if error.filename else f"the system refused: {reason}"
