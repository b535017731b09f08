"""The first minute: the embedded default, the official SDK, the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import openai
import pytest

from tests.acceptance.conftest import Roost, processes_with

MODEL = "SmolLM2-135M-Instruct-Q4_1"
QUESTION = [{"role": "user", "content": "What is 2+2?"}]


@pytest.fixture
def running(roost: Roost) -> Roost:
    return roost.start()


def test_a_fresh_machine_serves_the_embedded_default_to_the_official_sdk(running: Roost) -> None:
    assert running.ready_line == f"roost ready {running.url}/v1 model={MODEL} engine=llama.cpp\n"
    client = running.client()
    answer = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, max_tokens=30)
    assert "4" in (answer.choices[0].message.content or "") and answer.model == MODEL
    assert answer.usage and answer.usage.completion_tokens > 0

    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert {chunk.model for chunk in chunks} == {MODEL}
    assert chunks[-1].usage and chunks[-1].choices == []
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"

    raw = client.completions.create(model="default", prompt="The capital of France is", temperature=0, max_tokens=2)
    assert "Paris" in raw.choices[0].text

    response = client.chat.completions.with_raw_response.create(model="coding", messages=QUESTION, max_tokens=1)
    assert response.headers["x-roost-model"] == MODEL and response.headers["x-request-id"]

    names = {model.id: model for model in client.models.list()}
    assert {"default", "coding", "oss", MODEL} <= set(names)
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="SmolLM2", messages=QUESTION)
    assert unknown.value.code == "model_not_found" and MODEL in str(unknown.value)
    with pytest.raises(openai.NotFoundError) as no_embedding:
        client.embeddings.create(model="embedding", input="hello")
    assert "roost use embedding" in str(no_embedding.value)
    running.cli("use", "embedding", MODEL)
    long_input = "a long text about birds and their nests " * 120
    vectors = client.embeddings.create(model=MODEL, input=["hello", long_input], encoding_format="float").data
    assert [len(vector.embedding) for vector in vectors] == [576, 576]
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model="default", messages=[{"role": "user", "content": "many words " * 9000}])
    assert too_long.value.code == "context_length_exceeded" and "8,192" in str(too_long.value)


def test_the_first_run_leaves_a_registry_and_a_second_one_fetches_nothing(roost: Roost) -> None:
    roost.start()
    assert json.loads((roost.home / "registry.json").read_text())["models"] == {"default": MODEL}
    assert roost.stop() == 0
    roost.environ["ROOST_EMBEDDED_GGUF"] = "/nowhere"
    roost.start()
    assert "unpack" not in roost.errors()


def test_status_ask_and_chat_say_what_a_person_wants_to_know(running: Roost) -> None:
    text = running.cli("status").stdout
    for word in (MODEL, "proven", "llama.cpp", "context 8,192", "Q4_1", "large-context"):
        assert word in text
    worker = running.worker(MODEL)
    assert worker["grade"] == "proven" and len(worker["fingerprint"]) == 64
    assert running.cli("ask", "What is 2+2?", "--max-tokens", "30").stdout.strip()
    assert running.cli("ask", "Say hello", "--max-tokens", "5", stdin="diff --git a b\n").stdout.strip()
    assert running.cli("chat", stdin="/quit\n").returncode == 0
    assert running.cli("wait").returncode == 0
    assert "loading" in running.cli("logs").stdout
    assert running.cli("logs", MODEL).stdout
    assert running.cli("restart").returncode == 0
    assert running.worker(MODEL)["pid"] != worker["pid"]


def test_models_added_and_used_while_it_runs_are_served(running: Roost, embedded_gguf: Path, tmp_path: Path) -> None:
    other = tmp_path / "Other-135M-Q4_1.gguf"
    other.write_bytes(embedded_gguf.read_bytes())
    running.cli("models", "add", str(other), "--id", "Other-135M-Q4_1")
    listed = json.loads(running.cli("models", "list", "--json").stdout)
    assert "Other-135M-Q4_1" in json.dumps(listed)
    running.cli("use", "coding", "Other-135M-Q4_1")
    client = running.client()
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model="Other-135M-Q4_1", messages=QUESTION, max_tokens=2)
    assert refused.value.code == "model_not_resident" and MODEL in str(refused.value)
    running.cli("load", "Other-135M-Q4_1")
    answer = client.chat.completions.create(model="Other-135M-Q4_1", messages=QUESTION, max_tokens=2)
    assert answer.model == "Other-135M-Q4_1"
    assert running.worker(MODEL)["state"] in ("stopped", "unknown")


def test_private_files_are_private_and_no_secret_reaches_a_worker(running: Roost) -> None:
    running.client().chat.completions.create(
        model="default", messages=[{"role": "user", "content": "remember nonce-77c1e3"}], max_tokens=2
    )
    state = running.home / "state"
    assert stat.S_IMODE((state / "run").stat().st_mode) == 0o700
    pid = running.worker(MODEL)["pid"]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"canary-5f2a91" not in environment and b"ROOST_WORKER_NONCE" in environment
    assert not processes_with("nonce-77c1e3") and not processes_with("canary-5f2a91")
    assert running.stop() == 0
    for path in state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"nonce-77c1e3" not in content and b"canary-5f2a91" not in content, path


def test_down_ends_everything(running: Roost) -> None:
    pid = running.worker(MODEL)["pid"]
    running.cli("down")
    assert running.process and running.process.wait(30) == 0
    assert not Path(f"/proc/{pid}").exists()
    assert running.cli("status", check=False).returncode == 1
