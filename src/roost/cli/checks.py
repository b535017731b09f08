"""What `roost doctor` looks at. Each check is a function of this machine; judging is apart from asking."""

from __future__ import annotations

import errno
import http.client
import json
import os
import platform
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from roost.cli.doors import Here, daemon_answers, load_settings
from roost.cli.engines import engine_rows
from roost.cli.findings import engines_in_use, findings
from roost.cli.format import GIGABYTE, size
from roost.engines.standby import has_room
from roost.errors import BadConfiguration

FREE_FAIL_BYTES = GIGABYTE // 2
FREE_WARN_BYTES = 10 * GIGABYTE
#: sun_path of Linux holds 108 bytes and that of macOS 104, the closing NUL included.
SOCKET_PATH_BYTES = 103
SWAP_WARN_SHARE = 0.1
CLOCK_SLACK_S = 300.0
PROBE_TIMEOUT_S = 1.0
ANSWER_BYTES = 4096


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One finding; `mend` is the command or deed that repairs it."""

    name: str
    verdict: Verdict
    text: str
    mend: str | None = None


def check_python(place: Here) -> Iterator[Check]:
    bits = 64 if sys.maxsize > 2**32 else 32
    text = f"Python {platform.python_version()}, {bits} bit, {sys.executable}"
    verdict = Verdict.OK if bits == 64 else Verdict.FAIL
    yield Check("python", verdict, text, None if bits == 64 else "install a 64-bit Python 3.11 or newer")


def check_engines(place: Here) -> Iterator[Check]:
    rows = [row for row in engine_rows() if row.name not in ("command", "external")]
    installed = [f"{row.name} {row.version} ({row.device})" for row in rows if row.installed]
    if installed:
        yield Check("engines", Verdict.OK, ", ".join(installed))
    else:
        yield Check("engines", Verdict.FAIL, "no engine is installed: nothing can be served", rows[0].mend)


def check_settings(place: Here) -> Iterator[Check]:
    found = findings(place)
    if not found:
        yield Check("settings", Verdict.OK, "settings, registry and engines' knobs hold together")
    for problem in found:
        verdict = Verdict.FAIL if problem.severity == "error" else Verdict.WARN
        yield Check("settings", verdict, problem.text, problem.mend)


def check_port(place: Here) -> Iterator[Check]:
    try:
        gateway = load_settings(place).settings.gateway
    except BadConfiguration:
        return
    where = f"{gateway.host}:{gateway.port}"
    if daemon_answers(place.paths):
        yield Check("port", Verdict.OK, 'roost is running; see "roost status"')
    elif refused := bind_refusal(gateway.host, gateway.port):
        yield judge_port(where, refused, port_holder(gateway.host, gateway.port))
    else:
        yield Check("port", Verdict.OK, f"{where} is free")


def judge_port(where: str, refusal: str, holder: str | None) -> Check:
    text = f"cannot listen on {where}: {f'{holder} answers there' if holder else refusal}"
    return Check("port", Verdict.FAIL, text, "stop it, or roost up --port 0")


def bind_refusal(host: str, port: int) -> str | None:
    """Why nobody could listen there now; None: it is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Only listening tells whether somebody else listens already.
            probe.listen()
        except OSError as error:
            return "the port is taken" if error.errno == errno.EADDRINUSE else str(error.strerror or error).lower()
    return None


def port_holder(host: str, port: int) -> str | None:
    """Who listens there: Ollama by its own word, else the process as far as one may see."""
    from roost.host.this import this_host

    if version := ollama_version(host, port):
        return f"Ollama {version}"
    pid = this_host().tcp_owner(port)
    if pid is None:
        return None
    command = this_host().command_line(pid)
    return f"{Path(command[0]).name if command else 'a process'} (pid {pid})"


