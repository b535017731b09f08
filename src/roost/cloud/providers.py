"""All providers of the settings: how each stands, and the way to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from roost.cloud.address import Address, address_of
from roost.cloud.anthropic.wire import MessagesWire
from roost.cloud.anthropic.wire import headers as anthropic_headers
from roost.cloud.connections import cloud_session, look
from roost.cloud.health import OFFLINE, Closed, Health
from roost.cloud.keys import EXTRA, look_up
from roost.cloud.money import ANSWER_TOKENS, BYTES_PER_TOKEN, Books
from roost.cloud.prices import Prices
from roost.cloud.secrets import SecretScan
from roost.cloud.types import CloudModel, CloudView
from roost.cloud.wire import CONNECT_TIMEOUT_S, CloudWire
from roost.config.far import CloudModelSettings, CloudSettings, key_reference
from roost.engines.far import FarServer
from roost.engines.wire import Poster, Wire
from roost.errors import CloudRefused, ModelNotFound

SURFACES: Mapping[str, frozenset[str]] = {
    "openai": frozenset({"chat", "completions", "embeddings"}),
    "anthropic": frozenset({"chat", "messages"}),
}
#: How long a key that was not found is taken for missing; a keyring may be unlocked at any time.
NO_KEY_S = 5.0


class Scan(Protocol):
    """Looks for secrets."""

    def missing(self) -> str | None:
        """Why it cannot, and what would mend that."""
        ...

    def load(self) -> None: ...

    def first_in(self, texts: Iterable[str]) -> str | None: ...


@dataclass
class Provider:
    """What is remembered of one, as long as its address stays."""

    address: Address
    health: Health = field(default_factory=Health)
    #: Its key was looked for in vain: until then it is said to have none.
    no_key_until: float = 0.0


@dataclass(repr=False, eq=False)
class Providers:
    """`Clouds` over live settings: a change of them holds from the next request on. Close it at the end."""

    settings: Callable[[], Mapping[str, CloudSettings]]
    environ: Mapping[str, str]
    books: Books
    prices: Prices = field(default_factory=Prices)
    scan: Scan = field(default_factory=SecretScan)
    clock: Callable[[], float] = time.monotonic
    #: Set when somebody cannot be reached; whoever looks again clears it.
    went_away: asyncio.Event = field(default_factory=asyncio.Event)
    _session: aiohttp.ClientSession | None = None
    _loaded: bool = False
    _known: dict[str, Provider] = field(default_factory=dict)

    def views(self) -> tuple[CloudView, ...]:
        return tuple(self._view(name, cloud) for name, cloud in self.settings().items())

    def model(self, cloud: str, model_id: str) -> CloudModel:
        settings = self._settings_of(cloud)
        declared = settings.models.get(model_id)
        if declared is None and settings.models:
            raise ModelNotFound(
                f'cloud {cloud} may not be asked for "{model_id}"; its models are {", ".join(settings.models)}; '
                f"add it to clouds.{cloud}.models in roost.toml"
            )
        return _model(model_id, declared)

    async def reach(
        self, cloud: str, model_id: str, *, key_budget_usd: float | None, key_name: str | None
    ) -> FarServer:
        self.model(cloud, model_id)
        settings = self._settings_of(cloud)
        if not self._loaded:
            await asyncio.to_thread(self.load)
        if missing := self.scan.missing():
            raise CloudRefused(f"cannot ask cloud {cloud}: {missing}", should_retry=False)
        if closed := self._provider(cloud, settings).health.closed(self.clock()):
            raise _closed(cloud, closed)
        self._check_money(cloud, settings, model_id, key_budget_usd, key_name or "")
        try:
            key = await look_up(cloud, settings.api_key, self.environ)
        except CloudRefused:
            self._provider(cloud, settings).no_key_until = self.clock() + NO_KEY_S
            raise
        return self._server(cloud, settings, model_id, key, key_name or "")

    def note(self, cloud: str, *, failed: bool) -> None:
        settings = self.settings().get(cloud)
        if settings is None:
            return
        health = self._provider(cloud, settings).health
        if failed:
            health.failed(self.clock())
        else:
            health.answered()

    def spent(
        self,
        cloud: str,
        model_id: str,
        key_name: str | None,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
    ) -> float | None:
        settings = self.settings().get(cloud)
        if settings is None:
            return None
        usd = self.prices.usd(settings, model_id, prompt_tokens, cached_tokens, completion_tokens)
        if usd is not None:
            self.books.book(cloud, model_id, key_name or "", prompt_tokens, completion_tokens, usd)
        return usd

    def secret_in(self, texts: Iterable[str]) -> str | None:
        return self.scan.first_in(texts)

    def load(self) -> None:
        """Blocking, once: what is only needed where there are clouds, and takes a second to be imported."""
        self.prices.load()
        self.scan.load()
        self._loaded = True

    def any_away(self) -> bool:
        """Whether somebody cannot be reached."""
        return any(provider.health.is_away for name, provider in self._known.items() if name in self.settings())

    async def look_again(self) -> None:
        """Tries those that could not be reached and whose next look is due, all at once."""
        async with asyncio.TaskGroup() as group:
            for name, provider in self._known.items():
                if name in self.settings() and provider.health.look_due(self.clock()):
                    group.create_task(self._look(provider), name=f"look at {name}")

    async def _look(self, provider: Provider) -> None:
        why = await look(provider.address)
        if why is None:
            provider.health.reachable()
        else:
            provider.health.unreachable(self.clock(), why, looked=True)

    async def close(self) -> None:
        """Ends the connections, and every answer that is still being read."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _settings_of(self, cloud: str) -> CloudSettings:
        found = self.settings().get(cloud)
        if found is None:
            known = ", ".join(self.settings()) or "none"
            raise ModelNotFound(f'no cloud is called "{cloud}"; there are: {known}; write [clouds.{cloud}]')
        return found

    def _provider(self, cloud: str, settings: CloudSettings) -> Provider:
        address = address_of(settings.url)
        provider = self._known.get(cloud)
        if provider is None or provider.address != address:
            provider = self._known[cloud] = Provider(address)
        return provider

    def _view(self, name: str, settings: CloudSettings) -> CloudView:
        closed = self._closed(name, settings)
        return CloudView(
            name=name,
            kind=settings.kind,
            models=tuple(_model(model_id, own) for model_id, own in settings.models.items()),
            closed=closed.why if closed else None,
            again_s=closed.again_s if closed and closed.again_s else None,
            spent_today_usd=self.books.spent_at(name),
            max_usd_per_day=settings.max_usd_per_day,
        )

    def _closed(self, name: str, settings: CloudSettings) -> Closed | None:
        provider, now, limit = self._provider(name, settings), self.clock(), settings.max_usd_per_day
        if closed := provider.health.closed(now):
            return closed
        if missing := self.scan.missing():
            return Closed(missing, 0)
        if now < provider.no_key_until or not self._has_variable(settings.api_key):
            return Closed("no key", max(0.0, provider.no_key_until - now))
        if limit is not None and self.books.promised_at(name) >= limit:
            return Closed("its budget of the day is spent", self.books.seconds_left())
        return None

    def _has_variable(self, reference: str) -> bool:
        """Whether a key may be there: a variable is looked at, everything else costs too much."""
        parsed = key_reference(reference)
        return parsed is None or parsed.kind != "env" or bool(self.environ.get(parsed.value))

    def _check_money(
        self, cloud: str, settings: CloudSettings, model_id: str, key_budget_usd: float | None, key_name: str
    ) -> None:
        limit = settings.max_usd_per_day
        if limit is None and key_budget_usd is None:
            return
        if not self.prices.known(settings, model_id):
            hint = "" if self.prices.has_table else f", or {EXTRA}"
            raise CloudRefused(
                f"cannot ask cloud {cloud} for {model_id}: there is a budget, and nobody knows its price; set "
                f"usd_per_million_input and usd_per_million_output in its table of clouds.{cloud}.models{hint}",
                should_retry=False,
            )
        if limit is not None and (promised := self.books.promised_at(cloud)) >= limit:
            raise _spent(f"cloud {cloud}", promised, limit, f"raise clouds.{cloud}.max_usd_per_day")
        if key_budget_usd is not None and (promised := self.books.promised_by(key_name)) >= key_budget_usd:
            raise _spent(f"cloud {cloud} with key {key_name}", promised, key_budget_usd, "give the key more")

    def _server(self, cloud: str, settings: CloudSettings, model_id: str, key: str, key_name: str) -> FarServer:
        if self._session is None:
            self._session = cloud_session()
        provider = self._provider(cloud, settings)
        anthropic = settings.kind == "anthropic"
        headers = anthropic_headers(key) if anthropic else {"Authorization": f"Bearer {key}"}
        watch = _Watch(self, provider, cloud, settings, model_id, key_name)
        wire: Poster = CloudWire(
            Wire(self._session, provider.address.base, headers, CONNECT_TIMEOUT_S), provider.address, watch
        )
        return FarServer(
            name=f"cloud:{cloud}",
            session=self._session,
            wire=MessagesWire(wire, cloud) if anthropic else wire,
            base_url=provider.address.base,
            headers=headers,
            surfaces=SURFACES[settings.kind],
            max_tokens_field="max_tokens" if anthropic else provider.address.max_tokens_field,
            first_byte_s=settings.first_byte_s,
            idle_s=settings.idle_s,
        )


