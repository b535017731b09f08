"""Workers of an earlier daemon that was killed: found by their record, ended only when pid, start time and nonce all
agree. Never by name or port: what looks like a worker but is not ours lives on. Containers are known by their labels.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from roost.config.files import storage_error
from roost.host.types import Host, ProcessIdentity
from roost.workers.containers import CannotAsk, Client, remove_all

#: Records of starts whose container could not be removed, for a later try; below the folder of the others.
LEFT = "left"
#: After so long without an answer its client is not in use here any more.
LONGEST_LEFT_S = 30 * 86_400


@dataclass(frozen=True)
class ContainerTrace:
    """How the container of a start is found again: by its labels, through the same client."""

    client: Client
    #: Its anonymous volumes go with it.
    volumes: bool


@dataclass(frozen=True)
class WorkerRecord:
    """Written before a worker runs, removed once it is gone: `run/workers/NONCE.json`."""

    nonce: str
    model_id: str
    guardian: ProcessIdentity | None
    home: str
    socket: str
    container: ContainerTrace | None = None

    def write(self, folder: Path) -> Path:
        """Whole or not at all; not synced, since no worker outlives the machine. Raises StorageFull, OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{self.nonce}.json"
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(asdict(self)))
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise storage_error(error, path) from error
        return path


def read_record(path: Path) -> WorkerRecord | None:
    """None for a file that is not a whole record."""
    try:
        raw = json.loads(path.read_text())
        guardian = ProcessIdentity(**raw["guardian"]) if raw["guardian"] else None
        container = _trace(raw["container"]) if raw.get("container") else None
        nonce, model_id, home, socket = (str(raw[name]) for name in ("nonce", "model_id", "home", "socket"))
        return WorkerRecord(nonce, model_id, guardian, home, socket, container)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _trace(raw: dict[str, Any]) -> ContainerTrace:
    client = Client(tuple(raw["client"]["command"]), dict(raw["client"]["env"]))
    return ContainerTrace(client, bool(raw["volumes"]))


def reap_orphans(host: Host, folder: Path, run_dir: Path) -> list[str]:
    """Blocking. Ends what is left of earlier workers and removes their traces; returns a line for each.

    Call it only while holding the daemon's lock: no other daemon owns these records then.
    """
    told: list[str] = []
    for path in sorted((*folder.glob("*.json"), *(folder / LEFT).glob("*.json"))):
        told += _reap(host, path, folder, run_dir)
    _sweep(folder, run_dir)
    return told


def _sweep(folder: Path, run_dir: Path) -> None:
    """What a daemon left that was killed before it had written the record of a start: nothing ran of it yet."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)
    for path in run_dir.glob("w-" + "[0-9a-f]" * 8):
        shutil.rmtree(path, ignore_errors=True)


def _reap(host: Host, path: Path, folder: Path, run_dir: Path) -> list[str]:
    told: list[str] = []
    if (record := read_record(path)) is not None:
        if killed := _end(host, record):
            told.append(f"ended {len(killed)} process(es) left by an earlier run of {record.model_id}")
        _remove_traces(record, run_dir)
        try:
            told += end_container(record)
        except CannotAsk as error:
            told.append(f"cannot look for a container of {record.model_id} that may be left: {error}")
            if path.parent == folder:
                keep_for_later(record, folder)
            elif time.time() - path.stat().st_mtime < LONGEST_LEFT_S:
                return told
    path.unlink(missing_ok=True)
    return told


def end_container(record: WorkerRecord) -> list[str]:
    """Blocking. Removes what is left of a start's container; a line for each. Raises CannotAsk."""
    if record.container is None:
        return []
    removed = remove_all(record.container.client, record.nonce, volumes=record.container.volumes)
    return [f"removed container {one[:12]} left by an earlier run of {record.model_id}" for one in removed]


def keep_for_later(record: WorkerRecord, folder: Path) -> None:
    """The next start of roost tries again to find its container."""
    record.write(folder / LEFT)


def _end(host: Host, record: WorkerRecord) -> list[int]:
    killed = []
    for pid in host.with_nonce(record.nonce):
        if pid == os.getpid():
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    return killed


def _remove_traces(record: WorkerRecord, run_dir: Path) -> None:
    """Only below our own run folder, whatever the record says."""
    for text in (record.home, record.socket):
        path = Path(text)
        if run_dir in path.parents:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
