"""A process that changes what others see of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from roost.host import command_line

PROGRAM = f"""
import sys
sys.path.append({str(Path(command_line.__file__).parents[2])!r})
from roost.host.command_line import replace_command_line
print(replace_command_line(["python", "a folder"]), replace_command_line(["x" * 10_000]), flush=True)
sys.stdin.read()
"""


@contextmanager
def running_program() -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-I", "-c", PROGRAM, " " * 200]
    environment = {"ROOST_WORKER_NONCE": "abc", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux offers a way")
def test_others_see_the_new_arguments_and_the_environment_is_untouched() -> None:
    with running_program() as process:
        assert process.stdout and process.stdout.readline().split() == ["True", "False"]
        seen = psutil.Process(process.pid)
        first, second, rest = seen.cmdline()
        assert (first, second, rest.strip()) == ("python", "a folder", "")
        assert seen.environ()["ROOST_WORKER_NONCE"] == "abc"
