"""A whole gateway on a real socket in front of stand-in engines, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from roost.api import HostReport, RequestStatistics, RoleChange, RoleReport, StatusReport
from roost.catalog.spec import Capability, ModelFormat, ModelSpec, Source, SourceKind
from roost.config.settings import GatewaySettings, Settings
from roost.errors import RoostError
from roost.gateway.app import build_app
from roost.gateway.deps import GatewayDeps
from roost.gateway.protocol import GatewayRunner, runner_options
from roost.registry.types import Registry, RegistryState
from roost.store.keys import Consumer
from roost.store.types import ActivityRow
from roost.testing.engine import EngineOptions, Serving, serve
from roost.testing.pool import FakePool, FakeWorker
from roost.testing.stand_in import FixedCatalog
from roost.testing.wait import until
from roost.workers.types import Pool

MODEL = "org/model-a"
EMBEDDER = "org/embedder"


def spec(model_id: str, *capabilities: Capability, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=model_id,
        format=ModelFormat.DECLARED,
        path=None,
        source=Source(kind=SourceKind.DECLARED, location=model_id),
        capabilities=frozenset(capabilities or ("chat", "completion")),
        **more,
    )


@dataclass
class FakeKeys:
    owners: dict[str, Consumer] = field(default_factory=dict)

    def configured(self) -> bool:
        return bool(self.owners)

    def consumer(self, presented: str) -> Consumer | None:
        return self.owners.get(presented)


@dataclass
class MemoryActivity:
    rows: list[ActivityRow] = field(default_factory=list)

    def record(self, row: ActivityRow) -> None:
        self.rows.append(row)

    def recent(self, limit: int = 100, model: str | None = None) -> list[ActivityRow]:
        return [row for row in reversed(self.rows) if model in (None, row.resolved)][:limit]


@dataclass
class Front:
    """The gateway, and every hand on it that a test needs."""

    pool: FakePool
    engine: Serving
    session: aiohttp.ClientSession
    url: str
    port: int
    control_socket: Path
    activity: MemoryActivity
    keys: FakeKeys
    state: State

    @property
    def worker(self) -> FakeWorker:
        return self.pool.workers[MODEL]

    async def row(self, count: int = 1) -> ActivityRow:
        """The newest row once there are so many."""
        await until(lambda: len(self.activity.rows) >= count)
        return self.activity.rows[-1]

    async def chat(self, **more: Any) -> tuple[aiohttp.ClientResponse, bytes]:
        """One chat request, answered to its end."""
        async with self.session.post(f"{self.url}/v1/chat/completions", json=chat_body(**more)) as response:
            return response, await response.read()

    async def post(
        self, path: str, data: bytes, headers: dict[str, str] | None = None
    ) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
        """Any bytes, declared as JSON unless `headers` say otherwise."""
        sent = {"Content-Type": "application/json"} | (headers or {})
        async with self.session.post(f"{self.url}{path}", data=data, headers=sent) as response:
            return response, json.loads(await response.read())


@dataclass
class State:
    """What the dependencies return; tests change it."""

    settings: Settings
    registry: RegistryState
    draining: bool = False
    shut_down: bool = False
    daemon_log: str | None = None
    #: What writing a role runs into.
    role_refusal: RoostError | None = None
    roles: list[tuple[str, str]] = field(default_factory=list)


def chat_body(**more: Any) -> dict[str, Any]:
    return {"model": "default", "messages": [{"role": "user", "content": "What is two plus two?"}], **more}


def role_report(role: str, model: str | None) -> RoleReport:
    return RoleReport(role=role, resolves_to=model, via_default=False, state="on-disk", reachable=True)


def status_report(state: State) -> StatusReport:
    host = HostReport(
        name="here",
        chip="chip",
        cores=2,
        memory_total_bytes=1,
        memory_available_bytes=1,
        swap_used_bytes=0,
        swap_out_delta_bytes=None,
        load_average=None,
    )
    statistics = RequestStatistics(
        requests=0,
        errors=0,
        left=0,
        running=0,
        queued=0,
        ttft_p50_s=None,
        ttft_p95_s=None,
        decode_tokens_per_s=None,
        cached_share=None,
    )
    return StatusReport(
        version="1.2.3",
        endpoint="http://127.0.0.1",
        auth="open-loopback",
        pid=1,
        started_at=0.0,
        draining=state.draining,
        problems=(),
        host=host,
        rotation_policy="idle",
        registry_path="registry.json",
        registry_problem=None,
        settings_problem=None,
        workers=(),
        roles=(role_report("default", MODEL),),
        statistics=statistics,
        default_model=MODEL,
    )


def gateway_settings(**more: Any) -> Settings:
    return Settings(gateway=GatewaySettings(**more))


@asynccontextmanager
async def front(
    folder: Path,
    *,
    options: EngineOptions | None = None,
    settings: Settings | None = None,
    worker: dict[str, Any] | None = None,
    model: ModelSpec | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[Front]:
    """A gateway with one chat model (role default), one embedder (role embedding), on a free port."""
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(serve(options or EngineOptions()))
        chat = FakeWorker(model or spec(MODEL), engine.url, **(worker or {}))
        embedder = FakeWorker(spec(EMBEDDER, "embedding"), engine.url)
        pool = await stack.enter_async_context(FakePool(chat, embedder))
        roles = {"default": chat.spec.id, "embedding": EMBEDDER}
        state = State(settings or Settings(), RegistryState(Registry(roles=roles)))
        activity, keys = MemoryActivity(), FakeKeys()
        deps = gateway_deps(pool, (chat.spec, embedder.spec), state, activity, keys)
        runner = await _run(stack, build_app(deps), state.settings)
        site = web.TCPSite(runner, host, 0)
        await site.start()
        control = await _run(stack, build_app(deps, control=True), state.settings)
        await web.UnixSite(control, folder / "c.sock").start()
        port = runner.addresses[0][1]
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        url = f"http://{host}:{port}"
        yield Front(pool, engine, session, url, port, folder / "c.sock", activity, keys, state)


async def _run(stack: AsyncExitStack, app: web.Application, settings: Settings) -> web.AppRunner:
    runner = GatewayRunner(app, shutdown_timeout=0.1, **runner_options(settings.gateway))
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


@asynccontextmanager
async def listening(deps: GatewayDeps, settings: Settings) -> AsyncIterator[str]:
    """A gateway over any pool, on a free port; its address."""
    async with AsyncExitStack() as stack:
        runner = await _run(stack, build_app(deps), settings)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"


def gateway_deps(
    pool: Pool, models: Iterable[ModelSpec], state: State, activity: MemoryActivity, keys: FakeKeys
) -> GatewayDeps:
    async def put_role(role: str, change: RoleChange) -> RoleReport:
        if state.role_refusal is not None:
            raise state.role_refusal
        state.roles.append((role, change.model))
        return role_report(role, change.model)

    def shut_down() -> None:
        state.shut_down = True

    return GatewayDeps(
        settings=lambda: state.settings,
        registry=lambda: state.registry,
        catalog=FixedCatalog({model.id: model for model in models}),
        pool=pool,
        activity=activity,
        keys=keys,
        status=lambda: status_report(state),
        put_role=put_role,
        draining=lambda: state.draining,
        node="here",
        version="1.2.3",
        daemon_log=lambda: state.daemon_log,
        shutdown=shut_down,
    )


def changed(state: State, **more: Any) -> None:
    """Swap the settings as a reload does."""
    state.settings = state.settings.model_copy(update=more)
