"""Who listens on a port, asked of the real kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys

import pytest

from roost.host import linux
from roost.host.listening import listening_inodes, parse_answer
from roost.host.this import this_host

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sock_diag is Linux's")


def listening(family: int = socket.AF_INET, address: str = "127.0.0.1") -> socket.socket:
    """Closed by whoever asked for it."""
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen()
    return listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")])
def test_a_listener_is_found_by_its_port(family: int, address: str) -> None:
    with listening(family, address) as listener:
        assert listening_inodes(port_of(listener)) == {os.fstat(listener.fileno()).st_ino}
        assert this_host().tcp_listeners(port_of(listener), [1, os.getpid()]) == (os.getpid(),)


def test_a_connection_is_no_listener() -> None:
    with listening() as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert not listening_inodes(port_of(client))
            assert len(listening_inodes(port_of(listener))) == 1
            # The accepted end has the listener's port too.
            listener.close()
            assert not this_host().tcp_listeners(int(accepted.getsockname()[1]), [os.getpid()])


def test_the_process_that_listens_is_told_from_its_parent() -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert this_host().tcp_listeners(port, [os.getpid(), child.pid]) == (child.pid,)
        child.communicate("\n")
    assert this_host().tcp_listeners(port, [os.getpid(), child.pid]) == ()


def test_more_listeners_than_one_answer_holds_are_all_looked_at() -> None:
    listeners = [listening() for _ in range(700)]
    try:
        for listener in listeners[::233]:
            assert listening_inodes(port_of(listener)) == {os.fstat(listener.fileno()).st_ino}
    finally:
        for listener in listeners:
            listener.close()


def test_without_the_question_the_slow_way_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(port: int) -> frozenset[int]:
        raise OSError(errno.EPROTONOSUPPORT, "no such family")

    monkeypatch.setattr(linux, "listening_inodes", refused)
    with listening() as listener:
        assert this_host().tcp_listeners(port_of(listener), [os.getpid()]) == (os.getpid(),)


def test_an_error_of_the_kernel_and_an_answer_of_another_shape_are_errors() -> None:
    refusal = struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -errno.EPERM) + bytes(16)
    with pytest.raises(PermissionError):
        parse_answer(refusal, 1)
    with pytest.raises(OSError, match="another shape"):
        parse_answer(struct.pack("=IHHII", 16, 20, 0, 1, 0), 1)
