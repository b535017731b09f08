"""Who watches a start: a terminal, a log file, or the `roost up --detach` that waits for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from roost.cli import format as people
from roost.cli.output import Paint, paint_for
from roost.daemon_types import Announcer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from roost.catalog.progress import Step

LINE_EVERY = 0.1
LINE_EVERY_BYTES = 10 * people.MEGABYTE


def ready_line(host: str, port: int, model: str, engine: str, *, tls: bool = False) -> str:
    """The one line that scripts wait for."""
    return f"roost ready {base_url(host, port, tls=tls)}/v1 model={model} engine={engine}"


def base_url(host: str, port: int, *, tls: bool = False) -> str:
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def next_steps(host: str, port: int, *, tls: bool = False) -> list[str]:
    """What to do with a fresh endpoint: a request to copy, and the commands that come next."""
    request = [
        f"  curl {base_url(host, port)}/v1/chat/completions -H 'Content-Type: application/json' \\",
        """    -d '{"model": "default", "messages": [{"role": "user", "content": "What is 2+2?"}]}'""",
    ]
    # With TLS a curl needs the certificate's name and a key, and neither is known here.
    ask = ['  roost ask "What is 2+2?"']
    following = "  next: roost chat · roost status · roost models discover · roost use coding MODEL"
    return ["", *(ask if tls else request), "", following]


class Bar:
    """A fetch's progress: a bar on a terminal, elsewhere a line for each tenth."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, int] = {}
        self._finished: set[str] = set()

    def show(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        if label in self._finished:
            # A fetch reports its whole more than once; one bar is enough.
            return
        if done_bytes == total_bytes:
            self._finished.add(label)
        if self._stream.isatty():
            self._draw(label, done_bytes, total_bytes)
        else:
            self._write(label, done_bytes, total_bytes)

    def show_step(self, step: Step) -> None:
        """The catalog's own progress value."""
        self.show(f"{step.verb} {step.subject}", step.done_bytes, step.total_bytes)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._tasks.clear()

    def _draw(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        if self._progress is None:
            self._progress = _rich_progress(self._stream)
            self._progress.start()
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total_bytes)
        self._progress.update(self._tasks[label], completed=done_bytes, total=total_bytes)

    def _write(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        tenth = int(done_bytes / total_bytes / LINE_EVERY) if total_bytes else done_bytes // LINE_EVERY_BYTES
        if tenth <= self._said.get(label, 0):
            return
        self._said[label] = tenth
        of = f"{tenth * 10} % of {people.size(total_bytes)}" if total_bytes else people.size(done_bytes)
        _say(self._stream, f"  {label}: {of}")


def _rich_progress(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )


def _say(stream: TextIO, text: str) -> None:
    """A terminal that was closed, a reader that has left or a full disk behind a redirection costs the line, never
    the daemon."""
    with suppress(OSError):
        stream.write(text + "\n")
        stream.flush()


class ConsoleAnnouncer:
    """Steps on standard error; on standard output the ready line and nothing else, ever."""

    def __init__(self, out: TextIO, err: TextIO, paint: Paint | None = None) -> None:
        self._out = out
        self._err = err
        self._paint = paint or paint_for(err)
        self._bar = Bar(err)

    def step(self, text: str) -> None:
        self._bar.close()
        self._line(f"{self._paint.good('✓')} {text}")

    def progress(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        self._bar.show(label, done_bytes, total_bytes)
        if done_bytes == total_bytes:
            self._bar.close()

    def ready(self, host: str, port: int, model: str, engine: str, *, tls: bool = False) -> None:
        self._bar.close()
        _say(self._out, ready_line(host, port, model, engine, tls=tls))
        for line in next_steps(host, port, tls=tls):
            self._line(line)

    def problem(self, text: str, mend: str | None = None) -> None:
        self._bar.close()
        self._line(f"{self._paint.careful('!')} {text}" + (f'; run "{mend}"' if mend else ""))

    def failed(self, lines: Iterable[str]) -> None:
        self._bar.close()
        for line in lines:
            self._line(line)

    def _line(self, text: str) -> None:
        _say(self._err, text)


@dataclass
class EventAnnouncer:
    """Tells a waiting `roost up --detach` over a pipe, one JSON object a line, and the log beside it."""

    pipe: TextIO
    beside: Announcer
    _listening: bool = field(default=True, init=False)

    def step(self, text: str) -> None:
        self.beside.step(text)
        self._send({"event": "step", "text": text})

    def progress(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        self.beside.progress(label, done_bytes, total_bytes)
        self._send({"event": "progress", "label": label, "done_bytes": done_bytes, "total_bytes": total_bytes})

    def ready(self, host: str, port: int, model: str, engine: str, *, tls: bool = False) -> None:
        self.beside.ready(host, port, model, engine, tls=tls)
        self._send({"event": "ready", "host": host, "port": port, "model": model, "engine": engine, "tls": tls})
        self.close()

    def problem(self, text: str, mend: str | None = None) -> None:
        self.beside.problem(text, mend)
        self._send({"event": "problem", "text": text, "mend": mend})

    def failed(self, lines: Iterable[str]) -> None:
        """The start is over; the border writes the same lines to the log."""
        self._send({"event": "failed", "lines": list(lines)})

    def close(self) -> None:
        self._listening = False
        try:
            self.pipe.close()
        except BrokenPipeError:
            return

    def _send(self, event: Mapping[str, Any]) -> None:
        """A waiter that has gone away does not stop the daemon."""
        if not self._listening:
            return
        try:
            self.pipe.write(json.dumps(event) + "\n")
            self.pipe.flush()
        except OSError:
            self._listening = False


def replay(event: dict[str, Any], console: ConsoleAnnouncer) -> None:
    """Show one event of a detached daemon as if it had happened here."""
    handlers: dict[str, Callable[..., None]] = {
        "step": console.step,
        "progress": console.progress,
        "ready": console.ready,
        "problem": console.problem,
        "failed": console.failed,
    }
    handlers[event.pop("event")](**event)
