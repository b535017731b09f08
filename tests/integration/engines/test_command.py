"""A server that only a command line describes: the stand-in engine on a loopback port."""

from __future__ import annotations

import sys

import pytest

from roost.config.paths import Paths
from roost.config.settings import CommandWorker, Knobs, ModelSettings
from roost.engines.command import Command
from roost.engines.http import worker_http
from roost.engines.types import Healthy, Loading, TcpEndpoint
from roost.errors import UpstreamCrashed
from tests.integration.engines.engine_process import free_port, running_worker
from tests.unit.engines.specs import declared

ENGINE = Command(Paths.from_environment({"ROOST_HOME": "/nowhere"}), {})
STAND_IN = f"{sys.executable} -m roost.testing.engine --port ${{PORT}}"


def settings(flags: str = "", **more: str) -> ModelSettings:
    return ModelSettings(command=CommandWorker.model_validate({"cmd": f"{STAND_IN} {flags}", **more}))


@pytest.mark.parametrize("check", ["/health", "/v1/models", "none"])
async def test_it_is_healthy_once_its_check_answers(check: str) -> None:
    model = settings(check_endpoint=check)
    async with running_worker(ENGINE, declared(), Knobs(), model, free_port()) as worker:
        await ENGINE.generate_token(worker.http, "mine", frozenset({"chat"}))


async def test_a_check_that_never_succeeds_stays_loading() -> None:
    async with running_worker(ENGINE, declared(), Knobs(), settings(), port := free_port()) as worker:
        http = worker_http(TcpEndpoint("127.0.0.1", port, health_path="/no-such-path"))
        health = await ENGINE.health(http)
        await http.session.close()
    assert isinstance(health, Loading)
    assert "404" in health.detail
    assert isinstance(worker.health, Healthy)


async def test_nobody_listening_is_loading_and_no_token() -> None:
    http = worker_http(TcpEndpoint("127.0.0.1", free_port(), health_path="none"))
    try:
        assert isinstance(await ENGINE.health(http), Loading)
        with pytest.raises(UpstreamCrashed):
            await ENGINE.generate_token(http, "mine", frozenset({"chat"}))
    finally:
        await http.session.close()
