"""Engines that live in a Python environment of their own: which interpreter, and what is installed beside it.

Read from the disk, by the metadata that pip wrote: asking the interpreter itself would start a process each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from roost.config.paths import Paths
from roost.engines.environments import installed
from roost.engines.types import Available, NotInstalled


@dataclass(frozen=True)
class EnvironmentEngine:
    """What an engine of this kind is called and needs."""

    name: str
    #: Names another interpreter than that of roost's own environment for it.
    variable: str
    minimum_version: tuple[int, ...]
    #: A distribution that installs modules of the same name: with it, nobody knows which code runs.
    impostor: str | None = None

    @property
    def mend(self) -> str:
        return f"roost engines install {self.name}"


def interpreter_path(engine: EnvironmentEngine, paths: Paths, environ: Mapping[str, str]) -> Path:
    """The interpreter that would run this engine; it need not exist."""
    if engine.variable in environ:
        return Path(environ[engine.variable]).expanduser().absolute()
    return paths.engine_environments / engine.name / "bin" / "python"


def find_engine(engine: EnvironmentEngine, paths: Paths, environ: Mapping[str, str]) -> Available | NotInstalled:
    """What is installed for this engine, or why it cannot be used and the command that mends it."""
    python = interpreter_path(engine, paths, environ)
    if engine.variable not in environ and installed(paths, engine.name) is None:
        return NotInstalled(f"there is no finished environment {python.parent.parent}", engine.mend)
    return _beside(engine, python)


def _beside(engine: EnvironmentEngine, python: Path) -> Available | NotInstalled:
    if not python.exists():
        return NotInstalled(f"there is no {python}", engine.mend)
    found = _distributions(python)
    version = found.get(engine.name)
    if version is None:
        return NotInstalled(f"{engine.name} is not installed beside {python}", engine.mend)
    if engine.impostor in found:
        return NotInstalled(f"{engine.impostor} took the place of {engine.name} beside {python}", engine.mend)
    if release(version) < engine.minimum_version:
        wanted = ".".join(str(part) for part in engine.minimum_version)
        return NotInstalled(f"{engine.name} {version} beside {python} is older than {wanted}", engine.mend)
    return Available(version=version, where=str(python), device=_device(found))


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `0.32.2.dev1` is (0, 32, 2)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _distributions(python: Path) -> Mapping[str, str]:
    """Distribution name -> version in the interpreter's environment; a link to the interpreter is not followed,
    because it leads out of the environment."""
    folders = [str(folder) for folder in python.parent.parent.glob("lib/python3*/site-packages")]
    return {_name(item): item.version for item in distributions(path=folders)}


def _name(item: Distribution) -> str:
    return re.sub(r"[-_.]+", "-", item.metadata["Name"]).lower()


def _device(found: Mapping[str, str]) -> str:
    """MLX's backends are distributions of their own."""
    if "mlx-metal" in found:
        return "metal"
    return "cuda" if any(name.startswith("mlx-cuda") for name in found) else "cpu"
