"""Which program runs llama.cpp here: the server embedded in the xllamacpp package, or a native `llama-server`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PROGRAM = "llama-server"
#: Names a native server to use in place of the embedded one, such as a build with CUDA.
NATIVE_VARIABLE = "ROOST_ENGINE_LLAMA_CPP_SERVER"
INSTALL = "python -m pip install xllamacpp"
LAUNCHER = Path(__file__).parent / "launchers" / "llama_cpp.py"
VERSION_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Embedded:
    version: str
    device: str = "cpu"
    where: str = sys.executable
    #: Started by its path: `-m` would import roost itself first, which the worker does not need.
    launcher: Path = LAUNCHER


@dataclass(frozen=True)
class Native:
    version: str
    where: str
    #: Its backends are compiled in or loaded from beside it; nothing on the disk tells which.
    device: str = "native"


Program = Embedded | Native


def find_program(environ: Mapping[str, str], embedded: Callable[[], Embedded | None]) -> Program | None:
    """The program named by the environment, else the embedded server, else `llama-server` on PATH."""
    if named := environ.get(NATIVE_VARIABLE):
        return _native(shutil.which(named, path=environ.get("PATH")))
    return embedded() or _native(shutil.which(PROGRAM, path=environ.get("PATH", os.defpath)))


def installed_embedded() -> Embedded | None:
    """xllamacpp beside roost; its wheel says what it was built for, without loading the library."""
    try:
        package = distribution("xllamacpp")
    except PackageNotFoundError:
        return None
    version = version_in(package.read_text("METADATA") or "")
    return Embedded(version=version, device=device_of(version, package.read_text("WHEEL") or ""))


def version_in(metadata: str) -> str:
    """From the headers of a package. `Distribution.version` parses the long description behind them too: 2 ms, several
    times a start."""
    headers, _, _ = metadata.partition("\n\n")
    found = re.search(r"^Version: *(\S+)", headers, re.MULTILINE)
    return found.group(1) if found else "unknown"


def device_of(version: str, wheel: str) -> str:
    """From the local version (`+cu128`, `+rocm…`, `+vulkan`) and the wheel's platform tag."""
    _, _, local = version.partition("+")
    for prefix, device in (("cu", "cuda"), ("rocm", "rocm"), ("vulkan", "vulkan")):
        if local.startswith(prefix):
            return device
    return "metal" if re.search(r"^Tag: .*macosx.*arm64", wheel, re.MULTILINE) else "cpu"


def _native(path: str | None) -> Native | None:
    return Native(_version_of(path, Path(path).stat().st_mtime_ns), path) if path else None


@lru_cache(maxsize=8)
def _version_of(path: str, _mtime_ns: int) -> str:
    """What `--version` says (it writes to stderr); asked once for each build of the program."""
    try:
        run = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"version: *(\S+)", run.stdout + run.stderr)
    return found.group(1) if found else "unknown"
