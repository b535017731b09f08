"""The guardian: a tiny parent of one worker, so that a worker never outlives the daemon.

Started as `python -I -S guardian.py LIFE_FD STATUS_FD NICE -- ARGV...` with the worker's own clean environment. It

- starts the worker in a session of its own, with umask 077, killed by the kernel when the guardian dies (Linux);
- holds the read end of a pipe whose write end only the daemon has: end of file there means that the daemon is gone,
  however it went, and the worker's whole tree is killed; no thread of the daemon matters, and macOS works alike;
- is the reaper of grandchildren that the worker forked away (Linux), and kills them when the worker ends;
- tells the daemon `pid N` and later `exit CODE` (negative: a signal) over STATUS_FD;
- looks at the memory of the worker's tree once it was told lines, and kills the tree beyond them: neither a daemon that
  is busy nor a worker that holds its interpreter's lock for a whole load delays it.

The daemon says lines over the pipe of life, `memory PERIOD_MS LIMIT PROMISE FLOOR DATA GROUP` in bytes: the tree is
killed when it has more than LIMIT for itself, or more than PROMISE while the machine has less than FLOOR available.
DATA, unless 0, is what the kernel lets the worker's own process map for itself (Linux). GROUP, unless -, is the folder
of the control group that the worker goes into. The kill is told as `memory PRIVATE AVAILABLE`.

It runs before any library is importable: standard library only, no roost imports. A worker's program starts only after
it, so that it loads as little as it can: `signal` and `contextlib` are Python around enums and collections, which take
as long as the rest of its start.
"""

import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PAGE_BYTES = resource.getpagesize()


class Suppressed:
    """`contextlib.suppress`."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        return kind is not None and issubclass(kind, self._kinds)


def prctl(option: int, value: int) -> None:
    """Linux's prctl(2); nothing elsewhere, where the pipe alone does the work."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def become_worker(argv: list[str], guardian_pid: int, nice: int, close: tuple[int, ...]) -> None:
    """In the child: own session, then the worker's program. Never returns."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guardian_pid:
        os._exit(127)
    for descriptor in close:
        os.close(descriptor)
    os.umask(0o077)
    # The kernel's out-of-memory killer takes a worker before the daemon.
    with Suppressed(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")
    with Suppressed(OSError):
        os.nice(nice)
    try:
        os.execvpe(argv[0], argv, os.environ)
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
        os._exit(126 if error.errno == 13 else 127)


def children_of(pid: int) -> list[int]:
    """Living children of a process (Linux; empty elsewhere)."""
    found = []
    for name in os.listdir("/proc") if sys.platform.startswith("linux") else ():
        if name.isdigit():
            with Suppressed(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat") as stat:
                    line = stat.read()
                fields = line[line.rindex(")") + 2 :].split()
                if fields[1] == str(pid) and fields[0] != "Z":
                    found.append(int(name))
    return found


def kill_tree(worker: int) -> None:
    """SIGKILL to the worker's group and to everything that was left to us, until nothing is left to wait for."""
    with Suppressed(OSError):
        os.killpg(worker, signal.SIGKILL)
    for _ in range(200):
        for pid in children_of(os.getpid()):
            with Suppressed(OSError):
                os.kill(pid, signal.SIGKILL)
        if reap() is None:
            break
        select.select([], [], [], 0.005)


def reap() -> dict[int, int] | None:
    """Collects ended children: {pid: exit code}; None once there is no child any more."""
    ended: dict[int, int] = {}
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return ended
            ended[pid] = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return ended or None


#: How often it is looked for processes that the worker has started.
TREE_PERIOD_S = 1.0
#: `rusage_info_v4` of macOS: its number, a size that holds it, and where the footprint stands.
RUSAGE_V4, RUSAGE_BYTES, FOOTPRINT_AT = 4, 512, 72


