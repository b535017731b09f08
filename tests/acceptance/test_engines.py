"""Real engines behind the installed roost: the MLX ones on a CPU, and a swap between two real models."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import openai
import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost, wait_for_no_worker

EMBEDDED = "SmolLM2-135M-Instruct-Q4_1"
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
ALWAYS = '[rotation]\npolicy = "always"\nmin_residency_s = 0\n[queue]\nmax_wait_s = 5\n'


def with_engine(roost: Roost, folder: Path, engine: str, python: Path) -> Roost:
    """A roost that has the float32 folder, served by this engine, beside the embedded model."""
    roost.environ[f"ROOST_ENGINE_{engine.upper().replace('-', '_')}_PYTHON"] = str(python)
    roost.settings(f'{ALWAYS}[models."mlx-smol".engine]\nname = "{engine}"\n')
    roost.cli("models", "add", str(folder), "--id", "mlx-smol")
    roost.cli("models", "add", roost.environ["ROOST_EMBEDDED_GGUF"])
    roost.registry(default="mlx-smol", coding=EMBEDDED)
    return roost.start()


def serves_like_any_other(roost: Roost, engine: str) -> None:
    """Chat, stream, usage, names, errors: what a client of the official SDK sees."""
    client = roost.client()
    assert f"engine={engine}" in roost.ready_line and "model=mlx-smol" in roost.ready_line
    answer = client.chat.completions.create(model="default", messages=QUESTION, temperature=0, max_tokens=14)
    assert "4" in (answer.choices[0].message.content or "") and answer.model == "mlx-smol"
    assert answer.usage and answer.usage.completion_tokens and answer.object == "chat.completion"
    chunks = list(
        client.chat.completions.create(
            model="mlx-smol",
            messages=QUESTION,
            temperature=0,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert {chunk.model for chunk in chunks} == {"mlx-smol"}
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 5
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    worker = roost.worker("mlx-smol")
    assert worker["grade"] == "proven" and worker["engine"] == engine
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model="default", messages=[{"role": "user", "content": "many words " * 9000}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="mlx-smol", input="no embeddings on this engine")
    assert client.chat.completions.create(model="default", messages=QUESTION, max_tokens=1).choices


def survives_a_kill(roost: Roost) -> None:
    pid = roost.worker("mlx-smol")["pid"]
    os.kill(pid, signal.SIGKILL)
    answer = roost.client().chat.completions.create(model="mlx-smol", messages=QUESTION, max_tokens=1)
    assert answer.choices and roost.worker("mlx-smol")["pid"] != pid


def kept_kernels(roost: Roost) -> set[str]:
    return {path.name for path in (roost.home / "state/kernels").rglob("*.so")}


def swaps_to_the_embedded_model_and_back(roost: Roost, away: str) -> None:
    """`away`: the state in which a model of that engine waits once it has made room."""
    client, pid = roost.client(), roost.worker("mlx-smol")["pid"]
    assert client.chat.completions.create(model="coding", messages=QUESTION, max_tokens=2).model == EMBEDDED
    assert roost.worker("mlx-smol")["state"] == away
    assert client.chat.completions.create(model="default", messages=QUESTION, max_tokens=1).model == "mlx-smol"
    assert (roost.worker("mlx-smol")["pid"] == pid) == (away == "parked")


def compiles_nothing_twice(roost: Roost) -> None:
    """After a swap: what the worker before had compiled is there, and this one has made none of it anew."""
    compiled = kept_kernels(roost)
    assert compiled, "kernels of a worker that was stopped at rest are kept"
    home = Path(psutil.Process(roost.worker("mlx-smol")["pid"]).environ()["HOME"])
    sources = {path.stem for path in home.rglob("*.cpp")}
    assert not {f"lib{name}.so" for name in sources} & compiled


def test_mlx_lm_serves_as_the_default_and_swaps(roost: Roost, mlx_model_folder: Path, mlx_lm_python: Path) -> None:
    with_engine(roost, mlx_model_folder, "mlx-lm", mlx_lm_python)
    serves_like_any_other(roost, "mlx-lm")
    survives_a_kill(roost)
    swaps_to_the_embedded_model_and_back(roost, "stopped")
    compiles_nothing_twice(roost)
    assert roost.stop() == 0
    wait_for_no_worker(roost)


@pytest.mark.engines
def test_vllm_mlx_serves_as_the_default_and_swaps(roost: Roost, mlx_model_folder: Path, vllm_mlx_python: Path) -> None:
    with_engine(roost, mlx_model_folder, "vllm-mlx", vllm_mlx_python)
    serves_like_any_other(roost, "vllm-mlx")
    survives_a_kill(roost)
    swaps_to_the_embedded_model_and_back(roost, "parked")
    assert roost.stop() == 0
    wait_for_no_worker(roost)
    assert kept_kernels(roost), "a process that was parked in between leaves them at its end"


def test_a_swap_between_two_real_models_lets_the_running_stream_end(
    roost: Roost, embedded_gguf: Path, short_path: Path, make_roost: Callable[[], Roost]
) -> None:
    other = short_path / "other.gguf"
    other.write_bytes(embedded_gguf.read_bytes())
    roost.settings(ALWAYS)
    roost.start()
    roost.cli("models", "add", str(other), "--id", "Other-Q4_1")
    until_sync(lambda: "Other-Q4_1" in roost.cli("models", "list", "--json").stdout, timeout_s=20)
    client = roost.client()
    stream = client.chat.completions.create(model=EMBEDDED, messages=QUESTION, max_tokens=60, stream=True)
    next(iter(stream))
    answers: list[str] = []

    def ask_other() -> None:
        answer = client.chat.completions.create(model="Other-Q4_1", messages=QUESTION, max_tokens=2)
        answers.append(answer.model)

    caller = threading.Thread(target=ask_other)
    caller.start()
    finish = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices][-1]
    caller.join(60)
    assert finish in ("stop", "length") and answers == ["Other-Q4_1"]
    worker = roost.worker("Other-Q4_1")
    assert worker["grade"] == "proven"
    maps = Path(f"/proc/{worker['pid']}/maps").read_text()
    assert str(other) in maps and str(embedded_gguf) not in maps
