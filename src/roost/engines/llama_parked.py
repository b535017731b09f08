"""llama.cpp without its memory: the embedded server is ended and made again in the same process, by our launcher.

llama.cpp's own sleep (`--sleep-idle-seconds`) gives the same memory back, but by a clock of its own: it can be told
neither to sleep now nor to stay awake, so that nobody can save a conversation before it sleeps, or promise memory
before it wakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from roost.engines.http import ask
from roost.engines.parks import ParkFailed
from roost.engines.types import WorkerHttp, WorkerPlace

#: Private memory of the process with its libraries after several rounds: 13 to 32 MiB on Linux without a GPU.
PARKED_BYTES = 64 * 2**20
#: Drivers of GPUs keep more of the host's memory for as long as a process uses one; not measured.
PARKED_ON_GPU_BYTES = 512 * 2**20


def control_path(place: WorkerPlace) -> Path:
    """No longer than the path of the worker's own socket, which was found short enough."""
    return place.home / "c"


async def tell(place: WorkerPlace, word: str, *, wait: bool) -> None:
    """Raises ParkFailed."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(control_path(place)))
        try:
            writer.write(f"{word}\n".encode())
            await writer.drain()
            if wait and await reader.readline() != b"done\n":
                raise ParkFailed(f"it did not say that it had done {word!r}")
        finally:
            writer.close()
    except OSError as error:
        raise ParkFailed(f"it cannot be told to {word}: {error.strerror or error}") from error


async def memory_settings(worker: WorkerHttp) -> Mapping[str, Any]:
    """Raises ParkFailed."""
    try:
        told = (await ask(worker, "GET", "/props")).json()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise ParkFailed(f"it does not tell its sizes: {error}") from error
    generation = told.get("default_generation_settings") if isinstance(told, dict) else None
    if not isinstance(generation, dict):
        raise ParkFailed("it does not tell its sizes")
    return {"window": generation.get("n_ctx"), "sequences": told.get("total_slots")}
