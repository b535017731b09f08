"""The entry point, and the CLI's border: what goes wrong below becomes a sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 78 bad configuration, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from roost.cli.failure import FAILED, INTERRUPTED, exit_code, sentences

#: Set to anything, an error of ours that nobody foresaw shows where it happened.
TRACEBACK_VARIABLE = "ROOST_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        # Imported here so that Ctrl-C in the first tenths of a second is silent too.
        from roost.cli.app import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001  the CLI's border: whatever it is, people get a sentence
        return _report(error)


def _report(error: Exception) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in sentences(error)))
    return exit_code(error)


def _reader_gone() -> int:
    """`roost … | head` has what it wanted: keep the interpreter's last flush from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
