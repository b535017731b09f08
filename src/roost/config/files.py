"""Files that several processes write: a lock beside them, and replacement that is whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from roost.errors import BadConfiguration, StorageFull

#: Long enough for any writer that only reads, changes and renames a small file.
LOCK_DEADLINE_S = 10.0
_LOCK_POLL_S = 0.01
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def locked(path: Path, deadline_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
    """Holds the lock of `path`: a sidecar `NAME.lock`, never the file itself, because a writer replaces that.

    Blocks the calling thread for at most `deadline_s` seconds. Raises BadConfiguration naming the lock after that,
    StorageFull when the disk is, and the plain OSError when the folder cannot be written.
    """
    sidecar = path.with_name(f"{path.name}.lock")
    descriptor = _open_sidecar(sidecar)
    try:
        _acquire(descriptor, sidecar, deadline_s)
        yield
    finally:
        os.close(descriptor)  # closing releases the lock; the sidecar stays, removing it would race


def _open_sidecar(sidecar: Path) -> int:
    try:
        return os.open(sidecar, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise storage_error(error, sidecar) from error


def _acquire(descriptor: int, sidecar: Path, deadline_s: float) -> None:
    give_up = time.monotonic() + deadline_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise BadConfiguration(
                    f"cannot lock {sidecar}: another process has held it for {deadline_s:g} s; "
                    f'see who with "lsof {sidecar}" and try again'
                ) from None
        time.sleep(_LOCK_POLL_S)


def replace_file(path: Path, data: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Puts `data` in place of `path` in one step: temporary file in the same folder, fsync, rename, fsync.

    A reader sees the old file or the new one, also after a crash. `mode` holds whatever the umask says; `owner` is
    (user id, group id), kept as far as this process may.
    Raises StorageFull when the disk is full, else the plain OSError; `path` is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write_synced(temporary, data, mode, owner)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(error, path) from error


def _write_synced(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        if owner is not None:
            with suppress(PermissionError):
                os.fchown(stream.fileno(), *owner)
        os.fchmod(stream.fileno(), mode)  # after the owner: a change of owner clears bits
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path) -> OSError | StorageFull:
    """StorageFull for a full disk or quota, else the error as it is."""
    if error.errno not in _NO_SPACE:
        return error
    return StorageFull(f"cannot write {path}: {error.strerror}; free some space on that disk and try again")
