"""What tests of several rooms share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import psutil

from roost.store.types import ActivityRow
from roost.testing.wait import until_sync

ROOT = Path(__file__).resolve().parent.parent
#: Engine environments that `make test` prepares, reused from run to run.
CACHE = Path(os.environ.get("ROOST_TEST_CACHE") or Path.home() / ".cache/roost-test")
#: Real models that `make test` prepares.
MODELS = Path(os.environ.get("ROOST_TEST_MODELS") or Path.home() / ".cache/roost-models")


def activity_row(number: int) -> ActivityRow:
    """A finished request `r<number>` that arrived `number` seconds after a fixed time."""
    return ActivityRow(
        request_id=f"r{number}",
        at=1_790_000_000.0 + number,
        method="POST",
        route="/v1/chat/completions",
        requested="default",
        resolved="smol",
        node="here",
        worker_id="w1",
        worker_pid=4242,
        route_reason="resident",
        status=200,
        code=None,
        stream=False,
        ttft_s=0.01,
        duration_s=0.05,
        queued_s=None,
        prompt_tokens=12,
        completion_tokens=5,
        cached_tokens=0,
        bytes_in=100,
        bytes_out=200,
        finish_reason="stop",
        consumer=None,
        cause=None,
    )


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for a unix socket's 104 bytes, which pytest's does not on macOS."""
    with tempfile.TemporaryDirectory(prefix="rt-", dir="/tmp") as folder:
        yield Path(folder)


@contextmanager
def stand_in_process(*flags: str, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A stand-in engine as a process of its own, killed with its group at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "roost.testing.engine", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL the process's whole group and reap it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.communicate()


def wait_for_socket(path: Path, timeout_s: float = 10.0) -> None:
    until_sync(path.exists, timeout_s=timeout_s, what=f"the socket {path}")


@asynccontextmanager
async def unix_session(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of a server on a unix socket; any host name does."""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)), base_url="http://stand-in") as session:
        yield session


def process_lives(pid: int) -> bool:
    """Whether a process with this id exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