class Watch:
    """The lines that the daemon told, and the processes that they hold for."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        #: Seconds between two looks; None: no lines.
        self.period_s: float | None = None
        self.limit = self.promise = self.floor = 0
        self._heard = b""
        self._tree: tuple[int, ...] = (worker,)
        self._tree_at = 0.0

    def hear(self, raw: bytes) -> None:
        self._heard += raw
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            word, *words = line.decode().split(" ", 6)
            if word == "memory" and len(words) == 6:
                period_ms, self.limit, self.promise, self.floor, data = (int(number) for number in words[:5])
                self.period_s = period_ms / 1000
                limit_data(self.worker, data)
                join_group(self.worker, words[5])

    def look(self) -> tuple[int, int] | None:
        """What the tree has for itself and what is available, when it is beyond its lines."""
        now = time.monotonic()
        if now - self._tree_at >= TREE_PERIOD_S:
            self._tree_at, self._tree = now, (self.worker, *descendants_of(self.worker))
        private = sum(private_bytes(pid) for pid in self._tree)
        if private > self.limit:
            return private, available_bytes()
        if private > self.promise and (available := available_bytes()) < self.floor:
            return private, available
        return None


def join_group(pid: int, folder: str) -> None:
    if folder != "-":
        with Suppressed(OSError), open(f"{folder}/cgroup.procs", "w") as members:
            members.write(str(pid))


def limit_data(pid: int, size: int) -> None:
    if size and sys.platform.startswith("linux"):
        with Suppressed(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (size, size))


def descendants_of(pid: int) -> list[int]:
    """As the kernel lists them at once (Linux); of a kernel that does not, none."""
    found: list[int] = []
    with Suppressed(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as children:
                for child in children.read().split():
                    found += [int(child), *descendants_of(int(child))]
    return found


def private_bytes(pid: int) -> int:
    """What a process has for itself: resident without files (Linux), its footprint (macOS); 0: it is gone."""
    try:
        if sys.platform == "darwin":
            import ctypes

            raw = ctypes.create_string_buffer(RUSAGE_BYTES)
            failed = ctypes.CDLL("libproc.dylib").proc_pid_rusage(pid, RUSAGE_V4, raw)
            return 0 if failed else int.from_bytes(raw.raw[FOOTPRINT_AT : FOOTPRINT_AT + 8], "little")
        with open(f"/proc/{pid}/statm") as statm:
            _, resident, files, *_ = statm.read().split()
        return (int(resident) - int(files)) * PAGE_BYTES
    except (OSError, ValueError):
        return 0


def available_bytes() -> int:
    """What the machine has without swapping; where it cannot be told, more than any line."""
    with Suppressed(OSError, ValueError, IndexError):
        with open("/proc/meminfo") as meminfo:
            line = next((line for line in meminfo if line.startswith("MemAvailable:")), "")
        return int(line.split()[1]) * 1024
    return sys.maxsize


def say(status: int, text: str) -> None:
    with Suppressed(OSError):
        os.write(status, text.encode())


def main() -> None:
    life, status, nice = (int(number) for number in sys.argv[1:4])
    argv = sys.argv[5:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the daemon signals the worker, and the pipe ends us
    wake_read, wake_write = os.pipe()
    for descriptor in (wake_read, wake_write):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    guardian_pid = os.getpid()
    # Until the child has undone what we ignore, a SIGTERM from the daemon must wait in it and not be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    worker = os.fork()
    if worker == 0:
        become_worker(argv, guardian_pid, nice, (life, status, wake_read, wake_write))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)  # the worker alone holds its pipes, so that their ends mean something
    say(status, f"pid {worker}\n")
    watch = Watch(worker)
    while True:
        ready, _, _ = select.select([life, wake_read], [], [], watch.period_s)
        if wake_read in ready:
            os.read(wake_read, 4096)
            ended = reap() or {}
            if worker in ended:
                kill_tree(worker)
                say(status, f"exit {ended[worker]}\n")
                return
        if life in ready:
            told = os.read(life, 4096)
            if not told:
                kill_tree(worker)
                return
            watch.hear(told)
        if watch.period_s is not None and (beyond := watch.look()):
            say(status, f"memory {beyond[0]} {beyond[1]}\n")
            kill_tree(worker)
            say(status, f"exit {-signal.SIGKILL}\n")
            return


if __name__ == "__main__":
    main()