@dataclass(frozen=True)
class _Watch:
    """What the wire sees of one request goes to the provider's health and to the books."""

    of: Providers
    provider: Provider
    cloud: str
    settings: CloudSettings
    model_id: str
    key_name: str

    def unreachable(self, why: str) -> None:
        self.provider.health.unreachable(self.of.clock(), why)
        self.of.went_away.set()

    def asked_to_wait(self, seconds: float) -> None:
        self.provider.health.asked_to_wait(self.of.clock(), seconds)

    def begun(self, body_bytes: int) -> Callable[[], None]:
        tokens = body_bytes // BYTES_PER_TOKEN
        usd = self.of.prices.usd(self.settings, self.model_id, tokens, 0, ANSWER_TOKENS)
        return self.of.books.reserve(self.cloud, self.key_name, usd or 0.0)


def _model(model_id: str, declared: CloudModelSettings | None) -> CloudModel:
    if declared is None:
        return CloudModel(model_id)
    return CloudModel(
        id=model_id,
        context_length=declared.context_length,
        capabilities=frozenset(declared.capabilities),
        usd_per_million_input=declared.usd_per_million_input,
        usd_per_million_output=declared.usd_per_million_output,
    )


def _closed(cloud: str, closed: Closed) -> CloudRefused:
    if closed.unreachable is not None:
        why, mend = f"{OFFLINE}: {closed.unreachable}", "it is looked for by itself"
    else:
        why, mend = closed.why, "it is tried again by itself"
    return CloudRefused(
        f"cannot ask cloud {cloud}: {why}; {mend}, next in {closed.again_s:.0f} s", retry_after_s=closed.again_s
    )


def _spent(what: str, promised: float, limit: float, mend: str) -> CloudRefused:
    return CloudRefused(
        f"cannot ask {what}: ${promised:.4f} of the ${limit:.2f} of this day are spent or promised to running "
        f"requests; {mend}, or wait until midnight UTC",
        should_retry=False,
    )
