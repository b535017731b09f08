"""The mlx-lm worker for real: one process on a unix socket, with a model in float32 on the CPU."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.http import worker_http
from roost.engines.mlx_lm import MlxLm
from roost.engines.types import Available, Healthy
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

CONTEXT = 20
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
#: Appears in every prompt that a test wants to find nowhere else.
SECRET = "zebra-quartz-7781"


@pytest.fixture(scope="module")
def engine(mlx_lm_python: Path) -> MlxLm:
    paths = Paths.from_environment({"ROOST_HOME": "/nowhere", "HOME": "/nowhere"})
    return MlxLm(paths, {"ROOST_ENGINE_MLX_LM_PYTHON": str(mlx_lm_python), "PATH": "/usr/bin:/bin"})


@pytest.fixture(scope="module")
def worker(engine: MlxLm, mlx_model_folder: Path) -> Iterator[MlxProcess]:
    """The engine at its most talkative, and a small prefill step, so that a cancel comes soon."""
    knobs = Knobs(engine_log_level="debug", prefill_batch=32)
    with mlx_process(engine, folder_spec(mlx_model_folder), knobs) as running:
        until_healthy(engine, running)
        yield running


def test_the_engine_says_its_version(engine: MlxLm, mlx_lm_python: Path) -> None:
    state = engine.availability()
    assert isinstance(state, Available)
    assert (state.where, state.device) == (str(mlx_lm_python), "cpu")


def test_a_greedy_chat_answers_and_counts_its_tokens(worker: MlxProcess) -> None:
    status, answer = worker.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 16, "temperature": 0})
    assert status == 200
    assert "4" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert worker.post("/roost/count", {"messages": QUESTION}) == (
        200,
        {"prompt_tokens": answer["usage"]["prompt_tokens"]},
    )


def test_a_stream_ends_with_usage_and_done(worker: MlxProcess) -> None:
    options = {"max_tokens": 2, "temperature": 0, "stream_options": {"include_usage": True}}
    events = worker.events("/v1/completions", {"prompt": "Once upon a", **options})
    assert events[-1] == "data: [DONE]"
    usage = json.loads(events[-2].removeprefix("data: "))
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 2)
    last = json.loads(events[-3].removeprefix("data: "))
    assert last["choices"][0]["finish_reason"] == "length"


def test_the_adapter_counts_over_its_own_session(engine: MlxLm, worker: MlxProcess) -> None:
    async def count(body: bytes) -> int | None:
        http = worker_http(worker.plan.endpoint)
        try:
            return await engine.count_prompt_tokens(http, "/v1/completions", body)
        finally:
            await http.session.close()

    assert asyncio.run(count(b'{"prompt": "Once upon a time"}')) == 4
    assert asyncio.run(count(b"nonsense")) is None


def test_the_adapters_token_is_a_real_one(engine: MlxLm, worker: MlxProcess) -> None:
    async def generate() -> None:
        http = worker_http(worker.plan.endpoint)
        try:
            await engine.generate_token(http, worker.plan.served_name, worker.plan.traits.surfaces)
        finally:
            await http.session.close()

    asyncio.run(generate())


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ""},
        {"prompt": "Hi", "stop": [5]},
        {"prompt": "Hi", "logit_bias": {"99999999": 1}},
        {"prompt": "Hi", "seed": -5},
        {"prompt": "Hi", "temperature": "warm"},
        {"prompt": [1, 2]},
    ],
)
def test_a_request_that_would_end_the_generation_thread_is_400(worker: MlxProcess, body: dict[str, Any]) -> None:
    status, answer = worker.post("/v1/completions", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert worker.generates()


def test_a_top_k_as_large_as_the_vocabulary_does_no_harm(worker: MlxProcess) -> None:
    options = {"top_k": 49152, "temperature": 1, "max_tokens": 1}
    assert worker.post("/v1/completions", {"prompt": "Hi", **options})[0] == 200
    assert worker.generates()


def test_a_prompt_that_is_in_the_prefix_cache_to_its_last_token_is_answered(worker: MlxProcess) -> None:
    options = {"temperature": 0, "max_tokens": 4}
    _, first = worker.post("/v1/completions", {"prompt": "Once upon a", **options})
    # The engine drops the space in front of a reply.
    continued = "Once upon a " + first["choices"][0]["text"].lstrip()
    status, second = worker.post("/v1/completions", {"prompt": continued, **options})
    assert status == 200
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= second["usage"]["prompt_tokens"] - 2
    assert worker.generates()


def test_cached_prompts_are_dropped_and_their_memory_comes_back(engine: MlxLm, worker: MlxProcess) -> None:
    options = {"temperature": 0, "max_tokens": 2}
    body = {"prompt": "one two three " * 20, **options}

    def cached_tokens() -> int:
        status, answer = worker.post("/v1/completions", body)
        assert status == 200
        return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    first, second = cached_tokens(), cached_tokens()
    held = private_bytes(worker)
    asyncio.run(drop_caches(engine, worker))
    assert private_bytes(worker) < held - 8 * 2**20
    assert second > 40 > first == cached_tokens()
    assert worker.generates()


async def drop_caches(engine: MlxLm, worker: MlxProcess) -> None:
    http = worker_http(worker.plan.endpoint)
    try:
        await engine.drop_caches(http)
    finally:
        await http.session.close()


def private_bytes(worker: MlxProcess) -> int:
    reading = this_memory().process(worker.process.pid)
    return reading.private_bytes if reading else 0


def test_a_template_that_fails_is_the_callers_error(worker: MlxProcess) -> None:
    status, answer = worker.post("/v1/chat/completions", {"messages": [{"content": "no role"}]})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


def test_another_model_is_404_and_nothing_else_is_loaded(worker: MlxProcess) -> None:
    status, answer = worker.post("/v1/completions", {"prompt": "Hi", "model": "org/other"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


def test_two_requests_are_computed_together(worker: MlxProcess) -> None:
    body = {"prompt": "Hello", "max_tokens": 4}
    with ThreadPoolExecutor() as pool:
        statuses = list(pool.map(lambda _: worker.post("/v1/completions", body)[0], range(3)))
    assert statuses == [200, 200, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_generation(worker: MlxProcess, stream: bool) -> None:
    left = worker.log.count("the client left")
    progress = worker.log.count("Prompt processing progress")
    # At ten tokens a second its end would be far behind the deadline below.
    connection = worker.send("/v1/completions", {"prompt": "Hello there", "max_tokens": 2000, "stream": stream})
    until_sync(lambda: worker.log.count("Prompt processing progress") > progress, timeout_s=30)
    connection.close()
    until_sync(lambda: worker.log.count("the client left") > left, timeout_s=10)
    assert worker.generates()


def test_prompts_reach_neither_the_log_nor_the_disk(worker: MlxProcess) -> None:
    messages = [{"role": "user", "content": SECRET}]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    worker.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1, "tools": tools})
    worker.events("/v1/completions", {"prompt": SECRET, "max_tokens": 1})
    worker.post("/v1/completions", f'{{"prompt": "{SECRET}'.encode())
    worker.post("/v1/chat/completions", {"messages": [{"text": SECRET}]})
    worker.post("/v1/completions", {"prompt": "Hi", "temperature": SECRET})
    assert "/v1/chat/completions" in worker.log
    assert SECRET not in worker.log
    assert not any(SECRET.encode() in content for content in files_under(worker.home))


def test_the_socket_is_for_its_owner_alone_and_argv_shows_the_folder(
    worker: MlxProcess, mlx_model_folder: Path
) -> None:
    assert stat.S_IMODE(worker.socket_path.stat().st_mode) == 0o700 & ~0o077
    assert worker.plan.argv[-1] == str(mlx_model_folder)


def test_health_is_loading_until_the_weights_are_in_and_the_context_ends_a_reply(
    engine: MlxLm, mlx_model_folder: Path
) -> None:
    with mlx_process(engine, folder_spec(mlx_model_folder, CONTEXT), Knobs()) as limited:
        *before, ready = until_healthy(engine, limited)
        assert before
        assert ready == Healthy(served_names=("org/smol",), context_length=CONTEXT)
        _, answer = limited.post("/v1/completions", {"prompt": "Once upon a time", "temperature": 0})
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["total_tokens"] == CONTEXT
        status, refused = limited.post("/v1/completions", {"prompt": "hi " * CONTEXT})
        assert (status, refused["error"]["code"]) == (400, "context_length_exceeded")
        assert (refused["error"]["n_prompt_tokens"], refused["error"]["n_ctx"]) == (CONTEXT + 1, CONTEXT)


def test_sigterm_ends_it_at_once(engine: MlxLm, mlx_model_folder: Path) -> None:
    with mlx_process(engine, folder_spec(mlx_model_folder), Knobs()) as starting:
        starting.process.terminate()
        assert starting.process.wait(timeout=5) == -15


def test_a_load_that_fails_exits_with_its_reason_in_the_last_line(
    engine: MlxLm, mlx_model_folder: Path, tmp_path: Path
) -> None:
    broken = broken_copy(mlx_model_folder, tmp_path / "broken")
    with mlx_process(engine, folder_spec(broken), Knobs()) as failing:
        assert failing.process.wait(timeout=60) == 1
        assert failing.log.splitlines()[-1].startswith(f"cannot load {broken}: ")


#: The launcher without its checks: what they hold back reaches the engine's generation thread.
UNCHECKED = """
import json, runpy, sys
launcher = runpy.run_path(sys.argv[1])
launcher["Handler"].answer.__globals__["checked"] = lambda path, raw, *rest: json.loads(raw)
launcher["main"](sys.argv[2])
"""


def without_checks(argv: tuple[str, ...]) -> tuple[str, ...]:
    python, isolated, launcher, folder = argv
    return (python, isolated, "-c", UNCHECKED, launcher, folder)


def test_a_generation_thread_that_ends_takes_the_process_with_it(engine: MlxLm, mlx_model_folder: Path) -> None:
    with mlx_process(engine, folder_spec(mlx_model_folder), Knobs(), without_checks) as worker:
        until_healthy(engine, worker)
        connection = worker.send("/v1/completions", {"prompt": "Hi", "stop": [5]})
        assert worker.process.wait(timeout=30) == 1
        connection.close()
        assert worker.log.splitlines()[-1].startswith("generation ended: ValueError: ")
