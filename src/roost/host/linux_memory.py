"""Memory on Linux: /proc, cgroups of both versions, PSI. Parsers are pure; `LinuxMemory` reads what they parse."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from roost.host.gpus import all_gpus
from roost.host.memory_types import (
    Ceiling,
    Gpu,
    HostMemory,
    Pressure,
    ProcessMemory,
    SensorFailed,
    Swap,
    UnreadableGpu,
)

#: A limit of at least so much is no limit (cgroup v1 writes 2**63 cut to pages).
_NO_LIMIT = 2**60
#: What each version of cgroups keeps in a group's folder: limits, and what is used with what of it can be dropped.
LIMIT_FILES = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
USAGE_FILES = {1: ("memory.usage_in_bytes", "memory.stat"), 2: ("memory.current", "memory.stat")}


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name; lines without `kB` are counts and left out."""
    fields = (line.split() for line in text.splitlines())
    return {parts[0].rstrip(":"): int(parts[1]) * 1024 for parts in fields if len(parts) == 3 and parts[2] == "kB"}


def parse_counters(text: str) -> dict[str, int]:
    """`name number` a line, as /proc/vmstat and memory.stat have them."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def parse_pressure(text: str) -> Pressure:
    """/proc/pressure/memory."""
    shares: dict[str, float] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        values = dict(item.split("=", 1) for item in rest.split() if "=" in item)
        if "avg10" in values:
            shares[kind] = float(values["avg10"])
    return Pressure(shares.get("some"), shares.get("full"))


def parse_status(pid: int, text: str) -> ProcessMemory:
    """/proc/PID/status. A kernel thread or a zombie has no sizes: all zero."""
    sizes = parse_meminfo(text)
    anonymous, shared = sizes.get("RssAnon", 0), sizes.get("RssShmem", 0)
    return ProcessMemory(
        pid=pid,
        private_bytes=anonymous + shared,
        resident_bytes=sizes.get("VmRSS", 0),
        peak_bytes=sizes.get("VmHWM", 0),
        swapped_bytes=sizes.get("VmSwap", 0),
    )


@dataclass(frozen=True)
class Cgroup:
    """Where the memory controller has this process: a mounted hierarchy and the path in it."""

    version: int
    mount: Path
    path: str

    def folders(self) -> list[Path]:
        """The group and every ancestor: a limit of any of them holds."""
        parts = [part for part in self.path.split("/") if part not in ("", ".", "..")]
        return [self.mount.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def parse_cgroups(own: str, mounts: str) -> tuple[Cgroup, ...]:
    """From /proc/self/cgroup and /proc/self/mountinfo; each memory hierarchy that is mounted."""
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in own.splitlines() if line.count(":") >= 2}
    found = []
    for line in mounts.splitlines():
        fields, _, kind = (part.split() for part in line.partition(" - "))
        if len(fields) < 5 or not kind:
            continue
        root, mount = fields[3], Path(fields[4].encode().decode("unicode_escape"))
        if kind[0] == "cgroup2" and "" in paths:
            found.append(Cgroup(2, mount, _below(root, paths[""])))
        elif kind[0] == "cgroup" and "memory" in kind[-1].split(","):
            named = next((path for names, path in paths.items() if "memory" in names.split(",")), None)
            if named is not None:
                found.append(Cgroup(1, mount, _below(root, named)))
    return tuple(found)


def _below(root: str, path: str) -> str:
    """In a container the mount shows a part of the hierarchy; paths are told from its top."""
    return path.removeprefix(root) if root != "/" and path.startswith(root) else path


def cgroup_ceiling(version: int, name: str, files: Mapping[str, str], total_bytes: int) -> Ceiling | None:
    """The limit of one group from its files' texts; None: it has none below the machine's memory."""
    limit = limit_of({file: files.get(file, "") for file in LIMIT_FILES[version]}, total_bytes)
    if limit is None:
        return None
    used_name, cache_name = USAGE_FILES[version][0], "inactive_file" if version == 2 else "total_inactive_file"
    used = _number(files.get(used_name, "")) or 0
    droppable = parse_counters(files.get("memory.stat", "")).get(cache_name, 0)
    return Ceiling(f"cgroup {name}", limit, max(limit - used + min(droppable, used), 0))


def limit_of(files: Mapping[str, str], total_bytes: int) -> int | None:
    """The lower of the limits in these files; None: there is none below the machine's memory."""
    limit = min((number for text in files.values() if (number := _number(text)) is not None), default=None)
    return None if limit is None or limit >= min(_NO_LIMIT, total_bytes) else limit


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


class LinuxMemory:
    """`MemorySensor` of Linux. `proc`: another folder in tests."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._sys = sys
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._own_cgroups: tuple[str, tuple[Cgroup, ...]] | None = None

    def memory(self) -> HostMemory:
        sizes = parse_meminfo(self._need("meminfo"))
        if "MemTotal" not in sizes or "MemAvailable" not in sizes:
            raise SensorFailed(f"{self._proc}/meminfo names no MemTotal and MemAvailable")
        total = sizes["MemTotal"]
        return HostMemory(
            total,
            sizes["MemAvailable"],
            self._swap(sizes.get("SwapTotal", 0) - sizes.get("SwapFree", 0)),
            parse_pressure(_read(self._proc / "pressure/memory")),
            tuple(self._ceilings(total)),
        )

    def process(self, pid: int) -> ProcessMemory | None:
        try:
            text = (self._proc / str(pid) / "status").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError as error:
            raise SensorFailed(f"cannot read the memory of process {pid}: {error.strerror}") from error
        return parse_status(pid, text)

    def gpus(self) -> tuple[Gpu | UnreadableGpu, ...]:
        return all_gpus(self._sys, self.memory())

    def cpu(self) -> tuple[str, frozenset[str]]:
        lines = _read(self._proc / "cpuinfo").splitlines()
        flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
        return os.uname().machine, frozenset(flags.split())

    def _swap(self, used_bytes: int) -> Swap:
        """Sandboxes keep no vmstat: there, that more is used is all that shows swapping."""
        moved = parse_counters(_read(self._proc / "vmstat"))
        if "pswpout" not in moved:
            return Swap(used_bytes, out_bytes=used_bytes)
        return Swap(used_bytes, moved.get("pswpin", 0) * self._page_bytes, moved["pswpout"] * self._page_bytes)

    def _ceilings(self, total_bytes: int) -> Iterable[Ceiling]:
        for group in self._cgroups():
            for folder in group.folders():
                limits = {name: _read(folder / name) for name in LIMIT_FILES[group.version]}
                if limit_of(limits, total_bytes) is None:
                    continue
                files = limits | {name: _read(folder / name) for name in USAGE_FILES[group.version]}
                name = "/" + str(folder.relative_to(group.mount)).removeprefix(".")
                if ceiling := cgroup_ceiling(group.version, name, files, total_bytes):
                    yield ceiling

    def _cgroups(self) -> tuple[Cgroup, ...]:
        """Mounts are looked at anew when we were moved to another group."""
        own = _read(self._proc / "self/cgroup")
        if self._own_cgroups is None or self._own_cgroups[0] != own:
            self._own_cgroups = (own, parse_cgroups(own, _read(self._proc / "self/mountinfo")))
        return self._own_cgroups[1]

    def _need(self, name: str) -> str:
        try:
            return (self._proc / name).read_text(errors="replace")
        except OSError as error:
            raise SensorFailed(f"cannot read {self._proc / name}: {error.strerror}") from error


def _read(path: Path) -> str:
    """What a file says; nothing where it is not there or not ours to read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
