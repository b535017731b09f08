"""Memory on macOS, kept thin: never run by this project's own tests; its parsers are pure, tested on recorded text."""

from __future__ import annotations

import ctypes
import re
import struct
import subprocess
from typing import Literal

from roost.host.memory_types import (
    Ceiling,
    Gpu,
    GpuKind,
    HostMemory,
    Pressure,
    ProcessMemory,
    SensorFailed,
    Swap,
    UnreadableGpu,
)

_MIB = 2**20
_TIMEOUT_S = 5.0
_SYSCTLS = (
    "hw.memsize",
    "iogpu.wired_limit_mb",
    "vm.swapusage",
    "kern.memorystatus_vm_pressure_level",
    "machdep.cpu.brand_string",
)
#: `iogpu.wired_limit_mb` 0 means the system's own choice: about two thirds of small machines, three quarters of large.
_SMALL_MACHINE_BYTES = 36 * 2**30
#: sys/resource.h: RUSAGE_INFO_V4, a uuid of 16 bytes and then these numbers of 64 bits.
_RUSAGE_INFO_V4 = 4
_RUSAGE_BYTES = 16 + 35 * 8
_RESIDENT, _FOOTPRINT, _PEAK_FOOTPRINT = 6, 7, 27


def parse_sysctl(text: str) -> dict[str, str]:
    """`name: value` a line."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name: value.strip() for name, separator, value in pairs if separator}


def parse_swap_usage(text: str) -> int:
    """Bytes used, of `total = 2048.00M  used = 100.25M  free = 1947.75M  (encrypted)`."""
    found = re.search(r"used = ([\d.]+)([KMG])", text)
    if not found:
        raise SensorFailed(f"cannot read vm.swapusage: {text[:80]!r}")
    return round(float(found[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[found[2]])


def parse_vm_stat(text: str) -> dict[str, int]:
    """Bytes by name, of `vm_stat`: the first line tells the page size, counters of events are bytes of pages too."""
    size = re.search(r"page size of (\d+) bytes", text)
    if not size:
        raise SensorFailed(f"cannot read vm_stat: {text[:80]!r}")
    pairs = re.findall(r'^"?([^":]+)"?:\s+(\d+)\.?$', text, re.MULTILINE)
    return {name: int(count) * int(size[1]) for name, count in pairs}


def wired_limit(total_bytes: int, limit_mb: int) -> int:
    """What the GPU may have wired at most."""
    if limit_mb:
        return min(limit_mb * _MIB, total_bytes)
    return total_bytes * 2 // 3 if total_bytes <= _SMALL_MACHINE_BYTES else total_bytes * 3 // 4


def host_memory(sysctl: dict[str, str], vm_stat: dict[str, int]) -> HostMemory:
    """One reading from what the two programs say. Raises SensorFailed."""
    try:
        total = int(sysctl["hw.memsize"])
        limit = Ceiling("wired limit", wired_limit(total, int(sysctl.get("iogpu.wired_limit_mb", "0"))))
        return HostMemory(
            total_bytes=total,
            # Speculative and purgeable pages are counted in these already; compression is nothing to plan with.
            available_bytes=vm_stat["Pages free"] + vm_stat["Pages inactive"],
            swap=Swap(parse_swap_usage(sysctl["vm.swapusage"]), vm_stat.get("Swapins", 0), vm_stat.get("Swapouts", 0)),
            pressure=Pressure(level=_level(sysctl.get("kern.memorystatus_vm_pressure_level"))),
            compressed_bytes=vm_stat.get("Pages occupied by compressor"),
            gpu_ceiling=limit,
        )
    except (KeyError, ValueError) as error:
        raise SensorFailed(f"cannot read this machine's memory: {error}") from error


def _level(text: str | None) -> Literal[1, 2, 4] | None:
    levels: dict[str | None, Literal[1, 2, 4]] = {"1": 1, "2": 2, "4": 4}
    return levels.get(text)


def parse_rusage(pid: int, raw: bytes) -> ProcessMemory:
    """rusage_info_v4 as the kernel fills it."""
    numbers = struct.unpack_from("<35Q", raw, 16)
    return ProcessMemory(pid, numbers[_FOOTPRINT], numbers[_RESIDENT], numbers[_PEAK_FOOTPRINT])


class DarwinMemory:
    """`MemorySensor` of macOS."""

    def memory(self) -> HostMemory:
        return host_memory(self._sysctl(), parse_vm_stat(_output("vm_stat")))

    def process(self, pid: int) -> ProcessMemory | None:
        raw = ctypes.create_string_buffer(_RUSAGE_BYTES)
        library = ctypes.CDLL("libproc.dylib", use_errno=True)
        if library.proc_pid_rusage(pid, _RUSAGE_INFO_V4, raw) != 0:
            return None
        return parse_rusage(pid, raw.raw)

    def gpus(self) -> tuple[Gpu | UnreadableGpu, ...]:
        """One on Apple silicon, in the host's memory below the wired limit."""
        memory = self.memory()
        chip = self._sysctl().get("machdep.cpu.brand_string", "")
        if not chip.startswith("Apple") or memory.gpu_ceiling is None:
            return ()
        total, free = memory.gpu_ceiling.limit_bytes, memory.available_bytes
        return (Gpu(chip, chip, 0, GpuKind.SHARED, total, min(total, free)),)

    def cpu(self) -> tuple[str, frozenset[str]]:
        return _output("uname", "-m").strip(), frozenset()

    def _sysctl(self) -> dict[str, str]:
        return parse_sysctl(_output("sysctl", *_SYSCTLS))


def _output(*argv: str) -> str:
    """A name that a machine lacks is left out of the output and is no failure."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorFailed(f"cannot run {argv[0]}: {error}") from error
