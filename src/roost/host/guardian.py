"""The guardian: a tiny parent of one worker, so that a worker never outlives the daemon.

Started as `python -I -S guardian.py LIFE_FD STATUS_FD NICE -- ARGV...` with the worker's own clean environment. It

- starts the worker in a session of its own, with umask 077, killed by the kernel when the guardian dies (Linux);
- holds the read end of a pipe whose write end only the daemon has: end of file there means that the daemon is gone,
  however it went, and the worker's whole tree is killed; no thread of the daemon matters, and macOS works alike;
- is the reaper of grandchildren that the worker forked away (Linux), and kills them when the worker ends;
- tells the daemon `pid N` and later `exit CODE` (negative: a signal) over STATUS_FD.

It runs before any library is importable: standard library only, no roost imports.
"""

import contextlib
import os
import select
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


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
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")
    with contextlib.suppress(OSError):
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
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat") as stat:
                    line = stat.read()
                fields = line[line.rindex(")") + 2 :].split()
                if fields[1] == str(pid) and fields[0] != "Z":
                    found.append(int(name))
    return found


def kill_tree(worker: int) -> None:
    """SIGKILL to the worker's group and to everything that was left to us, until nothing is left to wait for."""
    with contextlib.suppress(OSError):
        os.killpg(worker, signal.SIGKILL)
    for _ in range(200):
        for pid in children_of(os.getpid()):
            with contextlib.suppress(OSError):
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


def say(status: int, text: str) -> None:
    with contextlib.suppress(OSError):
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
    while True:
        ready, _, _ = select.select([life, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            ended = reap() or {}
            if worker in ended:
                kill_tree(worker)
                say(status, f"exit {ended[worker]}\n")
                return
        if life in ready:
            kill_tree(worker)
            return


if __name__ == "__main__":
    main()
