"""One daemon a state folder."""

from __future__ import annotations

import os
from pathlib import Path

from roost.errors import RoostError
from roost.host.locks import try_lock


class AlreadyRunning(RoostError):
    code = "already_running"


class DaemonLock:
    """Held for the daemon's life; the kernel lets go of it however the daemon ends."""

    def __init__(self, path: Path) -> None:
        """Raises AlreadyRunning naming the pid of the holder."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not try_lock(self._descriptor):
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise AlreadyRunning(f'cannot start: already running as pid {holder}; see "roost status" or "roost down"')
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)
