"""The part of the seam that an engine has when its workers can drop the prompts that they keep.

llama.cpp cannot: a slot that is erased forgets its tokens, while its cells stay allocated (588 MiB before and after),
and no route of its server reaches the prompts that it keeps in the host's memory.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import aiohttp

from roost.engines.http import ask
from roost.engines.launchers.mlx_requests import DROP_ROUTE
from roost.engines.types import WorkerHttp


class CachesKept(Exception):
    """The worker did not drop them; its text says why."""


@runtime_checkable
class DropsCaches(Protocol):
    """An engine that gives the memory of cached prompts back. The others cannot."""

    async def drop_caches(self, worker: WorkerHttp) -> None:
        """Returns once they are gone; what runs goes on. Raises CachesKept."""
        ...


async def ask_to_drop(worker: WorkerHttp) -> None:
    """Of a launcher with that route. Raises CachesKept."""
    try:
        answer = await ask(worker, "POST", DROP_ROUTE, {})
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise CachesKept(f"it does not answer: {error}") from error
    if answer.status != 200:
        raise CachesKept(f"it answers {answer.status}: {answer.error_text()}")
