"""What must hold whatever goes wrong: nothing is paged out, the kernel kills nobody, and memory stays within bounds."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from roost.host.linux_memory import parse_counters
from roost.host.this import this_host, this_memory
from tests.helpers import kill_group, process_lives

MIB = 2**20
LOOK_S = 0.005


def kernel_counters() -> tuple[int, int]:
    """Pages that were swapped out, and processes that the kernel has killed for memory, since the machine started."""
    counters = parse_counters(Path("/proc/vmstat").read_text())
    return counters.get("pswpout", 0), counters.get("oom_kill", 0)


@contextmanager
def nothing_suffers() -> Iterator[None]:
    """Neither page-out nor a kill by the kernel while the block runs."""
    before = kernel_counters()
    yield
    assert kernel_counters() == before


def private_mib(pid: int) -> float:
    """What a process and those below it have for themselves; 0 once it is gone."""
    found = (this_memory().process(one) for one in this_host().tree(pid))
    return sum(process.private_bytes for process in found if process) / MIB


@dataclass
class Watch:
    """Looks at processes all the time: the most that they had together."""

    pids: Callable[[], list[int]]
    most_mib: float = 0.0
    #: The second largest at the moment when that was largest: two at once are more than one.
    most_second_mib: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self._stop.wait(LOOK_S):
            sizes = sorted((private_mib(pid) for pid in self.pids()), reverse=True)
            self.most_mib = max(self.most_mib, sum(sizes))
            self.most_second_mib = max(self.most_second_mib, sizes[1] if len(sizes) > 1 else 0.0)


@contextmanager
def watching(pids: Callable[[], list[int]]) -> Iterator[Watch]:
    watch = Watch(pids)
    thread = threading.Thread(target=watch.look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch._stop.set()
        thread.join()


_HOG = """
import mmap, signal, sys
taken = mmap.mmap(-1, int(sys.argv[1]) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
taken[::4096] = b"x" * (len(taken) // 4096)
print("taken", flush=True)
signal.pause()
"""


@contextmanager
def foreign_hog(size_mib: int) -> Iterator[int]:
    """Another program that takes so much and keeps it; its pid. It must not be the one that suffers."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOG, str(size_mib)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "taken\n"
        yield process.pid
        assert process_lives(process.pid), "the other program was ended"
    finally:
        kill_group(process)
