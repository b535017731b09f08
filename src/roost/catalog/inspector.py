"""The throw-away process that reads a model's headers: `python -I -m roost.catalog.inspector PATH`.

One JSON object on standard output: `{"facts": ...}`, or `{"refused": "why"}`. It never opens anything but the named
file or folder, and the kernel bounds its memory and time, so that a hostile header hurts nobody.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from roost.catalog.facts import Facts
from roost.catalog.folder import PICKLE_SUFFIXES, inspect_folder
from roost.catalog.gguf_facts import inspect_gguf
from roost.catalog.refusal import ModelRefused

MEMORY_LIMIT_BYTES = 3 * 2**30
CPU_LIMIT_S = 20

_LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_CPU, CPU_LIMIT_S),
    (resource.RLIMIT_AS, MEMORY_LIMIT_BYTES),
)


def main(arguments: list[str]) -> int:
    """Exit code 0 with an answer, whatever it says; anything else means that the header broke the reader."""
    limit_resources()
    sys.stdout.write(json.dumps(answer(Path(arguments[0]))))
    return 0


def answer(path: Path) -> dict[str, object]:
    """What `main` prints."""
    try:
        return {"facts": asdict(inspect(path))}
    except ModelRefused as error:
        return {"refused": _naming(path, error.message)}
    except MemoryError:
        return {"refused": f"cannot use {path.name}: its header needs more than {MEMORY_LIMIT_BYTES >> 30} GiB to read"}
    except OSError as error:
        return {"refused": f"cannot read {error.filename or path}: {error.strerror or error}"}


def inspect(path: Path) -> Facts:
    """Facts of a GGUF file or a safetensors folder. Raises ModelRefused or OSError."""
    if path.is_dir():
        return inspect_folder(path)
    suffix = path.suffix.lower()
    if suffix in PICKLE_SUFFIXES or suffix == ".py":
        raise ModelRefused("loading this kind of file runs code; only GGUF and safetensors are read")
    if suffix == ".safetensors":
        raise ModelRefused(f"a safetensors file needs its config.json; name its folder: {path.parent}")
    return inspect_gguf(path)


def _naming(path: Path, message: str) -> str:
    return message if message.startswith("cannot ") else f"cannot use {path.name}: {message}"


def limit_resources() -> None:
    """Bound this process before it reads anything."""
    for what, value in _LIMITS:
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):
            continue  # macOS refuses RLIMIT_AS below what is mapped already; the reader's own bounds still hold
    os.umask(0o077)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