def ollama_version(host: str, port: int) -> str | None:
    """Its version where Ollama answers; None for anything else, other servers with its routes included."""
    try:
        if b"Ollama" not in _get(host, port, "/"):
            return None
        return str(json.loads(_get(host, port, "/api/version"))["version"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None


def _get(host: str, port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(ANSWER_BYTES)
    finally:
        connection.close()


def check_disk(place: Here) -> Iterator[Check]:
    for name, path in (("models", place.paths.models), ("state", place.paths.state)):
        yield judge_disk(name, path, shutil.disk_usage(_existing(path)).free)


def judge_disk(name: str, path: Path, free_bytes: int) -> Check:
    text = f"{size(free_bytes)} free for {name} in {path}"
    if free_bytes < FREE_FAIL_BYTES:
        return Check("disk", Verdict.FAIL, text, f"free space, or move it with ROOST_{name.upper()}")
    verdict = Verdict.WARN if name == "models" and free_bytes < FREE_WARN_BYTES else Verdict.OK
    return Check("disk", verdict, text, "roost models rm ID" if verdict is Verdict.WARN else None)


def check_state(place: Here) -> Iterator[Check]:
    """Nobody else may open the control socket, which needs no key, or read the keys' hashes."""
    private = [(place.paths.run, 0o700), (place.paths.keys, 0o600)]
    wrong = [check for path, mode in private if (check := judge_mode(path, mode))]
    yield from wrong or [Check("state", Verdict.OK, f"{place.paths.state} is closed to others")]
    length = len(os.fsencode(place.paths.control_socket))
    if length > SOCKET_PATH_BYTES:
        text = f"{place.paths.control_socket} is {length} bytes long, a socket's path at most {SOCKET_PATH_BYTES}"
        yield Check("state", Verdict.FAIL, text, "set ROOST_STATE to a shorter folder")


def judge_mode(path: Path, widest: int) -> Check | None:
    """A finding when the file's mode allows more than `widest`, or it belongs to somebody else."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~widest:
        return Check(
            "state", Verdict.FAIL, f"{path} has mode {mode:04o}, others can use it", f"chmod {widest:04o} {path}"
        )
    if status.st_uid != os.geteuid():
        return Check("state", Verdict.FAIL, f"{path} belongs to user {status.st_uid}", f"chown {os.geteuid()} {path}")
    return None


def check_memory(place: Here) -> Iterator[Check]:
    from roost.host.this import this_host

    memory = this_host().memory()
    yield judge_memory(memory.total_bytes, memory.available_bytes, memory.swap_used_bytes)


def judge_memory(total_bytes: int, available_bytes: int, swap_used_bytes: int) -> Check:
    text = f"{size(available_bytes)} of {size(total_bytes)} free, swap in use {size(swap_used_bytes)}"
    if swap_used_bytes > SWAP_WARN_SHARE * total_bytes:
        return Check("memory", Verdict.WARN, f"{text}: a swapped model answers many times slower", "close programs")
    return Check("memory", Verdict.OK, text)


def check_standby(place: Here) -> Iterator[Check]:
    """Only for engines that serve a role's model and can stand by."""
    from roost.engines.types import StandsBy
    from roost.host.this import this_host

    try:
        settings, engines = load_settings(place).settings, engines_in_use(place)
    except BadConfiguration:
        return
    memory = this_host().memory()
    for engine in engines:
        if isinstance(engine, StandsBy):
            on = settings.knobs("", engine.name).standby
            yield judge_standby(engine.name, engine.spare_bytes, memory.available_bytes, memory.total_bytes, on=on)


def judge_standby(engine: str, spare_bytes: int, available_bytes: int, total_bytes: int, *, on: bool) -> Check:
    """Advice where a spare would fit, a warning where one is wanted and does not."""
    about = f"a spare of {engine} takes about {size(spare_bytes)}, {size(available_bytes)} are free"
    table = f"in [engines.{engine}]"
    if not has_room(spare_bytes, available_bytes, total_bytes):
        verdict = Verdict.WARN if on else Verdict.OK
        return Check("standby", verdict, f"no room: {about}", f"set standby = false {table}, or close programs")
    advice = "it is on" if on else f"set standby = true {table} to start its models without waiting for imports"
    return Check("standby", Verdict.OK, f"{about}: {advice}")


def check_clock(place: Here) -> Iterator[Check]:
    """A clock that was set back breaks TLS, downloads, and the expiry of keys."""
    files = [path for path in (place.paths.registry, place.paths.database, Path(__file__)) if path.exists()]
    newest = max((path.stat().st_mtime for path in files), default=0.0)
    yield judge_clock(time.time(), newest)


def judge_clock(now: float, newest_file: float) -> Check:
    ahead_s = newest_file - now
    if ahead_s > CLOCK_SLACK_S:
        return Check(
            "clock", Verdict.WARN, f"the clock is {ahead_s:.0f} s behind roost's own newest file", "set the clock"
        )
    return Check("clock", Verdict.OK, time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now)))


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


#: In the order in which they are shown.
CHECKS: tuple[Callable[[Here], Iterator[Check]], ...] = (
    check_python,
    check_engines,
    check_settings,
    check_port,
    check_disk,
    check_state,
    check_memory,
    check_standby,
    check_clock,
)
