"""What the stand-in engine saw: the exact bytes of each request and how it ended."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SeenRequest:
    """One request, filled in while it runs."""

    number: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    started_at: float
    tokens_sent: int = 0
    #: Unix time at which the client was seen to have left; None: it stayed.
    disconnected_at: float | None = None
    ended_at: float | None = None
    #: Of a websocket: the code that the client closed it with.
    close_code: int | None = None

    @property
    def digest(self) -> str:
        """The first 16 digits of the body's sha256: what the reply echoes."""
        return hashlib.sha256(self.body).hexdigest()[:16]

    def header(self, name: str) -> str | None:
        """The first header of that name; None when it was not sent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def report(self) -> dict[str, Any]:
        """As `GET /stand-in/requests` shows it; the body in base64, since it may be anything."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body_base64": base64.b64encode(self.body).decode(),
            "digest": self.digest,
            "started_at": self.started_at,
            "tokens_sent": self.tokens_sent,
            "disconnected": self.disconnected_at is not None,
            "disconnected_at": self.disconnected_at,
            "ended_at": self.ended_at,
            "close_code": self.close_code,
        }


@dataclass
class Recorder:
    """Every request to a generating route, oldest first, and how many ran at once."""

    requests: list[SeenRequest] = field(default_factory=list)
    running: int = 0
    peak_running: int = 0

    def begin(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> SeenRequest:
        seen = SeenRequest(len(self.requests), method, path, headers, body, started_at=time.time())
        self.requests.append(seen)
        self.running += 1
        self.peak_running = max(self.peak_running, self.running)
        return seen

    def end(self, seen: SeenRequest) -> None:
        seen.ended_at = time.time()
        self.running -= 1

    def report(self) -> dict[str, Any]:
        return {
            "running": self.running,
            "peak_running": self.peak_running,
            "requests": [seen.report() for seen in self.requests],
        }
