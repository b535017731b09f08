"""A LAN of network namespaces: a bridge, and machines on it whose cables can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from roost.testing.wait import until_sync


def missing() -> str | None:
    """Why there can be none here; None: there can."""
    tools = [tool for tool in ("unshare", "nsenter", "ip") if shutil.which(tool) is None]
    if tools:
        return f"no {', '.join(tools)} here"
    veth = ("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    made = subprocess.run(["unshare", "-n", *veth], capture_output=True, check=False)
    return f"no network namespaces here: {made.stderr.decode().strip()}" if made.returncode else None


@dataclass
class Space:
    """One network namespace, held by a process that sleeps in it."""

    pid: int

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.pid), "-n")

    def run(self, *command: str) -> str:
        done = subprocess.run([*self.prefix, *command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def python(self, script: str, *arguments: str) -> str:
        """What a program of this machine prints; it fails with the script."""
        return self.run(sys.executable, "-c", script, *arguments)

    def popen(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """The same, while it runs."""
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-u", "-c", script, *arguments], stdout=subprocess.PIPE, text=True
        )


@dataclass
class Machine(Space):
    """On the LAN by one cable."""

    address: str
    _switch: Space
    _port: str

    def unplug(self) -> None:
        self._switch.run("ip", "link", "set", self._port, "down")

    def plug_in(self) -> None:
        self._switch.run("ip", "link", "set", self._port, "up")

    def move_to(self, address: str) -> None:
        """Another address from now on."""
        self.run("ip", "addr", "flush", "dev", "eth0", "scope", "global")
        self.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.address = address


@dataclass
class Lan:
    _switch: Space
    _stack: ExitStack
    _count: int = field(default=0)

    def machine(self) -> Machine:
        self._count += 1
        number = self._count
        space = self._stack.enter_context(_space())
        port, address = f"port{number}", f"10.77.0.{number}"
        pair = ("type", "veth", "peer", "name", "eth0", "netns", str(space.pid))
        self._switch.run("ip", "link", "add", port, *pair)
        self._switch.run("ip", "link", "set", port, "master", "lan", "up")
        for device in ("lo", "eth0"):
            space.run("ip", "link", "set", device, "up")
        space.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        return Machine(space.pid, address, self._switch, port)


@contextmanager
def lan() -> Iterator[Lan]:
    with ExitStack() as stack:
        switch = stack.enter_context(_space())
        switch.run("ip", "link", "add", "lan", "type", "bridge")
        switch.run("ip", "link", "set", "lan", "up")
        yield Lan(switch, stack)


@contextmanager
def _space() -> Iterator[Space]:
    holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
    try:
        until_sync(lambda: _network(holder.pid) not in (None, _network(os.getpid())), timeout_s=10)
        until_sync(lambda: b"sleep" in Path(f"/proc/{holder.pid}/cmdline").read_bytes(), timeout_s=10)
        yield Space(holder.pid)
    finally:
        holder.kill()
        holder.wait()


def _network(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None
