"""What kernels and drivers print of memory, as recorded text."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from roost.host.bandwidth import apple_bandwidth
from roost.host.darwin_memory import (
    host_memory,
    parse_rusage,
    parse_swap_usage,
    parse_sysctl,
    parse_vm_stat,
    wired_limit,
)
from roost.host.gpus import amd_gpu, integrated, parse_smi
from roost.host.linux_memory import (
    Cgroup,
    cgroup_ceiling,
    parse_cgroups,
    parse_counters,
    parse_meminfo,
    parse_pressure,
    parse_status,
)
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

GIB = 2**30
MIB = 2**20
MEMINFO = """\
MemTotal:       24683656 kB
MemFree:        20443048 kB
MemAvailable:   23118940 kB
SwapTotal:       2097148 kB
SwapFree:        2000000 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
STATUS = """\
Name:	python
State:	S (sleeping)
VmPeak:	 1186364 kB
VmHWM:	  335864 kB
VmRSS:	  335800 kB
RssAnon:	  221616 kB
RssFile:	  114184 kB
RssShmem:	      96 kB
VmSwap:	       8 kB
Threads:	9
"""
PSI = """\
some avg10=12.34 avg60=3.00 avg300=0.50 total=123456
full avg10=5.60 avg60=1.00 avg300=0.10 total=12345
"""


def test_meminfo_is_bytes_without_counts() -> None:
    sizes = parse_meminfo(MEMINFO)
    assert (sizes["MemTotal"], sizes["MemAvailable"]) == (24_683_656 * 1024, 23_118_940 * 1024)
    assert "HugePages_Total" not in sizes


def test_a_process_is_what_it_has_alone_beside_what_it_maps() -> None:
    expected = ProcessMemory(7, (221_616 + 96) * 1024, 335_800 * 1024, 335_864 * 1024, 8 * 1024)
    assert parse_status(7, STATUS) == expected


def test_a_kernel_thread_has_nothing() -> None:
    assert parse_status(2, "Name:\tkthreadd\nState:\tS (sleeping)\n") == ProcessMemory(2, 0, 0, 0)


def test_counters_skip_what_is_no_number() -> None:
    assert parse_counters("pswpin 10\npswpout 20\nnuma_x y\n\n") == {"pswpin": 10, "pswpout": 20}


def test_pressure_is_the_last_ten_seconds() -> None:
    assert parse_pressure(PSI) == Pressure(12.34, 5.6)
    assert parse_pressure("") == Pressure()


MOUNTS = """\
25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_both_versions_of_cgroups_are_found_side_by_side() -> None:
    own = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/c\n"
    assert parse_cgroups(own, MOUNTS) == (
        Cgroup(1, Path("/sys/fs/cgroup/memory"), "/a/b"),
        Cgroup(2, Path("/sys/fs/cgroup/unified"), "/c"),
    )


def test_a_container_sees_its_part_of_the_hierarchy_at_the_top() -> None:
    mounts = "31 30 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n"
    (group,) = parse_cgroups("0::/docker/abc/worker\n", mounts)
    assert group.folders() == [Path("/sys/fs/cgroup/worker"), Path("/sys/fs/cgroup")]


def test_a_path_above_the_top_stays_at_the_top() -> None:
    (group,) = parse_cgroups("0::/../..\n", "31 30 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n")
    assert group.folders() == [Path("/sys/fs/cgroup")]


def test_every_ancestor_counts() -> None:
    folders = Cgroup(2, Path("/sys/fs/cgroup"), "/user.slice/user-1000.slice").folders()
    assert [str(folder) for folder in folders] == [
        "/sys/fs/cgroup/user.slice/user-1000.slice",
        "/sys/fs/cgroup/user.slice",
        "/sys/fs/cgroup",
    ]


def test_mount_points_with_spaces_are_paths() -> None:
    (group,) = parse_cgroups("0::/\n", r"31 30 0:26 / /mnt/c\040group ro - cgroup2 cgroup rw")
    assert group.mount == Path("/mnt/c group")


@pytest.mark.parametrize(
    ("version", "files", "expected"),
    [
        (2, {"memory.max": "max", "memory.high": "max"}, None),
        (2, {"memory.max": str(8 * GIB), "memory.high": "max", "memory.current": str(GIB)}, (8 * GIB, 7 * GIB)),
        (2, {"memory.max": str(8 * GIB), "memory.high": str(6 * GIB), "memory.current": "0"}, (6 * GIB, 6 * GIB)),
        (
            2,
            {"memory.max": str(4 * GIB), "memory.current": str(3 * GIB), "memory.stat": f"inactive_file {GIB}\nanon 1"},
            (4 * GIB, 2 * GIB),
        ),
        (1, {"memory.limit_in_bytes": str(2**63 - 4096)}, None),
        (
            1,
            {
                "memory.limit_in_bytes": str(4 * GIB),
                "memory.usage_in_bytes": str(5 * GIB),
                "memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB // 2}",
            },
            (4 * GIB, 0),
        ),
        (2, {"memory.max": str(64 * GIB)}, None),
        (2, {}, None),
    ],
)
def test_a_cgroups_room_counts_what_the_kernel_can_drop(
    version: int, files: dict[str, str], expected: tuple[int, int] | None
) -> None:
    ceiling = cgroup_ceiling(version, "/a", files, 24 * GIB)
    assert ceiling == (None if expected is None else Ceiling("cgroup /a", *expected))


VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                          150000.
Pages speculative:                         5000.
Pages wired down:                        120000.
Pages purgeable:                           2000.
"Translation faults":                1234567890.
Pages stored in compressor:              400000.
Pages occupied by compressor:            100000.
Swapins:                                     12.
Swapouts:                                    34.
"""
SYSCTL = """\
hw.memsize: 68719476736
iogpu.wired_limit_mb: 0
vm.swapusage: total = 2048.00M  used = 100.25M  free = 1947.75M  (encrypted)
kern.memorystatus_vm_pressure_level: 2
machdep.cpu.brand_string: Apple M3 Max
"""


