"""Linux: /proc tells everything."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from roost.host.listening import listening_inodes
from roost.host.posix import PosixHost
from roost.host.types import MappedFile, ProcessIdentity

PROC = Path("/proc")
#: Of a container's id, which has 64; a shorter text could be in any path.
_LEAST_ID_CHARACTERS = 32


def parse_start_ticks(stat_line: str) -> tuple[str, str]:
    """State letter and start time in clock ticks (fields 3 and 22 of /proc/PID/stat, proc(5)); the command in
    parentheses may hold spaces and parentheses itself."""
    fields = stat_line[stat_line.rindex(")") + 2 :].split()
    return fields[0], fields[19]


def parse_maps(text: str) -> tuple[MappedFile, ...]:
    """The files of /proc/PID/maps, each once."""
    found: dict[tuple[int, int], MappedFile] = {}
    for line in text.splitlines():
        parts = line.split(None, 5)
        if len(parts) < 6 or parts[4] == "0":
            continue
        major, minor = (int(number, 16) for number in parts[3].split(":"))
        device = os.makedev(major, minor)
        found[device, int(parts[4])] = MappedFile(device, int(parts[4]), parts[5])
    return tuple(found.values())


class LinuxHost(PosixHost):
    """This machine, when it runs Linux."""

    peer_option = (socket.SOL_SOCKET, socket.SO_PEERCRED if hasattr(socket, "SO_PEERCRED") else 17, 12)

    def __init__(self) -> None:
        self._boot_id = _read(PROC / "sys/kernel/random/boot_id").strip()

    def identity(self, pid: int) -> ProcessIdentity | None:
        try:
            line = (PROC / str(pid) / "stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, ticks = parse_start_ticks(line)
        return None if state in "ZX" else ProcessIdentity(pid, f"{self._boot_id}:{ticks}")

    def mapped_files(self, pid: int) -> tuple[MappedFile, ...] | None:
        return parse_maps(_read(PROC / str(pid) / "maps"))

    def tcp_listeners(self, port: int, pids: Iterable[int]) -> tuple[int, ...]:
        try:
            inodes = listening_inodes(port)
        except OSError:  # a kernel or sandbox without it
            return super().tcp_listeners(port, pids)
        return tuple(pid for pid in pids if inodes and _has_socket(pid, inodes))

    def with_nonce(self, nonce: str) -> tuple[int, ...]:
        wanted = f"ROOST_WORKER_NONCE={nonce}".encode()
        return tuple(pid for pid in psutil.pids() if wanted in _environment(pid))

    def in_container(self, container_id: str) -> tuple[int, ...]:
        """By the path of their control group, which every container engine names after the id."""
        if len(container_id) < _LEAST_ID_CHARACTERS:
            return ()
        return tuple(pid for pid in psutil.pids() if container_id in _read(PROC / str(pid) / "cgroup"))

    def _io_bytes(self, process: psutil.Process) -> int:
        try:
            counters = process.io_counters()
        except (psutil.Error, OSError):
            return 0
        return int(counters.read_chars + counters.write_chars)

    def chip(self) -> str:
        for line in _read(PROC / "cpuinfo").splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
        return os.uname().machine

    def is_apple_silicon(self) -> bool:
        return False


def _has_socket(pid: int, inodes: frozenset[int]) -> bool:
    """Whether one of these sockets is open in a process; False when it is gone or not ours to look into."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        return any(_link(entry) in wanted for entry in (PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # closed meanwhile
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # gone, or not ours to read
        return ""


def _environment(pid: int) -> list[bytes]:
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
