"""Values that describe this machine and its processes, and the one interface behind which OS code lives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid.

    `started` is the kernel's own start stamp as text (Linux: boot id and clock ticks, immune to clock jumps).
    """

    pid: int
    started: str


@dataclass(frozen=True)
class MappedFile:
    device: int
    inode: int
    path: str


@dataclass(frozen=True)
class Usage:
    """What a tree of processes has used so far."""

    cpu_s: float
    resident_bytes: int
    #: Bytes read and written; 0 where the OS does not tell.
    io_bytes: int = 0


@dataclass(frozen=True)
class MemoryReading:
    total_bytes: int
    available_bytes: int
    swap_used_bytes: int
    #: Bytes swapped out since boot; None where unknown.
    swapped_out_bytes: int | None


class Host(Protocol):
    """Questions about this machine. Everything answers from the kernel, at once."""

    def identity(self, pid: int) -> ProcessIdentity | None:
        """None when no such process lives (a zombie counts as dead). Raises OSError when that cannot be told now, as
        when no descriptor is free."""
        ...

    def command_line(self, pid: int) -> tuple[str, ...]: ...

    def tree(self, pid: int) -> tuple[int, ...]:
        """The pid and all its living descendants."""
        ...

    def usage(self, pids: Iterable[int]) -> Usage: ...

    def is_stopped(self, pid: int) -> bool:
        """Held by SIGSTOP or a debugger."""
        ...

    def mapped_files(self, pid: int) -> tuple[MappedFile, ...] | None:
        """Files mapped into memory; None when the OS cannot tell."""
        ...

    def unix_listener(self, path: Path) -> int | None:
        """Pid of the process that listens on this unix socket; None: nobody."""
        ...

    def tcp_listeners(self, port: int, pids: Iterable[int]) -> tuple[int, ...]:
        """Which of these processes listen on this TCP port."""
        ...

    def tcp_owner(self, port: int) -> int | None:
        """Whoever listens on this TCP port, as far as one may see."""
        ...

    def with_nonce(self, nonce: str) -> tuple[int, ...]:
        """Processes that carry ROOST_WORKER_NONCE=nonce in their environment."""
        ...

    def in_container(self, container_id: str) -> tuple[int, ...]:
        """Processes of the container with this full id; empty where the kernel does not tell (another machine's, a
        virtual machine's, macOS)."""
        ...

    def memory(self) -> MemoryReading: ...

    def chip(self) -> str: ...

    def is_apple_silicon(self) -> bool: ...
