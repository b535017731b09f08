"""How fast memory can be read: measured on this CPU, as Apple specifies it for its chips."""

from __future__ import annotations

import ctypes
import re
import threading
import time

#: Two buffers a thread, far larger than any cache.
_BUFFER_BYTES = 64 * 2**20
_LEAST_S = 0.15

#: GB/s by chip; of two sizes of a chip the smaller one's. apple.com, technical specifications.
_APPLE_GB_S = {
    "M1": 68,
    "M1 Pro": 200,
    "M1 Max": 400,
    "M1 Ultra": 800,
    "M2": 100,
    "M2 Pro": 200,
    "M2 Max": 400,
    "M2 Ultra": 800,
    "M3": 100,
    "M3 Pro": 150,
    "M3 Max": 300,
    "M3 Ultra": 819,
    "M4": 120,
    "M4 Pro": 273,
    "M4 Max": 410,
    "M5": 153,
}


def apple_bandwidth(chip: str) -> float | None:
    """Bytes a second by the chip's name, such as `Apple M3 Max`; None: not in the table."""
    found = re.fullmatch(r"Apple (M\d+(?: (?:Pro|Max|Ultra))?)", chip.strip())
    speed = _APPLE_GB_S.get(found[1]) if found else None
    return speed * 1e9 if speed is not None else None


def measured_bandwidth(threads: int) -> float:
    """Bytes a second that this machine's CPU moves, reading and writing, with so many threads. Takes a moment and
    128 MiB a thread."""
    speeds = [0.0] * threads
    ready = threading.Barrier(threads)
    workers = [threading.Thread(target=_move, args=(speeds, number, ready)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(speeds)


def _move(speeds: list[float], number: int, ready: threading.Barrier) -> None:
    source, target = (ctypes.create_string_buffer(_BUFFER_BYTES) for _ in range(2))
    ctypes.memmove(target, source, _BUFFER_BYTES)  # the first pass finds the pages, and is not measured
    ready.wait()
    started = now = time.perf_counter()
    moved = 0
    while now - started < _LEAST_S:
        ctypes.memmove(target, source, _BUFFER_BYTES)  # without the interpreter's lock
        moved += 2 * _BUFFER_BYTES
        now = time.perf_counter()
    speeds[number] = moved / (now - started)
