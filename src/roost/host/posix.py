"""What Linux and macOS answer alike, through psutil."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import psutil

from roost.host.types import MemoryReading, Usage

#: Gone, not ours to see, or no descriptor free to look with: then nothing is known of a process.
_UNKNOWN = (psutil.Error, OSError)


class PosixHost:
    """The common half of `Host`; linux.py and darwin.py add what differs."""

    #: getsockopt arguments that tell who listens at the other end of a unix socket.
    peer_option: tuple[int, int, int] = (0, 0, 0)

    def command_line(self, pid: int) -> tuple[str, ...]:
        try:
            return tuple(psutil.Process(pid).cmdline())
        except _UNKNOWN:
            return ()

    def tree(self, pid: int) -> tuple[int, ...]:
        try:
            children = psutil.Process(pid).children(recursive=True)
        except _UNKNOWN:
            return ()
        return (pid, *(child.pid for child in children))

    def usage(self, pids: Iterable[int]) -> Usage:
        cpu_s, resident_bytes, io_bytes = 0.0, 0, 0
        for pid in pids:
            try:
                process = psutil.Process(pid)
                times = process.cpu_times()
                cpu_s += times.user + times.system
                resident_bytes += process.memory_info().rss
                io_bytes += self._io_bytes(process)
            except _UNKNOWN:
                continue
        return Usage(cpu_s, resident_bytes, io_bytes)

    def _io_bytes(self, process: psutil.Process) -> int:
        return 0

    def is_stopped(self, pid: int) -> bool:
        try:
            return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except _UNKNOWN:
            return False

    def unix_listener(self, path: Path) -> int | None:
        level, option, size = self.peer_option
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
                raw = probe.getsockopt(level, option, size)
            except OSError:
                return None
        pid = int(struct.unpack_from("i", raw)[0])
        return pid or None

    def tcp_listeners(self, port: int, pids: Iterable[int]) -> tuple[int, ...]:
        return tuple(pid for pid in pids if self._listens(pid, port))

    def _listens(self, pid: int, port: int) -> bool:
        try:
            connections = psutil.Process(pid).net_connections("inet")
        except _UNKNOWN:
            return False
        return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections if c.laddr)

    def tcp_owner(self, port: int) -> int | None:
        try:
            connections = psutil.net_connections("tcp")
        except _UNKNOWN:  # macOS shows other users' sockets to root only
            return None
        found = (c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port)
        return next(found, None)

    def in_container(self, container_id: str) -> tuple[int, ...]:
        # Containers of a Mac run in a virtual machine, whose processes this kernel does not know.
        return ()

    def memory(self) -> MemoryReading:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return MemoryReading(memory.total, memory.available, swap.used, swap.sout)