def test_a_mac_has_what_is_free_and_what_is_inactive() -> None:
    reading = host_memory(parse_sysctl(SYSCTL), parse_vm_stat(VM_STAT))
    page = 16_384
    assert reading == HostMemory(
        64 * GIB,
        160_000 * page,
        Swap(round(100.25 * MIB), 12 * page, 34 * page),
        Pressure(level=2),
        compressed_bytes=100_000 * page,
        gpu_ceiling=Ceiling("wired limit", 48 * GIB),
    )


@pytest.mark.parametrize(
    ("total", "limit_mb", "expected"),
    [
        (16 * GIB, 0, 16 * GIB * 2 // 3),
        (64 * GIB, 0, 48 * GIB),
        (64 * GIB, 57_344, 56 * GIB),
        (8 * GIB, 99_999, 8 * GIB),
    ],
)
def test_the_wired_limit_is_set_or_the_systems_own(total: int, limit_mb: int, expected: int) -> None:
    assert wired_limit(total, limit_mb) == expected


@pytest.mark.parametrize("text", ["", "vm_stat: error", "total = 1M"])
def test_what_a_mac_does_not_say_is_a_failure_of_the_sensor(text: str) -> None:
    with pytest.raises(SensorFailed):
        parse_vm_stat(text)
    with pytest.raises(SensorFailed):
        parse_swap_usage(text)
    with pytest.raises(SensorFailed):
        host_memory(parse_sysctl(text), parse_vm_stat(VM_STAT))


def test_swap_may_be_gigabytes() -> None:
    assert parse_swap_usage("total = 9.00G  used = 1.50G  free = 7.50G") == 1.5 * GIB


def test_a_macs_process_is_its_footprint() -> None:
    numbers = list(range(35))
    assert parse_rusage(9, bytes(16) + struct.pack("<35Q", *numbers)) == ProcessMemory(9, 7, 6, 27)


SMI_GPUS = """\
GPU-1111, NVIDIA H100 80GB HBM3, 0, 81559, 80994
GPU-2222, NVIDIA GB10, 1, [N/A], [N/A]
"""
SMI_PROCESSES = "GPU-1111, 4242, 560\nGPU-1111, 4243, [N/A]\n"


def test_nvidia_smi_tells_gpus_and_their_processes() -> None:
    h100, gb10 = parse_smi(SMI_GPUS, SMI_PROCESSES)
    assert h100 == Gpu(
        "GPU-1111", "NVIDIA H100 80GB HBM3", 0, GpuKind.OWN, 81_559 * MIB, 80_994 * MIB, processes={4242: 560 * MIB}
    )
    assert isinstance(gb10, UnreadableGpu)


HOST = HostMemory(128 * GIB, 100 * GIB, Swap(0))


def test_a_part_that_shares_the_hosts_memory_has_what_the_host_has() -> None:
    _, gb10 = parse_smi(SMI_GPUS, "")
    assert integrated(gb10, HOST) == Gpu("GPU-2222", "NVIDIA GB10", 0, GpuKind.SHARED, 128 * GIB, 100 * GIB)


def test_an_unknown_part_that_tells_nothing_stays_unreadable() -> None:
    mystery = UnreadableGpu("GPU-3", "NVIDIA RTX 9090", "the driver does not tell its memory")
    assert integrated(mystery, HOST) is mystery


AMD = {
    "vendor": "0x1002",
    "unique_id": "0xdeadbeef",
    "product_name": "Instinct MI300X",
    "mem_info_vram_total": str(192 * GIB),
    "mem_info_vram_used": str(2 * GIB),
    "mem_info_gtt_total": str(64 * GIB),
    "mem_info_gtt_used": str(GIB),
}


def test_an_amd_card_has_memory_of_its_own() -> None:
    gpu = amd_gpu(AMD, "0000:03:00.0", 1)
    assert gpu == Gpu("GPU-deadbeef", "Instinct MI300X", 1, GpuKind.OWN, 192 * GIB, 190 * GIB, "ROCR_VISIBLE_DEVICES")


def test_an_amd_processor_shares_the_hosts() -> None:
    gpu = amd_gpu(AMD | {"mem_info_vram_total": str(512 * MIB), "unique_id": ""}, "0000:c5:00.0", 0)
    assert isinstance(gpu, Gpu)
    assert (gpu.uuid, gpu.kind, gpu.total_bytes, gpu.free_bytes) == (
        "0000:c5:00.0",
        GpuKind.SHARED,
        64 * GIB,
        63 * GIB,
    )


@pytest.mark.parametrize("change", [{"vendor": "0x8086"}, {"mem_info_vram_total": ""}])
def test_other_cards_are_not_amds(change: dict[str, str]) -> None:
    assert amd_gpu(AMD | change, "0000:03:00.0", 0) is None


def test_an_amd_card_that_says_half_is_unreadable() -> None:
    assert isinstance(amd_gpu(AMD | {"mem_info_vram_used": "?"}, "0000:03:00.0", 0), UnreadableGpu)


def test_apples_chips_are_in_the_table_by_their_whole_name() -> None:
    assert (apple_bandwidth("Apple M3 Max"), apple_bandwidth("Apple M4 Pro")) == (300e9, 273e9)
    assert apple_bandwidth("Apple M9 Extreme") is None
    assert apple_bandwidth("AMD EPYC") is None
