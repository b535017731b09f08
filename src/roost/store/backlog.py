"""Rows on their way to the database: filled by the event loop, emptied by the writer's thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from roost.store.types import ActivityRow


class Backlog:
    """A bounded queue of rows, safe between two threads. When it is full the oldest row is dropped and counted."""

    def __init__(self, largest_rows: int) -> None:
        self._largest_rows = largest_rows
        self._rows: deque[ActivityRow] = deque()
        self._dropped = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dropped(self) -> int:
        """Rows that were never written, since the start."""
        return self._dropped

    def add(self, row: ActivityRow) -> None:
        with self._lock:
            self._rows.append(row)
            self._drop_surplus()

    def take(self, most: int) -> list[ActivityRow]:
        """Remove and return the oldest rows; they are the caller's until written or put back."""
        with self._lock:
            return [self._rows.popleft() for _ in range(min(most, len(self._rows)))]

    def put_back(self, rows: Sequence[ActivityRow]) -> None:
        """Return rows that could not be written to the front, in their order."""
        with self._lock:
            self._rows.extendleft(reversed(rows))
            self._drop_surplus()

    def _drop_surplus(self) -> None:
        while len(self._rows) > self._largest_rows:
            self._rows.popleft()
            self._dropped += 1
