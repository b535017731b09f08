"""What the machine answers when no descriptor is free: unknown, never an end of the world."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from roost.host.this import this_host

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux looks into /proc for everything")


@contextmanager
def no_descriptor_free() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_measurement_without_a_descriptor_is_empty_and_not_an_error() -> None:
    host, pid = this_host(), os.getpid()
    with no_descriptor_free():
        usage, tree = host.usage([pid]), host.tree(pid)
        command, stopped, listeners = host.command_line(pid), host.is_stopped(pid), host.tcp_listeners(1, [pid])
    assert (usage.cpu_s, tree, command, stopped, listeners) == (0.0, (), (), False, ())


def test_a_process_that_cannot_be_looked_at_is_not_taken_for_dead() -> None:
    host, pid = this_host(), os.getpid()
    with no_descriptor_free(), pytest.raises(OSError, match="Too many open files"):
        host.identity(pid)
    assert host.identity(pid) is not None
