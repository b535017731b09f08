"""Control groups of our own, below the one that a service manager delegated to us (Linux, cgroup v2)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from roost.host.linux_memory import parse_cgroups

#: Where the daemon itself goes: a group with groups below it may hold no process.
_DAEMON = "daemon"
_NEEDED = ("cgroup.procs", "cgroup.subtree_control")


@dataclass(frozen=True)
class ControlGroups:
    """The folder of a delegated group that holds our own process alone."""

    folder: Path

    def prepare(self) -> bool:
        """Makes place for the groups of workers. False: the kernel did not let us."""
        try:
            (self.folder / _DAEMON).mkdir(exist_ok=True)
            (self.folder / _DAEMON / "cgroup.procs").write_text(str(os.getpid()))
            (self.folder / "cgroup.subtree_control").write_text("+memory")
        except OSError:
            return False
        return True

    def limit(self, name: str, limit_bytes: int) -> Path | None:
        """A group with this limit, made or changed: who writes its pid to its `cgroup.procs` is in it, with all that it
        starts from then on. None: the kernel did not let us."""
        group = self.folder / name
        try:
            group.mkdir(exist_ok=True)
            (group / "memory.max").write_text(str(limit_bytes))
            for file, text in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):  # a kernel without swap accounting has no such file
                    (group / file).write_text(text)
        except OSError:
            return None
        return group

    def holds_somebody(self, name: str) -> bool:
        """Whether a process is in it."""
        try:
            return bool((self.folder / name / "cgroup.procs").read_text().strip())
        except OSError:
            return False

    def drop(self, name: str) -> None:
        """Once nothing of the worker is left."""
        with contextlib.suppress(OSError):
            (self.folder / name).rmdir()


def delegated_groups(proc: Path = Path("/proc"), own_pids: Iterable[int] | None = None) -> ControlGroups | None:
    """None where the group is not ours to divide: no cgroup v2, no memory controller, not writable, or others live in
    it. `own_pids`: our own process."""
    try:
        cgroups = parse_cgroups((proc / "self/cgroup").read_text(), (proc / "self/mountinfo").read_text())
        group = next((found for found in cgroups if found.version == 2), None)
        if group is None or group.path.strip("/") == "":
            return None
        folder = group.folders()[0]
        ours = set(own_pids if own_pids is not None else (os.getpid(),))
        if not all(os.access(folder / name, os.W_OK) for name in _NEEDED) or not os.access(folder, os.W_OK):
            return None
        controllers = (folder / "cgroup.controllers").read_text().split()
        present = {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
    except (OSError, ValueError):
        return None
    return ControlGroups(folder) if "memory" in controllers and present <= ours else None
