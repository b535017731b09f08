"""macOS, kept thin: never run by this project's own tests; its parsers are pure functions tested on recorded text."""

from __future__ import annotations

import os
import subprocess

import psutil

from roost.host.posix import PosixHost
from roost.host.types import MappedFile, ProcessIdentity

#: sys/un.h: SOL_LOCAL and LOCAL_PEERPID.
SOL_LOCAL, LOCAL_PEERPID = 0, 2


def parse_lsof_mapped(text: str) -> tuple[MappedFile, ...]:
    """Mapped files of `lsof -p PID -a -d txt -F fDin`: one field a line, `f` opens an entry."""
    entries: list[dict[str, str]] = []
    for line in text.splitlines():
        if line.startswith("f"):
            entries.append({})
        elif entries and line:
            entries[-1][line[0]] = line[1:]
    return tuple(
        MappedFile(int(entry["D"], 16), int(entry["i"]), entry.get("n", ""))
        for entry in entries
        if "D" in entry and entry.get("i", "").isdigit()
    )


def parse_ps_environment(text: str, wanted: str) -> tuple[int, ...]:
    """Pids of `ps -axEww -o pid=,command=` whose environment holds `wanted`."""
    found = []
    for line in text.splitlines():
        pid, _, rest = line.strip().partition(" ")
        if pid.isdigit() and wanted in rest.split():
            found.append(int(pid))
    return tuple(found)


class DarwinHost(PosixHost):
    """This machine, when it runs macOS."""

    peer_option = (SOL_LOCAL, LOCAL_PEERPID, 4)

    def identity(self, pid: int) -> ProcessIdentity | None:
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return ProcessIdentity(pid, f"{process.create_time():.6f}")
        except psutil.Error:
            return None

    def mapped_files(self, pid: int) -> tuple[MappedFile, ...] | None:
        output = _output("lsof", "-p", str(pid), "-a", "-d", "txt", "-F", "fDin")
        return parse_lsof_mapped(output) if output else None

    def with_nonce(self, nonce: str) -> tuple[int, ...]:
        return parse_ps_environment(_output("ps", "-axEww", "-o", "pid=,command="), f"ROOST_WORKER_NONCE={nonce}")

    def chip(self) -> str:
        return _output("sysctl", "-n", "machdep.cpu.brand_string").strip() or os.uname().machine

    def is_apple_silicon(self) -> bool:
        return os.uname().machine == "arm64"


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
