"""The vllm-mlx worker for real: one process on a unix socket, with a model in float32 on the CPU."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.http import ask, worker_http
from roost.engines.types import Available, Healthy, WorkerHttp, WorkerPlace
from roost.engines.vllm_mlx import VllmMlx
from roost.host.this import this_memory
from roost.testing.wait import until_sync
from tests.integration.engines.mlx_process import (
    MlxProcess,
    broken_copy,
    files_under,
    folder_spec,
    mlx_process,
    until_healthy,
)

pytestmark = pytest.mark.engines

CONTEXT = 96
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
#: Appears in every prompt that a test wants to find nowhere else.
SECRET = "zebra-quartz-7781"


@pytest.fixture(scope="module")
def engine(vllm_mlx_python: Path) -> VllmMlx:
    paths = Paths.from_environment({"ROOST_HOME": "/nowhere", "HOME": "/nowhere"})
    return VllmMlx(paths, {"ROOST_ENGINE_VLLM_MLX_PYTHON": str(vllm_mlx_python), "PATH": "/usr/bin:/bin"})


@pytest.fixture(scope="module")
def worker(engine: VllmMlx, mlx_model_folder: Path) -> Iterator[MlxProcess]:
    """The engine at its most talkative, and a small prefill step, so that a cancel comes soon."""
    knobs = Knobs(engine_log_level="debug", prefill_batch=32, tool_parser="hermes", reasoning_parser="qwen3")
    with mlx_process(engine, folder_spec(mlx_model_folder, CONTEXT), knobs) as running:
        until_healthy(engine, running)
        yield running


def test_the_engine_says_its_version(engine: VllmMlx, vllm_mlx_python: Path) -> None:
    state = engine.availability()
    assert isinstance(state, Available)
    assert (state.where, state.device) == (str(vllm_mlx_python), "cpu")


def test_health_tells_name_and_context(engine: VllmMlx, worker: MlxProcess) -> None:
    assert until_healthy(engine, worker)[-1] == Healthy(served_names=("org/smol",), context_length=CONTEXT)


def test_a_greedy_chat_answers_and_counts_its_tokens(worker: MlxProcess) -> None:
    body = {"messages": QUESTION, "tools": TOOLS}
    status, answer = worker.post("/v1/chat/completions", {**body, "max_tokens": 16, "temperature": 0})
    assert status == 200
    assert "4" in answer["choices"][0]["message"]["content"]
    assert worker.post("/roost/count", body) == (200, {"prompt_tokens": answer["usage"]["prompt_tokens"]})


def test_a_stream_ends_with_usage_and_done_and_has_no_comments_by_the_clock(worker: MlxProcess) -> None:
    options = {"max_tokens": 2, "temperature": 0, "stream_options": {"include_usage": True}}
    events = worker.events("/v1/chat/completions", {"messages": QUESTION, **options})
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 2
    assert all(event.startswith("data: ") for event in events)


def test_the_context_ends_a_reply(worker: MlxProcess) -> None:
    _, answer = worker.post("/v1/completions", {"prompt": "tick tock " * 28, "temperature": 0})
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == CONTEXT
    assert worker.post("/v1/completions", {"prompt": "tick tock " * CONTEXT})[0] == 400
    assert worker.generates()


def test_a_bias_on_a_token_that_is_not_there_is_400(worker: MlxProcess) -> None:
    body = {"messages": QUESTION, "max_tokens": 1, "logit_bias": {"99999999": 1}}
    assert worker.post("/v1/chat/completions", body)[0] == 400
    assert worker.generates()


def test_two_requests_are_computed_together(worker: MlxProcess) -> None:
    body = {"prompt": "Hello", "max_tokens": 4}
    with ThreadPoolExecutor() as pool:
        statuses = list(pool.map(lambda _: worker.post("/v1/completions", body)[0], range(3)))
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_generation(worker: MlxProcess, stream: bool) -> None:
    aborted, started = worker.log.count(" ABORTED "), worker.log.count("[schedule]")
    connection = worker.send("/v1/completions", {"prompt": "word " * 60, "max_tokens": 30, "stream": stream})
    until_sync(lambda: worker.log.count("[schedule]") > started, timeout_s=30)
    connection.close()
    until_sync(lambda: worker.log.count(" ABORTED ") > aborted, timeout_s=20)
    assert worker.generates()


def test_prompts_reach_neither_the_log_nor_the_disk(worker: MlxProcess) -> None:
    worker.post("/v1/chat/completions", {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 1})
    worker.events("/v1/completions", {"prompt": SECRET, "max_tokens": 1})
    worker.post("/v1/completions", f'{{"prompt": "{SECRET}'.encode())
    worker.post("/v1/chat/completions", {"messages": [{"text": SECRET}]})
    worker.post("/roost/count", {"messages": [{"text": SECRET}]})
    assert "/v1/chat/completions" in worker.log
    assert SECRET not in worker.log
    assert not any(SECRET.encode() in content for content in files_under(worker.home))


def test_the_socket_is_for_its_owner_alone_and_argv_shows_the_folder(
    worker: MlxProcess, mlx_model_folder: Path
) -> None:
    assert stat.S_IMODE(worker.socket_path.stat().st_mode) == 0o700
    assert worker.plan.argv[-1] == str(mlx_model_folder)


def test_a_stop_is_at_once_and_writes_no_cache(engine: VllmMlx, mlx_model_folder: Path) -> None:
    with mlx_process(engine, folder_spec(mlx_model_folder), Knobs()) as stopping:
        until_healthy(engine, stopping)
        stopping.process.terminate()
        assert stopping.process.wait(timeout=5) == -15
        # A stop in order would save the cached prompts; uvicorn announces it.
        assert "shutting down" not in stopping.log.lower()
        assert not list(stopping.home.rglob("prefix_cache"))


def test_a_load_that_fails_exits_with_its_reason_in_the_last_line(
    engine: VllmMlx, mlx_model_folder: Path, tmp_path: Path
) -> None:
    broken = broken_copy(mlx_model_folder, tmp_path / "broken")
    with mlx_process(engine, folder_spec(broken), Knobs()) as failing:
        assert failing.process.wait(timeout=60) == 1
        assert failing.log.splitlines()[-1].startswith("cannot load ")


def test_a_parked_worker_gives_its_memory_back_and_wakes_with_the_same_sizes(
    engine: VllmMlx, mlx_model_folder: Path
) -> None:
    """Its own way of loading late would forget the share of GPU memory."""
    body = {"messages": QUESTION, "max_tokens": 4, "temperature": 0}
    knobs = Knobs(prefill_batch=32, gpu_memory_share=0.5)
    with mlx_process(engine, folder_spec(mlx_model_folder, CONTEXT), knobs) as worker:
        until_healthy(engine, worker)
        _, before = worker.post("/v1/chat/completions", body)
        sizes, held = told(engine.memory_settings, worker), private_bytes(worker)
        assert sizes["share"] == 0.5
        for _ in range(2):
            told(lambda http: engine.park(http, NOWHERE), worker)
            assert private_bytes(worker) < engine.parked_bytes < held / 2
            told(lambda http: engine.wake(http, NOWHERE), worker)
            until_healthy(engine, worker)
            assert told(engine.memory_settings, worker) == sizes
        _, after = worker.post("/v1/chat/completions", body)
        assert after["choices"] == before["choices"]


def test_cached_prompts_are_dropped_and_their_memory_comes_back(engine: VllmMlx, mlx_model_folder: Path) -> None:
    body = {"prompt": "one two three " * 60, "max_tokens": 2, "temperature": 0}
    with mlx_process(engine, folder_spec(mlx_model_folder, 1024), Knobs(prefill_batch=256)) as worker:
        until_healthy(engine, worker)
        assert worker.post("/v1/completions", body)[0] == 200
        held = private_bytes(worker)
        assert told(cached_entries, worker) > 0
        told(engine.drop_caches, worker)
        assert told(cached_entries, worker) == 0
        assert private_bytes(worker) < held - 6 * 2**20
        assert worker.generates()


async def cached_entries(http: WorkerHttp) -> int:
    told = (await ask(http, "GET", "/v1/cache/stats")).json()
    assert isinstance(told, dict)
    return int(told["engine_cache"]["entry_count"])


NOWHERE = WorkerPlace(Path("/nowhere"), Path("/nowhere"), 0, "")


def private_bytes(worker: MlxProcess) -> int:
    reading = this_memory().process(worker.process.pid)
    return reading.private_bytes if reading else 0


def told(question: Callable[[WorkerHttp], Awaitable[Any]], worker: MlxProcess) -> Any:
    async def ask() -> Any:
        http = worker_http(worker.plan.endpoint)
        try:
            return await question(http)
        finally:
            await http.session.close()

    return asyncio.run(ask())
