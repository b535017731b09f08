"""What `roost up` hands the daemon and what the daemon tells back while it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class UpOptions:
    """Flags of `roost up`; None: not given, the settings decide."""

    host: str | None = None
    port: int | None = None
    #: Physical id that takes the place of the default role for this run; the registry file stays as it is.
    model: str | None = None
    #: workstation or server.
    profile: str | None = None


class Announcer(Protocol):
    """Who watches the start. Called from the event loop's thread; every call is quick and never raises."""

    def step(self, text: str) -> None:
        """Something is done or known, in one line: the memory budget, the engine chosen and why."""
        ...

    def progress(self, label: str, done_bytes: int, total_bytes: int | None) -> None:
        """A fetch has come so far; call it as often as is convenient. `done_bytes == total_bytes` ends it."""
        ...

    def ready(self, host: str, port: int, model: str, engine: str, *, tls: bool = False) -> None:
        """The default role can answer. Called once; `port` is the one that was really bound."""
        ...

    def problem(self, text: str, mend: str | None = None) -> None:
        """Something is wrong although the start goes on; `mend` is the command that repairs it."""
        ...
