"""Environments of engines that do not live beside roost: one each, pinned, every file checked by its hash.

Engines contradict each other's pins (two of them even install a command of the same name), so they never share one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from roost.catalog.locking import file_lock
from roost.config.paths import Paths
from roost.errors import BadConfiguration, Unavailable

#: Lock files: `ENGINE-PLATFORM.txt`, made by scripts/lock_engines.py.
LOCKS = Path(__file__).parent / "locks"
#: (platform.system(), platform.machine()) of an interpreter -> the platform in a lock's name.
PLATFORMS = {("Linux", "x86_64"): "linux-x86_64", ("Darwin", "arm64"): "macos-arm64"}
#: Python versions for which MLX and what it needs have wheels.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
#: Written last: an environment without it was not finished and is made anew. (Environments cannot be renamed.)
MARKER = "roost-environment.json"
#: Engines that need nothing installed, and why.
NOTHING_TO_INSTALL = {
    "command": "it runs the command line of each model",
    "external": "it calls a server that runs already",
    "llama.cpp": 'it lives beside roost; run "python -m pip install xllamacpp" in its environment',
}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Interpreter:
    """A Python that could carry an environment."""

    path: Path
    version: tuple[int, int]
    #: Name in `PLATFORMS`, or `system-machine` where roost has no lock.
    platform: str


@dataclass(frozen=True)
class Installed:
    """A finished environment."""

    python: Path
    #: Digest of the lock it was made from; another one means that it is to be made anew.
    lock_sha256: str


def installed(paths: Paths, engine: str) -> Installed | None:
    """The finished environment of this engine; None: there is none, or an install of it was cut off."""
    folder = paths.engine_environments / engine
    try:
        marker = json.loads((folder / MARKER).read_text())
        return Installed(folder / "bin" / "python", marker["lock_sha256"])
    except (OSError, ValueError, KeyError):
        return None


def install(paths: Paths, engine: str, progress: Progress) -> Installed:
    """Make the environment of this engine, or say that it is there already; one line of progress a step.

    Raises BadConfiguration when there is nothing to install or no lock for this machine, Unavailable when pip fails.
    A second install of the same engine waits for the first and finds its work done.
    """
    if reason := NOTHING_TO_INSTALL.get(engine):
        raise BadConfiguration(f"cannot install {engine}: {reason}")
    interpreter = choose_interpreter(engine, [Path(sys.executable), *_on_path()])
    lock = lock_file(engine, interpreter.platform)
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    folder = paths.engine_environments / engine
    waiting = f"another install of {engine} is under way; waiting for it"
    with file_lock(folder.with_name(f".{engine}.lock"), lambda: progress(waiting)):
        present = installed(paths, engine)
        if present is not None and present.lock_sha256 == digest:
            progress(f"{engine} is installed already in {folder}")
            return present
        progress(f"making {folder} with Python {'.'.join(map(str, interpreter.version))} ({interpreter.path})")
        _make(folder, engine, interpreter, lock, progress)
        (folder / MARKER).write_text(json.dumps({"lock_sha256": digest, "python": str(interpreter.path)}))
    progress(f"{engine} is ready in {folder}")
    return Installed(folder / "bin" / "python", digest)


def lock_file(engine: str, platform: str) -> Path:
    """Raises BadConfiguration naming what there is."""
    lock = LOCKS / f"{engine}-{platform}.txt"
    if lock.is_file():
        return lock
    have = sorted(path.stem.removeprefix(f"{engine}-") for path in LOCKS.glob(f"{engine}-*.txt"))
    variable = "ROOST_ENGINE_" + engine.upper().replace("-", "_") + "_PYTHON"
    raise BadConfiguration(
        f"cannot install {engine}: roost has its packages pinned for {', '.join(have) or 'no machine'}, not for "
        f"{platform}; install it yourself and set {variable} to its python"
    )


def choose_interpreter(engine: str, candidates: list[Path]) -> Interpreter:
    """The first that fits; the one roost runs in comes first. Raises BadConfiguration."""
    seen: list[str] = []
    for candidate in candidates:
        interpreter = inspect_interpreter(candidate)
        if interpreter and OLDEST_PYTHON <= interpreter.version <= NEWEST_PYTHON:
            return interpreter
        if interpreter:
            seen.append(".".join(map(str, interpreter.version)))
    raise BadConfiguration(
        f"cannot install {engine}: it needs Python 3.{OLDEST_PYTHON[1]} to 3.{NEWEST_PYTHON[1]} and only "
        f"{', '.join(seen) or 'none'} is here; install one and put it on PATH"
    )


def inspect_interpreter(path: Path) -> Interpreter | None:
    """Asks the interpreter itself, so that one made for another machine (Rosetta) says so; None: it does not run."""
    question = "import json,platform,sys;print(json.dumps([sys.version_info[:2],platform.system(),platform.machine()]))"
    try:
        run = subprocess.run([path, "-I", "-c", question], capture_output=True, text=True, timeout=20, check=True)
        (major, minor), system, machine = json.loads(run.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    name = PLATFORMS.get((system, machine), f"{system.lower()}-{machine}")
    return Interpreter(path, (major, minor), name)


def _on_path() -> Iterator[Path]:
    for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            yield Path(found)


def _make(folder: Path, engine: str, interpreter: Interpreter, lock: Path, progress: Progress) -> None:
    if folder.exists():
        progress(f"removing what was in {folder}")
        shutil.rmtree(folder)
    _run(engine, [str(interpreter.path), "-I", "-m", "venv", str(folder)], progress)
    # --no-deps: the lock is complete, and nothing that it does not name may come in. Wheels only: no code of a
    # package runs while it is installed.
    flags = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "install", "--progress-bar", "off", *flags]
    _run(engine, [*pip, "-r", str(lock)], progress)


def _run(engine: str, command: list[str], progress: Progress) -> None:
    """Runs it and passes its lines on. Raises Unavailable with the last line."""
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip() or last
            progress(line.strip())
    if process.returncode != 0:
        raise Unavailable(
            f"cannot install {engine}: {Path(command[0]).name} ended with {process.returncode}: {last[:300]}; "
            f'mend that and run "roost engines install {engine}" again'
        )
