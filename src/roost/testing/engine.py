"""A small real OpenAI server that stands in for an engine: `python -m roost.testing.engine --uds PATH | --port N`.

Its flags make races deterministic: slow and failing loads, silence, crashes, ignored signals, floods of output.
Without `--port` a free one is taken; the line `stand-in listening on URL` on stdout names it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TextIO

from roost.testing.engine_app import Serving, build_app, serve
from roost.testing.engine_generate import flood
from roost.testing.engine_options import Behaviour, EngineOptions, parse_options

__all__ = ["Behaviour", "EngineOptions", "Serving", "build_app", "main", "serve"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT (exit 0), or until the options say otherwise."""
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild_pid = _fork_grandchild() if options.fork_grandchild else None
    if options.exit_at_start:
        _say("stand-in exits at start", sys.stderr)
        return options.exit_code
    with ExitStack() as mapped:
        for path in options.map_files:
            file = mapped.enter_context(path.open("rb"))
            mapped.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return asyncio.run(_run(options, grandchild_pid))


def _fork_grandchild() -> int:
    """A child that does nothing but live, with this process's signal handlers; its pid is printed."""
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    _say(f"stand-in grandchild {pid}")
    return pid


async def _run(options: EngineOptions, grandchild_pid: int | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT,) if options.ignore_term else (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if options.never_listens:
        await stop.wait()
        return 0
    async with serve(options, die=_crash) as serving:
        serving.state.grandchild_pid = grandchild_pid
        _say(f"stand-in listening on {f'unix:{options.uds}' if options.uds else serving.url}")
        return await _live(options, serving, stop)


async def _live(options: EngineOptions, serving: Serving, stop: asyncio.Event) -> int:
    """Load, then serve until told to stop; the exit code."""
    if options.load_fails is not None:
        if await _stopped_within(stop, options.load_s):
            return 0
        _say(options.load_fails, sys.stderr)
        return options.exit_code
    if await _stopped_within(stop, options.load_s):
        return 0
    await serving.state.loaded.wait()
    _say("stand-in loaded")
    if options.log_flood_bytes:
        threading.Thread(target=flood, args=(options.log_flood_bytes,), daemon=True).start()
    return 0 if await _stopped_within(stop, options.exit_after_load_s) else options.exit_code


async def _stopped_within(stop: asyncio.Event, seconds: float | None) -> bool:
    """Whether a signal came before the time was over; None waits for ever."""
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False


def _say(text: str, stream: TextIO | None = None) -> None:
    out = stream or sys.stdout
    out.write(f"{text}\n")
    out.flush()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
