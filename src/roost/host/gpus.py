"""GPUs and their memory: NVIDIA's by NVML or nvidia-smi, AMD's by sysfs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from roost.host import nvml
from roost.host.memory_types import Gpu, GpuKind, HostMemory, UnreadableGpu

#: NVIDIA's parts that share the host's memory; only of these is it taken for theirs.
_INTEGRATED = re.compile(r"\b(GB10|Orin|Thor|Xavier|Tegra)\b", re.IGNORECASE)
_AMD_VENDOR = "0x1002"
#: An AMD GPU with less memory of its own is part of the processor and lives in the host's (GTT).
_APU_MEMORY_BYTES = 2**30
_SMI_TIMEOUT_S = 10.0
_MIB = 2**20


def all_gpus(sys: Path, host: HostMemory) -> tuple[Gpu | UnreadableGpu, ...]:
    """Every GPU of this machine that could hold weights."""
    found = (*nvidia_gpus(), *amd_gpus(sys))
    return tuple(integrated(gpu, host) for gpu in found)


def integrated(gpu: Gpu | UnreadableGpu, host: HostMemory) -> Gpu | UnreadableGpu:
    """GPUs that share the host's memory: its total and what of it is available, whatever the driver says."""
    if isinstance(gpu, UnreadableGpu) and not _INTEGRATED.search(gpu.name):
        return gpu
    if isinstance(gpu, Gpu) and gpu.kind is GpuKind.OWN and not _INTEGRATED.search(gpu.name):
        return gpu
    if isinstance(gpu, Gpu):
        return replace(gpu, kind=GpuKind.SHARED, free_bytes=min(gpu.free_bytes, host.available_bytes))
    return Gpu(gpu.uuid, gpu.name, 0, GpuKind.SHARED, host.total_bytes, host.available_bytes)


def nvidia_models(folder: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """What kinds of GPU there are, as Linux's driver tells at once; empty where it does not."""
    texts = (_read_quietly(path) for path in sorted(folder.glob("*/information")))
    return tuple(sorted({match[1].strip() for text in texts if (match := re.search(r"^Model:(.*)$", text, re.M))}))


def _read_quietly(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def nvidia_gpus() -> tuple[Gpu | UnreadableGpu, ...]:
    """By NVML; where its library cannot be loaded, by nvidia-smi; none where there is neither."""
    found = nvml.read_gpus()
    return _by_smi() if found is None else found


def _by_smi() -> tuple[Gpu | UnreadableGpu, ...]:
    gpus = _smi("--query-gpu=uuid,name,index,memory.total,memory.free")
    return parse_smi(gpus, _smi("--query-compute-apps=gpu_uuid,pid,used_memory")) if gpus else ()


def _smi(query: str) -> str:
    try:
        done = subprocess.run(
            ("nvidia-smi", query, "--format=csv,noheader,nounits"),
            capture_output=True,
            text=True,
            timeout=_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_smi(gpus: str, processes: str) -> tuple[Gpu | UnreadableGpu, ...]:
    """nvidia-smi's CSV; sizes are MiB, `[N/A]` where the driver does not tell."""
    used: dict[str, dict[int, int]] = {}
    for uuid, pid, size in _rows(processes, 3):
        if pid.isdigit() and size.isdigit():
            used.setdefault(uuid, {})[int(pid)] = int(size) * _MIB
    found: list[Gpu | UnreadableGpu] = []
    for uuid, name, index, total, free in _rows(gpus, 5):
        if total.isdigit() and free.isdigit():
            sizes = int(total) * _MIB, int(free) * _MIB
            found.append(Gpu(uuid, name, int(index), GpuKind.OWN, *sizes, processes=used.get(uuid, {})))
        else:
            found.append(UnreadableGpu(uuid, name, "the driver does not tell its memory"))
    return tuple(found)


def _rows(text: str, width: int) -> Iterable[list[str]]:
    rows = ([cell.strip() for cell in line.split(",")] for line in text.splitlines())
    return (row for row in rows if len(row) == width)


def amd_gpus(sys: Path) -> tuple[Gpu | UnreadableGpu, ...]:
    """AMD's, by what their driver writes into sysfs."""
    found = []
    for index, folder in enumerate(sorted(sys.glob("class/drm/card*/device"))):
        files = {file: _text(folder / file) for file in _AMD_FILES}
        if gpu := amd_gpu(files, folder.resolve().name, index):
            found.append(gpu)
    return tuple(found)


_AMD_FILES = (
    "vendor",
    "unique_id",
    "product_name",
    "mem_info_vram_total",
    "mem_info_vram_used",
    "mem_info_gtt_total",
    "mem_info_gtt_used",
)


def amd_gpu(files: Mapping[str, str], address: str, index: int) -> Gpu | UnreadableGpu | None:
    """One card from its files' texts; None: not AMD's, or no card that computes."""
    if files.get("vendor") != _AMD_VENDOR or not files.get("mem_info_vram_total"):
        return None
    identity = files.get("unique_id", "").removeprefix("0x")
    uuid, name = f"GPU-{identity}" if identity else address, files.get("product_name") or "AMD GPU"
    sizes = [files.get(f"mem_info_{kind}", "") for kind in ("vram_total", "vram_used", "gtt_total", "gtt_used")]
    if not all(size.isdigit() for size in sizes):
        return UnreadableGpu(uuid, name, "the driver does not tell its memory")
    own, own_used, shared, shared_used = map(int, sizes)
    if own <= _APU_MEMORY_BYTES:
        return Gpu(uuid, name, index, GpuKind.SHARED, shared, max(shared - shared_used, 0), "ROCR_VISIBLE_DEVICES")
    return Gpu(uuid, name, index, GpuKind.OWN, own, max(own - own_used, 0), "ROCR_VISIBLE_DEVICES")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
