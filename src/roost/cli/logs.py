"""`roost logs`: the daemon's log, or a worker's."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from roost.cli.arguments import not_empty
from roost.cli.doors import ask_daemon, here
from roost.errors import NotFound

if TYPE_CHECKING:
    from roost.client import DaemonClient

POLL_S = 0.2
CHUNK_BYTES = 64 * 1024
#: What is shown of a long daemon log unless --all is given.
TAIL_BYTES = 64 * 1024


def logs(
    worker: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKER]", help="Worker or model id; left out: the daemon's own log.", callback=not_empty
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows; Ctrl-C ends it.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="All of the daemon's log, not only its end.")] = False,
) -> None:
    """Print a log. The daemon's own is readable after it has died, too.

    \b
    Examples:
      roost logs
      roost logs -f SmolLM2-135M-Instruct-Q4_1
    """
    if worker is None:
        for piece in file_pieces(
            here().paths.logs / "daemon.log", follow=follow, tail_bytes=None if whole else TAIL_BYTES
        ):
            _write(piece)
        return

    async def call(client: DaemonClient) -> None:
        async for piece in client.worker_log(worker, follow=follow):
            _write(piece)

    ask_daemon(call)


def file_pieces(path: Path, *, follow: bool, tail_bytes: int | None) -> Iterator[bytes]:
    """The file from its last whole lines on; with `follow` for ever, over rotation and truncation."""
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f'there is no log at {path}: roost has not run here; start it with "roost up"') from error
    with stream:
        _seek_tail(stream, tail_bytes)
        yield from _rest(stream)
        while follow:
            time.sleep(POLL_S)
            if _replaced(path, stream):
                yield from file_pieces(path, follow=True, tail_bytes=None)
                return
            yield from _rest(stream)


def _seek_tail(stream: BinaryIO, tail_bytes: int | None) -> None:
    size = stream.seek(0, 2)
    if tail_bytes is None or size <= tail_bytes:
        stream.seek(0)
        return
    stream.seek(size - tail_bytes)
    stream.readline()


def _rest(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(CHUNK_BYTES):
        yield piece


def _replaced(path: Path, stream: BinaryIO) -> bool:
    """The name leads to another file, or this one has shrunk."""
    import os

    try:
        now, then = path.stat(), os.fstat(stream.fileno())
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino) or now.st_size < stream.tell()


def _write(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.flush()
