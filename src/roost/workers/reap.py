"""Workers of an earlier daemon that was killed: found by their record, ended only when pid, start time and nonce all
agree. Never by name or port: what looks like a worker but is not ours lives on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from roost.host.types import Host, ProcessIdentity


@dataclass(frozen=True)
class WorkerRecord:
    """Written before a worker runs, removed once it is gone: `run/workers/NONCE.json`."""

    nonce: str
    model_id: str
    guardian: ProcessIdentity | None
    home: str
    socket: str

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{self.nonce}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)
        return path


def read_record(path: Path) -> WorkerRecord | None:
    """None for a file that is not a whole record."""
    try:
        raw = json.loads(path.read_text())
        guardian = ProcessIdentity(**raw["guardian"]) if raw["guardian"] else None
        return WorkerRecord(str(raw["nonce"]), str(raw["model_id"]), guardian, str(raw["home"]), str(raw["socket"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def reap_orphans(host: Host, folder: Path, run_dir: Path) -> list[str]:
    """Blocking. Ends what is left of earlier workers and removes their traces; returns a line for each.

    Call it only while holding the daemon's lock: no other daemon owns these records then.
    """
    told: list[str] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        record = read_record(path)
        if record is not None:
            killed = _end(host, record)
            if killed:
                told.append(f"ended {len(killed)} process(es) left by an earlier run of {record.model_id}")
            _remove_traces(record, run_dir)
        path.unlink(missing_ok=True)
    return told


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
