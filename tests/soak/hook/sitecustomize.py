"""Loaded by the interpreter of a daemon under test (PYTHONPATH), and by nothing else.

It adds one thing to the installed roost: on SIGUSR2 what its tasks run is written to a file. Where SOAK_DEFECT
names one, a defect is planted too.
"""

import asyncio
import os
import pathlib
import signal
import sys


def _tell_tasks(number, frame):
    doing = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())
    whole = pathlib.Path(os.environ["SOAK_TASKS"])
    part = whole.with_name("tasks-part")
    part.write_text("\n".join(doing))
    part.replace(whole)


if "SOAK_TASKS" in os.environ and sys.argv[1:2] == ["up"]:
    signal.signal(signal.SIGUSR2, _tell_tasks)

if os.environ.get("SOAK_DEFECT") and sys.argv[1:2] == ["up"]:
    import planted

    planted.plant(os.environ["SOAK_DEFECT"])
