"""Paired machines and providers for tests of what stands in front of them: real servers behind, their state by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import aiohttp

from roost.cloud.types import CloudModel, CloudView
from roost.engines.far import FarServer
from roost.engines.wire import Wire
from roost.errors import CloudRefused, ModelNotFound, NodeUnreachable, RoostError
from roost.nodes.types import Link, NodeView, PeerModel

_SURFACES = frozenset({"chat", "completions", "embeddings", "rerank"})
_ABILITIES = frozenset({"chat", "completion", "tools"})


def peer_model(model_id: str, **more: object) -> PeerModel:
    """A model of a paired machine that can chat and is loaded."""
    told = PeerModel(model_id, "f" * 64, "resident", 4096, _ABILITIES)
    return replace(told, **more)  # type: ignore[arg-type]


class _Calls:
    """Owns the session by which others are called, as an async context."""

    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()


@dataclass
class FakePeer:
    """One paired machine: a server that runs elsewhere, and the state that a test gives it."""

    url: str
    models: tuple[PeerModel, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    link: Link = Link.UP
    draining: bool = False
    wakes: bool = False
    #: Raised by `reach`.
    refusal: RoostError | None = None
    first_byte_s: float | None = None
    idle_s: float | None = None
    #: What was noted of it: True, it failed.
    noted: list[bool] = field(default_factory=list)
    reached: int = 0


@dataclass
class FakeNodes(_Calls):
    """See `nodes.types.Nodes`."""

    peers: dict[str, FakePeer] = field(default_factory=dict)

    def views(self) -> tuple[NodeView, ...]:
        return tuple(
            NodeView(
                name=name,
                node_id=name.encode().hex(),
                address=peer.url,
                link=peer.link,
                latency_s=0.001,
                draining=peer.draining,
                models=peer.models,
                roles=peer.roles,
                problem=None if peer.link is Link.UP else "it does not answer",
                wakes=peer.wakes,
            )
            for name, peer in self.peers.items()
        )

    async def reach(self, name: str) -> FarServer:
        peer = self.peers.get(name)
        if peer is None:
            raise NodeUnreachable(f"{name} is not paired")
        peer.reached += 1
        if peer.refusal is not None:
            raise peer.refusal
        server = _server(self._session, name, peer.url, {}, peer.first_byte_s, peer.idle_s)
        return replace(server, is_away=lambda: peer.link is Link.DOWN)

    def note(self, name: str, *, failed: bool) -> None:
        self.peers[name].noted.append(failed)


@dataclass
class FakeCloud:
    """One provider."""

    url: str
    #: Empty: any model.
    models: tuple[CloudModel, ...] = ()
    closed: str | None = None
    refusal: RoostError | None = None
    max_tokens_field: str = "max_completion_tokens"
    surfaces: frozenset[str] = _SURFACES
    first_byte_s: float | None = None
    idle_s: float | None = None
    noted: list[bool] = field(default_factory=list)


@dataclass
class FakeClouds(_Calls):
    """See `cloud.types.Clouds`. What looks like a secret here is whatever `looks_secret` says."""

    providers: dict[str, FakeCloud] = field(default_factory=dict)
    looks_secret: Callable[[str], bool] = lambda text: "SECRET-" in text
    #: (provider, model, key's name, tokens of the prompt, from the cache, of the answer).
    booked: list[tuple[str, str, str | None, int, int, int]] = field(default_factory=list)
    #: (provider, the key's budget, its name) of each time that one was reached.
    asked: list[tuple[str, float | None, str | None]] = field(default_factory=list)

    def views(self) -> tuple[CloudView, ...]:
        return tuple(CloudView(name, "openai", one.models, closed=one.closed) for name, one in self.providers.items())

    def model(self, cloud: str, model_id: str) -> CloudModel:
        own = self.providers.get(cloud)
        if own is None:
            raise ModelNotFound(f"no provider of the name {cloud!r} is set")
        return next((model for model in own.models if model.id == model_id), CloudModel(model_id))

    async def reach(
        self, cloud: str, model_id: str, *, key_budget_usd: float | None, key_name: str | None
    ) -> FarServer:
        own = self.providers[cloud]
        self.asked.append((cloud, key_budget_usd, key_name))
        if own.refusal is not None:
            raise own.refusal
        if own.closed is not None:
            raise CloudRefused(own.closed)
        headers = {"Authorization": "Bearer sk-of-the-provider"}
        server = _server(self._session, f"cloud:{cloud}", own.url, headers, own.first_byte_s, own.idle_s)
        return replace(server, max_tokens_field=own.max_tokens_field, surfaces=own.surfaces)

    def note(self, cloud: str, *, failed: bool) -> None:
        self.providers[cloud].noted.append(failed)

    def spent(
        self,
        cloud: str,
        model_id: str,
        key_name: str | None,
        prompt_tokens: int,
        cached_tokens: int,
        completion_tokens: int,
    ) -> float | None:
        self.booked.append((cloud, model_id, key_name, prompt_tokens, cached_tokens, completion_tokens))
        return 0.001

    def secret_in(self, texts: Iterable[str]) -> str | None:
        return "planted" if any(self.looks_secret(text) for text in texts) else None


def _server(
    session: aiohttp.ClientSession | None,
    name: str,
    url: str,
    headers: Mapping[str, str],
    first_byte_s: float | None,
    idle_s: float | None,
) -> FarServer:
    assert session is not None
    return FarServer(
        name=name,
        session=session,
        wire=Wire(session, url, headers, 2.0),
        base_url=url,
        headers=headers,
        surfaces=_SURFACES,
        first_byte_s=first_byte_s,
        idle_s=idle_s,
    )
