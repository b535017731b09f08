"""The event loop's own troubles in the journal."""

from __future__ import annotations

import asyncio
import errno
import resource
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from structlog.testing import capture_logs

from roost.daemon.loop_errors import LoopErrors
from roost.host.open_files import raise_open_files_limit


class Loop(asyncio.SelectorEventLoop):
    """Keeps what is handed on to asyncio's own handler."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_on: list[dict[str, Any]] = []

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.handed_on.append(context)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as made:
        yield made


def test_connections_that_find_no_descriptor_are_one_line_a_minute(loop: Loop) -> None:
    clock = [100.0]
    handler = LoopErrors(lambda: clock[0])
    with capture_logs() as lines:
        for _ in range(200):
            handler(loop, {"exception": OSError(errno.EMFILE, "Too many open files")})
        clock[0] += 60
        handler(loop, {"exception": OSError(errno.ENFILE, "Too many open files in system")})
    assert len(lines) == 2 and not loop.handed_on


def test_every_other_trouble_goes_the_usual_way(loop: Loop) -> None:
    for context in ({"exception": ValueError("x")}, {"exception": OSError(errno.EPIPE, "x")}, {"message": "x"}):
        LoopErrors()(loop, context)
    assert len(loop.handed_on) == 3


def test_the_soft_limit_of_open_files_is_raised_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 512:
        pytest.skip("the hard limit leaves no room")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert raise_open_files_limit() == min(65_536, hard)
        assert raise_open_files_limit() >= min(65_536, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
