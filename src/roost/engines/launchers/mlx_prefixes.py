"""The cached prompts of mlx_lm.server, for its launcher alone: imported inside the engine's own interpreter."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path
from typing import Any

from mlx_lm import server

# As in the launcher itself.
sys.path.append(str(Path(__file__).parents[3]))
from roost.host.heap import give_back

sys.path.pop()


class PrefixCache(server.LRUPromptCache):  # type: ignore[misc]  # the engine has no types here
    """Always leaves one token to compute: an exact hit leaves none, which ends the generation thread (0.32.2). Other
    threads than that one may drop all of it."""

    def __init__(self, *limits: int) -> None:
        super().__init__(*limits)
        self._lock = threading.RLock()

    def fetch_nearest_cache(self, model: Any, tokens: list[int]) -> tuple[Any, list[int]]:
        with self._lock:
            cache, rest = super().fetch_nearest_cache(model, tokens)
            if rest or not tokens:
                return cache, rest
            cache, rest = super().fetch_nearest_cache(model, tokens[:-1])
            return cache, [*rest, tokens[-1]]

    def insert_cache(self, *entry: Any, **kind: Any) -> None:
        with self._lock:
            super().insert_cache(*entry, **kind)

    def trim_to(self, **limits: int) -> None:
        with self._lock:
            super().trim_to(**limits)

    def drop(self) -> None:
        """All of it, and MLX's cache of buffers. A request that uses one of them has a copy of its own."""
        self.trim_to(n_sequences=0)
        gc.collect()
        server.mx.clear_cache()
        give_back()
