"""Headers are read in a throw-away process: a hostile one is refused and never hurts the caller."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from roost.catalog import inspector
from roost.catalog.facts import Facts
from roost.catalog.gguf_facts import split_files
from roost.catalog.refusal import ModelRefused

TIMEOUT_S = 30.0
#: Counts in every stamp: a roost that reads more from a header reads it again.
FACTS_VERSION = 2
#: A template of 1 MiB, bounded metadata and the files of a split model stay far below.
_ANSWER_LIMIT_BYTES = 16 * 2**20

#: -I and -S: no user folder, no environment variable, no .pth file of anybody runs in the process that reads hostile
#: bytes. The package's place is given, because without site nothing is found.
BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from roost.catalog.inspector import main; sys.exit(main(sys.argv[2:]))"
)
_PACKAGE_ROOT = Path(inspector.__file__).parents[2]
_FACTS = TypeAdapter(Facts)


def inspect_model(path: Path, timeout_s: float = TIMEOUT_S, program: str = BOOTSTRAP) -> Facts:
    """Facts of a GGUF file or safetensors folder. Raises ModelRefused with the reason, for anything at all.

    `program`: what the process runs, given the package's place and the path.
    """
    answer = _ask_inspector(path, timeout_s, program)
    if refused := answer.get("refused"):
        raise ModelRefused(str(refused))
    return parse_facts(answer.get("facts"), path)


def parse_facts(value: Any, path: Path) -> Facts:
    """Facts from their JSON form. Raises ModelRefused when they are not."""
    try:
        return _FACTS.validate_python(value)
    except ValidationError as error:
        raise ModelRefused(f"cannot use {path.name}: its header holds values that make no sense") from error


def dump_facts(facts: Facts) -> Any:
    """The JSON form of facts."""
    return _FACTS.dump_python(facts, mode="json")


def stamp(path: Path) -> str:
    """A digest that changes when the model's files do: names, sizes, mtimes, devices and inodes, by stat alone.

    Raises OSError when something is not there.
    """
    lines = [f"v{FACTS_VERSION}", *map(file_stamp, _stamped(path))]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _stamped(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.iterdir())
    return list(split_files(path))


def file_stamp(path: Path) -> str:
    """One file as stat sees it."""
    status = path.stat() if path.exists() else path.lstat()  # a dangling link counts as itself
    return f"{path}:{status.st_size}:{status.st_mtime_ns}:{status.st_dev}:{status.st_ino}"


def _ask_inspector(path: Path, timeout_s: float, program: str) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", "-c", program, str(_PACKAGE_ROOT), str(path.absolute())]
    try:
        done = subprocess.run(
            command, env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelRefused(f"cannot use {path.name}: reading its header took more than {timeout_s:.0f} s") from error
    if done.returncode != 0 or len(done.stdout) > _ANSWER_LIMIT_BYTES:
        raise ModelRefused(
            f"cannot use {path.name}: its header broke the reader (exit {done.returncode}); nothing else was harmed"
        )
    return _parse(done.stdout, path)


def _parse(output: bytes, path: Path) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = TypeAdapter(dict[str, Any]).validate_json(output)
    except ValidationError as error:
        raise ModelRefused(f"cannot use {path.name}: its header broke the reader") from error
    return answer
