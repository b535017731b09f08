"""Loaded by the interpreter of a daemon under test (PYTHONPATH), and by nothing else.

It adds one thing to the installed roost: on SIGUSR2 the number of its tasks is written to a file. Where SOAK_DEFECT
names one, a defect is planted too.
"""

import asyncio
import os
import pathlib
import signal
import sys


def _tell_tasks(number, frame):
    pathlib.Path(os.environ["SOAK_TASKS"]).write_text(f"{len(asyncio.all_tasks())}\n")


if "SOAK_TASKS" in os.environ and sys.argv[1:2] == ["up"]:
    signal.signal(signal.SIGUSR2, _tell_tasks)

if os.environ.get("SOAK_DEFECT") and sys.argv[1:2] == ["up"]:
    import planted

    planted.plant(os.environ["SOAK_DEFECT"])
