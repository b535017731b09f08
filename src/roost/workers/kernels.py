"""What an engine compiled while it served, kept from one start to the next.

Each start works on copies of its own. They are taken over only from a worker that served and was stopped at rest: a
compiler that is killed leaves half a file, which the engine would load for ever.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from roost.engines.types import Kernels

#: A kernel has 20 kB and a model some dozens of them.
MOST_BYTES = 64 * 2**20


def bring(kernels: Kernels, home: Path) -> None:
    """Copies what is kept into the home of a start. Whatever cannot be had is compiled again."""
    with contextlib.suppress(OSError, shutil.Error):
        shutil.copytree(kernels.store, home / kernels.inside, dirs_exist_ok=True)


def take(kernels: Kernels, home: Path) -> None:
    """Keeps what is new in the home of a start that was stopped at rest, within the bound; other installations' go."""
    with contextlib.suppress(OSError):
        kernels.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in kernels.store.parent.iterdir():
            if other != kernels.store and other.name.partition("-")[0] == kernels.store.name.partition("-")[0]:
                shutil.rmtree(other, ignore_errors=True)
        kept_bytes = sum(size for _, size in _files(kernels.store, kernels.suffix))
        for path, size in _files(home / kernels.inside, kernels.suffix):
            target = kernels.store / path.relative_to(home / kernels.inside)
            if not target.exists() and (kept_bytes := kept_bytes + size) <= MOST_BYTES:
                _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = target.with_name(f".{secrets.token_hex(8)}")
    try:
        shutil.copyfile(path, half)
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def _files(folder: Path, suffix: str) -> Iterator[tuple[Path, int]]:
    """Regular files with this ending, and their bytes; a worker's links are not followed."""
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(root, name)
            look = path.lstat()
            if name.endswith(suffix) and not name.startswith(".") and stat.S_ISREG(look.st_mode):
                yield path, look.st_size
