"""A server that roost does not supervise: an aiohttp application in this process plays it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from roost.config.paths import Paths
from roost.config.settings import ExternalWorker, Knobs, ModelSettings
from roost.engines.external import External
from roost.engines.http import worker_http
from roost.engines.types import Health, Healthy, Loading, Unhealthy, Unreachable
from tests.integration.engines.engine_process import worker_place
from tests.unit.engines.specs import declared

ENGINE = External(Paths.from_environment({"ROOST_HOME": "/nowhere"}), {"THEIR_KEY": "sk-right"})


@asynccontextmanager
async def remote(status: int = 200, seen: list[str] | None = None) -> AsyncIterator[str]:
    async def models(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(f"{request.method} {request.path} {request.headers.get('Authorization')}")
        return web.json_response({"data": [{"id": "theirs", "max_model_len": 4096}]}, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", models)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1"))


async def health_of(url: str, **more: str) -> Health:
    model = ModelSettings(external=ExternalWorker.model_validate({"url": url, **more}))
    with worker_place() as place:
        http = worker_http(ENGINE.launch(declared(), Knobs(), model, place).endpoint)
    try:
        await ENGINE.generate_token(http, "theirs", frozenset({"chat"}))
        return await ENGINE.health(http)
    finally:
        await http.session.close()


async def test_it_is_asked_for_its_models_with_its_key_and_never_for_a_token() -> None:
    seen: list[str] = []
    async with remote(seen=seen) as url:
        assert await health_of(url, api_key="env:THEIR_KEY") == Healthy(("theirs",), 4096)
    assert seen == ["GET /v1/models Bearer sk-right"]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unhealthy), (500, Unhealthy), (404, Healthy), (503, Loading), (502, Unreachable)]
)
async def test_what_its_status_means(status: int, kind: type[Health]) -> None:
    async with remote(status) as url:
        assert isinstance(await health_of(url), kind)


async def test_a_server_that_is_not_there_is_not_loading_and_its_reason_is_told() -> None:
    async with remote() as url:
        pass
    assert await health_of(url) == Unreachable("connection refused")


async def test_a_name_that_nobody_knows_is_told() -> None:
    assert await health_of("http://nobody.invalid/v1") == Unreachable("its name is not known")


async def test_a_server_that_speaks_no_tls_is_told() -> None:
    async with remote() as url:
        health = await health_of(url.replace("http://", "https://"))
    assert isinstance(health, Unreachable) and "TLS" in health.reason
