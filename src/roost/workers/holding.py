"""What one start may take of the memory, told to its guardian once there is one; and what it had when that ended it."""

from __future__ import annotations

from roost.memory.lines import Beyond, Lines, why_ended
from roost.workers.process import WorkerProcess


class Holding:
    """Lines may be drawn before there is a process, and again while it runs."""

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._process: WorkerProcess | None = None

    def hold_to(self, lines: Lines) -> None:
        self._lines = lines
        if self._process:
            self._process.hold_to(lines)

    def hold(self, process: WorkerProcess) -> None:
        self._process = process
        if self._lines:
            process.hold_to(self._lines)

    @property
    def beyond(self) -> Beyond | None:
        return self._process.beyond if self._process else None

    def why_ended(self) -> str:
        """ "" unless its guardian ended it for its memory."""
        if self._lines is None or self.beyond is None:
            return ""
        return f"was ended for its memory: {why_ended(self._lines, self.beyond)}"
