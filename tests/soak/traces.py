"""What roost left where it may be looked at: its log, its processes, its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tests.soak.daemon import environment_of, processes_of
from tests.soak.record import Fact, Line

#: Here roost keeps conversations on purpose: private files that are removed at the next load.
KEPT = "saved"
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Journal:
    """The daemon's own log, read."""

    lines: tuple[Line, ...]
    facts: tuple[Fact, ...]
    #: Defects of roost, exceptions that nobody caught: (time or None, text).
    broken: tuple[tuple[float | None, str], ...]
    #: Other events: (time, name).
    events: tuple[tuple[float, str], ...]


def read_journal(logs: Path, run: str) -> Journal:
    """All of it, the rotated part first. `run` begins the ids of this run's requests."""
    lines: list[Line] = []
    facts: list[Fact] = []
    broken: list[tuple[float | None, str]] = []
    events: list[tuple[float, str]] = []
    for text in _texts(logs):
        try:
            told = json.loads(text)
        except ValueError:
            # Not one of roost's own: Python's or asyncio's complaint. The lines of its traceback follow it.
            broken.append((None, text[:200]))
            continue
        at = datetime.fromisoformat(told["timestamp"]).timestamp()
        event = told["event"]
        events.append((at, event))
        if event == "request" and str(told["id"]).startswith(run):
            lines.append(Line(told["id"], told["status"], told.get("code"), told.get("resolved"), at))
        elif event == "worker":
            facts.append(Fact(told["model"], told["start"], told["fact"], at))
        elif event == "defect" or "exception" in told:
            broken.append((at, f"{event}: {told.get('kind') or told['exception'].splitlines()[-1]}"))
    return Journal(tuple(lines), tuple(facts), tuple(broken), tuple(events))


def _texts(logs: Path) -> Iterator[str]:
    for name in ("daemon.log.1", "daemon.log"):
        if (logs / name).exists():
            yield from (line for line in (logs / name).read_text(errors="replace").splitlines() if line.strip())


@dataclass
class Exposure:
    """Looks for words that must not be found: prompts, keys, a secret of the daemon's environment."""

    words: tuple[bytes, ...]
    found: set[str] = field(default_factory=set)

    def look_at_processes(self, home: Path) -> None:
        """Command lines and environments of workers, as long as they live."""
        for process in processes_of(home):
            with suppress(psutil.Error):
                name = process.name()
                self._look(f"argv of {name}", " ".join(process.cmdline()).encode())
                self._look(f"environment of {name}", repr(environment_of(process)).encode())

    def look_at_files(self, home: Path, beside: Iterable[Path] = ()) -> None:
        """Every byte below `home`, but for the place where conversations are kept on purpose."""
        for path in (*(p for p in home.rglob("*") if KEPT not in p.relative_to(home).parts), *beside):
            if path.is_file() and not path.is_symlink():
                for piece in _pieces(path):
                    self._look(str(path.relative_to(home) if path.is_relative_to(home) else path.name), piece)

    def _look(self, place: str, data: bytes) -> None:
        for word in self.words:
            if word in data:
                self.found.add(f"{place}: {word.decode()[:12]}")


def _pieces(path: Path) -> Iterator[bytes]:
    """The file in overlapping pieces; nothing of one that is gone."""
    before = b""
    with suppress(OSError), path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield before + piece
            before = piece[-256:]


def left_in_run(home: Path, living: Iterable[str] = ()) -> list[str]:
    """What lies in the run folder although it belongs to no worker that lives. `living`: their nonces."""
    run = home / "state/run"
    short = {nonce[:8] for nonce in living}
    expected = {"daemon.lock", "workers"}
    expected |= {name for nonce in short for name in ("roost.sock", f"{nonce}.sock", f"w-{nonce}")}
    records = {f"{nonce}.json" for nonce in living}
    found = [f"run/{path.name}" for path in run.iterdir() if path.name not in expected]
    found += [f"run/workers/{path.name}" for path in (run / "workers").glob("*") if path.name not in records]
    return found


def temporary_files(home: Path) -> list[str]:
    """Halves of files that were to be put in place, anywhere below the home."""
    names = ("*.tmp", ".new-*", "*.new")
    return [str(path.relative_to(home)) for name in names for path in home.rglob(name)]


def nonces(home: Path) -> list[str]:
    """Of the workers that live."""
    found = {environment_of(process).get("ROOST_WORKER_NONCE", "") for process in processes_of(home)}
    return sorted(found - {""})


def counters(metrics: str, workers: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Running and waiting requests as /metrics and status count them."""
    found = {
        f"{kind} of {model}": int(worker[kind]) for model, worker in workers.items() for kind in ("running", "queued")
    }
    for line in metrics.splitlines():
        if line.startswith(("roost_worker_running{", "roost_worker_queued{")):
            name, _, value = line.rpartition(" ")
            found[name] = int(float(value))
    return found


def log_sizes(logs: Path) -> dict[str, int]:
    """Bytes that each worker's log takes, with its rotated part."""
    sizes: dict[str, int] = {}
    for path in logs.glob("*.log*"):
        if not path.name.startswith("daemon."):
            name = path.name.partition(".log")[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes
