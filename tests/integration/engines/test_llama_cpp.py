"""The embedded llama.cpp server as roost starts it: a process of its own on a unix socket, with the small model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines.http import worker_http
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.types import Loading, UnixEndpoint
from roost.errors import UpstreamCrashed
from roost.testing.companions import write_reranker
from roost.testing.wait import until_sync
from roost.workers.logs import WorkerLog
from tests.integration.engines.engine_process import (
    RunningWorker,
    chunks,
    gguf_spec,
    run_to_end,
    running_worker,
    small_model,
    worker_place,
)

ENGINE = LlamaCpp(Paths.from_environment({"ROOST_HOME": "/nowhere"}), os.environ)
KNOBS = Knobs(context=2048, max_sequences=2)
QUESTION = {"messages": [{"role": "user", "content": "What is 2+2?"}], "temperature": 0, "max_tokens": 24}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker() -> AsyncIterator[RunningWorker]:
    async with running_worker(ENGINE, small_model(), KNOBS) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_its_health_names_the_model_and_the_window(worker: RunningWorker) -> None:
    assert worker.health.served_names == ("smol",)
    assert worker.health.context_length == 2048


async def test_it_really_generates_a_token(worker: RunningWorker) -> None:
    await ENGINE.generate_token(worker.http, "smol", worker.plan.traits.surfaces)
    await ENGINE.generate_token(worker.http, "smol", frozenset({"embeddings"}))


async def test_a_surface_that_it_does_not_serve_fails_the_proof_of_life(worker: RunningWorker) -> None:
    with pytest.raises(UpstreamCrashed):
        await ENGINE.generate_token(worker.http, "smol", frozenset({"rerank"}))


async def test_it_answers_a_question(worker: RunningWorker) -> None:
    answer = await worker.post("/v1/chat/completions", QUESTION)
    assert answer.status == 200
    assert "4" in answer.json()["choices"][0]["message"]["content"]


async def test_it_streams_the_same_answer_and_its_usage(worker: RunningWorker) -> None:
    whole = (await worker.post("/v1/chat/completions", QUESTION)).json()
    streamed = await worker.post(
        "/v1/chat/completions", QUESTION | {"stream": True, "stream_options": {"include_usage": True}}
    )
    events = chunks(streamed.body)
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert events[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert streamed.body.rstrip().endswith(b"data: [DONE]")


async def test_a_request_right_behind_a_stream_meets_an_open_connection(worker: RunningWorker) -> None:
    one_token = {**QUESTION, "max_tokens": 1}
    for _ in range(20):
        assert (await worker.post("/v1/chat/completions", one_token | {"stream": True})).status == 200
        assert (await worker.post("/v1/chat/completions", one_token)).status == 200


async def test_it_embeds_an_input_longer_than_the_default_micro_batch(worker: RunningWorker) -> None:
    answer = await worker.post("/v1/embeddings", {"input": "hello world " * 400})
    assert answer.status == 200
    assert answer.json()["usage"]["prompt_tokens"] > 600


async def test_a_prompt_beyond_the_context_is_refused_with_both_numbers(worker: RunningWorker) -> None:
    answer = await worker.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 3000}]})
    assert answer.status == 400
    assert answer.json()["error"]["n_ctx"] == 2048
    assert answer.json()["error"]["n_prompt_tokens"] > 3000


async def test_it_counts_what_the_template_makes_of_a_chat(worker: RunningWorker) -> None:
    counted = await ENGINE.count_prompt_tokens(worker.http, "/v1/chat/completions", json.dumps(QUESTION).encode())
    usage = (await worker.post("/v1/chat/completions", QUESTION)).json()["usage"]
    assert counted == usage["prompt_tokens"]


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": "one two three"}, 3),
        ({"prompt": ["one", "one two three"]}, 3),
        ({"prompt": [1, 2, 3, 4]}, 4),
        ({"prompt": [[1, 2], [1, 2, 3, 4, 5]]}, 5),
        ({"prompt": 7}, None),
        ({}, None),
    ],
)
async def test_it_counts_the_longest_of_several_prompts(
    worker: RunningWorker, body: dict[str, object], tokens: int | None
) -> None:
    counted = await ENGINE.count_prompt_tokens(worker.http, "/v1/completions", json.dumps(body).encode())
    assert counted == tokens


async def test_its_command_line_and_memory_map_show_the_weights(worker: RunningWorker) -> None:
    import psutil

    process = psutil.Process(worker.process.pid)
    path = str(worker.plan.argv[-1])
    assert path in process.cmdline()
    assert path in {mapped.path for mapped in process.memory_maps()}


async def test_its_environment_holds_nothing_of_ours(worker: RunningWorker) -> None:
    assert "PYTEST_CURRENT_TEST" not in worker.plan.env
    assert worker.plan.env["ROOST_WORKER_NONCE"] == "n1"


async def test_it_dies_at_once_of_sigterm() -> None:
    async with running_worker(ENGINE, small_model(), KNOBS) as running:
        running.process.send_signal(signal.SIGTERM)
        until_sync(lambda: running.process.poll() is not None, timeout_s=2, what="the worker's end")
        assert running.process.returncode == -signal.SIGTERM
        assert isinstance(await ENGINE.health(running.http), Loading)
        with pytest.raises(UpstreamCrashed):
            await ENGINE.generate_token(running.http, "smol", running.plan.traits.surfaces)


async def test_before_it_listens_it_is_loading() -> None:
    http = worker_http(UnixEndpoint(Path("/tmp/there-is-no-such.sock")))
    try:
        assert isinstance(await ENGINE.health(http), Loading)
    finally:
        await http.session.close()


async def test_a_truncated_file_ends_the_load_with_its_reason(tmp_path: Path) -> None:
    small = small_model().path
    assert small is not None
    broken = tmp_path / "broken.gguf"
    with small.open("rb") as whole:
        broken.write_bytes(whole.read(5_000_000))
    with worker_place() as place:
        plan = ENGINE.launch(gguf_spec(broken), KNOBS, ModelSettings(), place)
        ended = await asyncio.to_thread(run_to_end, plan)
    assert ended.returncode == 1
    assert f"cannot load {broken}" in ended.stderr.decode().strip().splitlines()[-1]


async def test_a_file_that_it_aborts_on_is_told_with_the_assertion_as_its_last_line(tmp_path: Path) -> None:
    broken = write_reranker(tmp_path / "twice.gguf", more_words=("the",))
    with worker_place() as place:
        plan = ENGINE.launch(gguf_spec(broken), KNOBS, ModelSettings(), place)
        ended = await asyncio.to_thread(run_to_end, plan)
    assert ended.returncode == -signal.SIGABRT
    log = WorkerLog(tmp_path / "worker.log", 1 << 20)
    log.feed(ended.stderr)
    log.close()
    # A line of its log's own thread may come later.
    assert "GGML_ASSERT" in log.last_line()


async def test_a_parameter_reaches_the_server() -> None:
    knobs = KNOBS.model_copy(update={"chat_template_args": {"a": 1}, "kv_cache_type": "q8_0", "threads": 1})
    async with running_worker(ENGINE, small_model(), knobs) as running:
        assert (await running.post("/v1/chat/completions", QUESTION)).status == 200
