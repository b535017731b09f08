"""How providers stand, as routing and people see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from roost.engines.far import FarServer
from roost.errors import CloudRefused, ModelNotFound


@dataclass(frozen=True)
class CloudModel:
    """What is known of one model of a provider; None: nothing is."""

    id: str
    context_length: int | None = None
    capabilities: frozenset[str] = frozenset({"chat", "tools", "vision"})
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None


@dataclass(frozen=True)
class CloudView:
    """One provider."""

    name: str
    kind: str
    #: The ids that may be asked; empty: any.
    models: tuple[CloudModel, ...]
    #: Why it is not to be asked now, for people; None: it may be. Offline, too many failures, budget spent.
    closed: str | None = None
    #: When that may be over, in seconds from now.
    again_s: float | None = None
    spent_today_usd: float = 0.0
    max_usd_per_day: float | None = None


class Clouds(Protocol):
    """All providers of the settings."""

    def views(self) -> tuple[CloudView, ...]:
        """As they stand now. Cheap: read at each request."""
        ...

    def model(self, cloud: str, model_id: str) -> CloudModel:
        """What is known of it. Raises ModelNotFound for a provider, or a model of it, that the settings do not
        name."""
        ...

    async def reach(
        self, cloud: str, model_id: str, *, key_budget_usd: float | None, key_name: str | None
    ) -> FarServer:
        """The way to it, its key looked up now. Raises CloudRefused, with what would mend it: no key, budget spent,
        offline, closed after failures."""
        ...

    def note(self, cloud: str, *, failed: bool) -> None:
        """A request got an answer, or none: no connection, 429 or 5xx."""
        ...

    def spent(
        self,
        cloud: str,
        model_id: str,
        key_name: str | None,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
    ) -> float | None:
        """Books what a request cost, in US dollars; None: nobody knows its price."""
        ...

    def secret_in(self, texts: Iterable[str]) -> str | None:
        """The kind of the first thing that looks like a secret (never the thing itself); None: nothing does."""
        ...


class NoClouds:
    """Where no provider is set."""

    def views(self) -> tuple[CloudView, ...]:
        return ()

    def model(self, cloud: str, model_id: str) -> CloudModel:
        raise ModelNotFound(f'no cloud is called "{cloud}"; write [clouds.{cloud}] into roost.toml')

    async def reach(
        self, cloud: str, model_id: str, *, key_budget_usd: float | None, key_name: str | None
    ) -> FarServer:
        raise CloudRefused(f'no cloud is called "{cloud}"; write [clouds.{cloud}] into roost.toml', should_retry=False)

    def note(self, cloud: str, *, failed: bool) -> None:
        return

    def spent(
        self,
        cloud: str,
        model_id: str,
        key_name: str | None,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
    ) -> float | None:
        return None

    def secret_in(self, texts: Iterable[str]) -> str | None:
        return None
