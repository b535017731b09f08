"""This machine's own memory, and machines made of files."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import psutil
import pytest

from roost.host.bandwidth import measured_bandwidth
from roost.host.gpus import amd_gpus
from roost.host.linux_memory import LinuxMemory
from roost.host.memory_types import Ceiling, Gpu, GpuKind, SensorFailed
from roost.host.nvml import read_gpus
from roost.host.this import this_memory

MIB = 2**20
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_this_machine_has_memory() -> None:
    reading = this_memory().memory()
    assert reading.total_bytes == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert 0 < reading.available_bytes < reading.total_bytes
    assert reading.swap.used_bytes >= 0


def test_a_process_that_takes_memory_shows_it_and_its_peak_stays() -> None:
    sensor, pid = this_memory(), os.getpid()
    before = sensor.process(pid)
    taken = mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.write(b"x" * 64 * MIB)
    during = sensor.process(pid)
    taken.close()
    after = sensor.process(pid)
    assert before is not None
    assert during is not None
    assert after is not None
    assert during.private_bytes - before.private_bytes > 60 * MIB
    assert after.peak_bytes >= during.resident_bytes
    assert after.private_bytes < during.private_bytes


def test_a_process_that_is_gone_is_none() -> None:
    assert this_memory().process(2**22 + 1) is None


@linux
def test_a_cpu_tells_its_features() -> None:
    machine, features = this_memory().cpu()
    assert machine == os.uname().machine
    assert features


def test_memory_can_be_read_at_some_speed() -> None:
    assert measured_bandwidth(1) > 1e8


def test_without_a_driver_there_are_no_nvidia_gpus() -> None:
    assert read_gpus("libno-such-driver.so.1") is None


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def machine(root: Path, cgroup: Path) -> LinuxMemory:
    proc = write(
        root / "proc",
        {
            "meminfo": "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n",
            "vmstat": "pswpin 1\npswpout 2\n",
            "self/cgroup": "0::/outer/inner\n",
            "self/mountinfo": f"31 30 0:26 / {cgroup} rw - cgroup2 cgroup rw\n",
        },
    )
    return LinuxMemory(proc, root / "sys")


@linux
def test_the_limits_of_all_ancestors_are_read(tmp_path: Path) -> None:
    cgroup = write(
        tmp_path / "cgroup",
        {
            "outer/memory.max": str(512 * MIB),
            "outer/memory.current": str(100 * MIB),
            "outer/inner/memory.max": "max",
            "outer/inner/memory.high": str(256 * MIB),
            "outer/inner/memory.current": str(200 * MIB),
            "outer/inner/memory.stat": f"inactive_file {50 * MIB}\n",
        },
    )
    reading = machine(tmp_path, cgroup).memory()
    assert reading.ceilings == (
        Ceiling("cgroup /outer/inner", 256 * MIB, 106 * MIB),
        Ceiling("cgroup /outer", 512 * MIB, 412 * MIB),
    )
    assert reading.swap.out_bytes == 2 * os.sysconf("SC_PAGE_SIZE")


@linux
def test_a_machine_without_cgroups_and_pressure_is_read_all_the_same(tmp_path: Path) -> None:
    reading = machine(tmp_path, tmp_path / "nowhere").memory()
    assert (reading.ceilings, reading.pressure.some_percent) == ((), None)


@linux
def test_a_sandbox_without_counters_of_swapping_shows_it_by_what_is_used(tmp_path: Path) -> None:
    meminfo = "MemTotal: 4096 kB\nMemAvailable: 1024 kB\nSwapTotal: 512 kB\nSwapFree: {} kB\n"
    (tmp_path / "meminfo").write_text(meminfo.format(512))
    before = LinuxMemory(tmp_path).memory().swap
    (tmp_path / "meminfo").write_text(meminfo.format(500))
    after = LinuxMemory(tmp_path).memory().swap
    assert (before.out_bytes, after.out_bytes) == (0, 12 * 1024)


@pytest.mark.parametrize("meminfo", [None, "", "MemTotal: 5 kB\n"])
def test_a_kernel_that_does_not_answer_is_a_failed_sensor(tmp_path: Path, meminfo: str | None) -> None:
    sensor = machine(tmp_path, tmp_path)
    if meminfo is None:
        (tmp_path / "proc/meminfo").unlink()
    else:
        (tmp_path / "proc/meminfo").write_text(meminfo)
    with pytest.raises(SensorFailed):
        sensor.memory()


def test_amd_cards_are_found_in_sysfs(tmp_path: Path) -> None:
    write(
        tmp_path / "class/drm/card0/device",
        {
            "vendor": "0x1002\n",
            "unique_id": "abc\n",
            "mem_info_vram_total": f"{16 * 2**30}\n",
            "mem_info_vram_used": "0\n",
            "mem_info_gtt_total": "0\n",
            "mem_info_gtt_used": "0\n",
        },
    )
    write(tmp_path / "class/drm/card1/device", {"vendor": "0x8086\n"})
    (gpu,) = amd_gpus(tmp_path)
    assert isinstance(gpu, Gpu)
    assert (gpu.uuid, gpu.kind, gpu.free_bytes) == ("GPU-abc", GpuKind.OWN, 16 * 2**30)
