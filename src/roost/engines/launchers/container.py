"""Stands for a container among roost's workers: it lives as long as the container, and ends it when told to end.

    python -I -S container.py ID_FILE STOP_S CLIENT_WORDS -- docker [GLOBAL OPTIONS] run …

The first CLIENT_WORDS words of the command are the client with its own options; the container's id is read from
ID_FILE, where the client writes it. A client that leaves while its container runs (`--detach`, or a lost connection)
is no end: then the output is followed, and the container's own exit code is this process's. SIGTERM stops the
container with STOP_S seconds of grace. What is left of the container afterwards is removed by who started this.

Standard library only: roost is not importable here.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

#: A question to the client; an engine under load takes its time.
ASK_TIMEOUT_S = 15.0
#: How long the container's engine may be away, as while it is restarted, before the container counts as lost.
UNREACHABLE_S = 30.0
#: What a client that is told to end in the middle of a pull gets.
CLIENT_GRACE_S = 3.0
RETRY_S = 1.0
LOST = 1


class Keeper:
    def __init__(self, id_file: Path, stop_s: int, client: list[str], command: list[str]) -> None:
        self.id_file, self.stop_s, self.client, self.command = id_file, stop_s, client, command
        self.asked = False
        self.wake, wake_write = os.pipe()
        for end in (self.wake, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, *_: object) -> None:
        self.asked = True

    def keep(self) -> int:
        """Returns the exit code once the container has ended, however that came."""
        cli = start(self.command)
        code = self.until_exit(cli)
        if code is not None and (identity := self.identity()):
            running = self.runs(identity)
            code = self.follow(identity, told=code != 0) if running else code
        if self.asked or code is None:
            self.stop(cli)
            return 0
        # Only a program in the foreground can be killed by a signal; roost tells signals as negative codes itself.
        return code if code >= 0 else 128 - code

    def identity(self) -> str | None:
        try:
            return self.id_file.read_text().strip() or None
        except OSError:
            return None

    def pause(self, seconds: float) -> None:
        """Until a signal came, or so long."""
        if not self.asked and select.select([self.wake], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                while os.read(self.wake, 4096):
                    pass

    def until_exit(self, process: "subprocess.Popen[bytes]") -> int | None:
        """Its exit code; None as soon as somebody asks for the end."""
        while not self.asked:
            if (code := process.poll()) is not None:
                return code
            self.pause(RETRY_S)
        return None

    def runs(self, identity: str) -> bool | None:
        """Whether the container runs; None: it was asked to end before anybody could say. False after
        `UNREACHABLE_S` without an answer."""
        deadline = time.monotonic() + UNREACHABLE_S
        while not self.asked:
            done = ask([*self.client, "container", "inspect", identity])
            if done.returncode == 0:
                return bool(json.loads(done.stdout)[0]["State"]["Running"])
            if "no such" in done.stderr.lower() or time.monotonic() > deadline:
                return False
            say(f"cannot ask for the container: {last_line(done.stderr)}")
            self.pause(RETRY_S)
        return None

    def follow(self, identity: str, *, told: bool) -> int | None:
        """Its output goes where ours goes, from its start unless the client has `told` it; returns its exit code."""
        while True:
            since = ["--tail", "0"] if told else []
            logs = start([*self.client, "logs", "--follow", *since, identity])
            wait = start([*self.client, "wait", identity], stdout=subprocess.PIPE)
            code = self.until_exit(wait)
            if code is not None:
                # The rest of what it said last.
                self.until_exit_or(logs, CLIENT_GRACE_S)
            for process in (logs, wait):
                process.kill()
            answer = wait.communicate()[0].decode().split()
            logs.wait()
            if code is None:
                return None
            if code == 0 and answer and answer[-1].lstrip("-").isdigit():
                return int(answer[-1])
            if not self.runs(identity):
                return None if self.asked else LOST
            told = True

    def until_exit_or(self, process: "subprocess.Popen[bytes]", seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while process.poll() is None and not self.asked and time.monotonic() < deadline:
            self.pause(0.1)

    def stop(self, cli: "subprocess.Popen[bytes]") -> None:
        identity = self.identity()
        if identity is None and cli.poll() is None:
            # Still on its way to a container: a pull ends with its client.
            cli.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                cli.wait(CLIENT_GRACE_S)
            identity = self.identity()
        if identity is not None:
            done = ask([*self.client, "stop", "-t", str(self.stop_s), identity], self.stop_s + ASK_TIMEOUT_S)
            if done.returncode and "no such" not in done.stderr.lower():
                say(f"cannot stop the container: {last_line(done.stderr)}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            cli.wait(CLIENT_GRACE_S)


def start(argv: list[str], stdout: int | None = None) -> "subprocess.Popen[bytes]":
    """Exits as a shell does when there is no such program."""
    try:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout)
    except OSError as error:
        say(f"cannot start {argv[0]}: {error.strerror}")
        sys.exit(126 if isinstance(error, PermissionError) else 127)


def ask(argv: list[str], timeout_s: float = ASK_TIMEOUT_S) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, "", f"no answer within {timeout_s:g} s")


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    id_file, stop_s, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    command = sys.argv[5:]
    return Keeper(id_file, stop_s, command[:count], command).keep()


if __name__ == "__main__":
    sys.exit(main())
