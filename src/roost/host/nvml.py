"""NVIDIA's management library by ctypes: no package is needed for five questions. Read-only."""

from __future__ import annotations

import ctypes
from typing import Any

from roost.host.memory_types import Gpu, GpuKind, UnreadableGpu

LIBRARY = "libnvidia-ml.so.1"
#: nvml.h: nvmlReturn_t.
_SUCCESS, _INSUFFICIENT_SIZE = 0, 7
_TEXT_BYTES = 96
#: nvml.h: NVML_CLOCK_MEM.
_MEMORY_CLOCK = 2
#: `NVML_VALUE_NOT_AVAILABLE`: a process whose memory the driver does not tell.
_NOT_AVAILABLE = 2**64 - 1
#: Room for processes that start between the two calls.
_SPARE_PROCESSES = 16


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    """nvmlProcessInfo_t of the `_v3` calls."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def read_gpus(library: str = LIBRARY) -> tuple[Gpu | UnreadableGpu, ...] | None:
    """Every GPU that the driver knows; None: there is no driver, or it does not answer."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return None
    if nvml.nvmlInit_v2() != _SUCCESS:
        return None
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
            return None
        return tuple(_gpu(nvml, index) for index in range(count.value))
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu | UnreadableGpu:
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) != _SUCCESS:
        return UnreadableGpu(f"index {index}", "NVIDIA GPU", "the driver does not open it")
    uuid, name = _text(nvml.nvmlDeviceGetUUID, handle), _text(nvml.nvmlDeviceGetName, handle)
    memory = _Memory()
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != _SUCCESS:
        return UnreadableGpu(uuid, name, "the driver does not tell its memory")
    return Gpu(
        uuid,
        name,
        index,
        GpuKind.OWN,
        memory.total,
        memory.free,
        processes=_processes(nvml, handle),
        bandwidth=_bandwidth(nvml, handle),
    )


def _bandwidth(nvml: Any, handle: ctypes.c_void_p) -> float | None:
    """Two transfers a clock over the whole width of the bus."""
    clock_mhz, width_bits = ctypes.c_uint(), ctypes.c_uint()
    if nvml.nvmlDeviceGetMaxClockInfo(handle, _MEMORY_CLOCK, ctypes.byref(clock_mhz)) != _SUCCESS:
        return None
    if nvml.nvmlDeviceGetMemoryBusWidth(handle, ctypes.byref(width_bits)) != _SUCCESS:
        return None
    return 2.0 * clock_mhz.value * 1e6 * width_bits.value / 8 or None


def _text(question: Any, handle: ctypes.c_void_p) -> str:
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    return text.value.decode("utf-8", "replace") if question(handle, text, _TEXT_BYTES) == _SUCCESS else ""


def _processes(nvml: Any, handle: ctypes.c_void_p) -> dict[int, int]:
    """Bytes by pid. The pids are the host's: in a container they may be nobody's that one can see."""
    count = ctypes.c_uint(0)
    if nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, ctypes.byref(count), None) not in (
        _SUCCESS,
        _INSUFFICIENT_SIZE,
    ):
        return {}
    count = ctypes.c_uint(count.value + _SPARE_PROCESSES)
    found = (_Process * count.value)()
    if nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, ctypes.byref(count), found) != _SUCCESS:
        return {}
    return {process.pid: process.used for process in found[: count.value] if process.used != _NOT_AVAILABLE}
