"""Where one start of a worker lives: a private home, a short socket path, a port and key for those that need them."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from pathlib import Path

from roost.config.files import storage_error
from roost.engines.types import WorkerPlace
from roost.errors import BadConfiguration

#: macOS's limit for a socket path is 104 bytes with its terminating NUL; Linux's is 108.
LONGEST_SOCKET_PATH_BYTES = 103


def make_place(run_dir: Path) -> WorkerPlace:
    """Creates the 0700 home. Raises BadConfiguration when the run folder's path is too long for a socket, StorageFull
    or OSError when there can be no home."""
    nonce = secrets.token_hex(8)
    path = run_dir / f"{nonce[:8]}.sock"  # llama.cpp takes a host of this suffix for a unix socket
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH_BYTES:
        raise BadConfiguration(
            f"cannot make the worker's socket: {path} is longer than {LONGEST_SOCKET_PATH_BYTES} bytes; "
            "move the state with ROOST_STATE"
        )
    home = run_dir / f"w-{nonce[:8]}"
    place = WorkerPlace(path, home, _free_port(), secrets.token_urlsafe(24), nonce)
    try:
        home.mkdir(parents=True, mode=0o700)
        place.saved.mkdir(mode=0o700)
    except OSError as error:
        shutil.rmtree(home, ignore_errors=True)
        raise storage_error(error, home) from error
    return place


def remove_place(place: WorkerPlace, records: Path) -> None:
    """Nothing of the start is left on disk but its log."""
    shutil.rmtree(place.home, ignore_errors=True)
    place.socket_path.unlink(missing_ok=True)
    (records / f"{place.nonce}.json").unlink(missing_ok=True)


def _free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
