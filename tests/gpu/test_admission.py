"""Admission with a real GPU's own numbers: what fits is loaded within its promise, what does not is refused.

Needs an NVIDIA GPU with 16 GiB free and mlx-lm with CUDA (ROOST_ENGINE_MLX_LM_PYTHON): `make test-gpu`.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from roost.host.memory_types import Gpu
from roost.host.nvml import read_gpus
from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost, wait_for_no_worker, workers_of
from tests.helpers import MODELS

pytestmark = pytest.mark.gpu

HERE = Path(__file__).parent
GIB = 2**30
LAYERS, HIDDEN = 32, 4096


@pytest.fixture(scope="module")
def engine_python() -> Path:
    return Path(os.environ["ROOST_ENGINE_MLX_LM_PYTHON"])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, engine_python: Path) -> Path:
    """About 4 GB of random weights, in the shape of a dense 7B model."""
    out = tmp_path_factory.mktemp("gpu") / "random-7b"
    tokenizer = str(MODELS / "smollm2-135m-f32")
    command = [str(engine_python), "-I", str(HERE / "random_model.py"), str(out), tokenizer, str(LAYERS), str(HIDDEN)]
    subprocess.run(command, check=True, timeout=300)
    return out


@pytest.fixture
def roost(short_path: Path) -> Iterator[Roost]:
    home = short_path / "h"
    home.mkdir()
    names = ("PATH", "LD_LIBRARY_PATH", "ROOST_ENGINE_MLX_LM_PYTHON")
    environ = {name: os.environ[name] for name in names if name in os.environ}
    roost = Roost(home, environ | {"HOME": str(short_path / "user"), "ROOST_HOME": str(home)})
    yield roost
    roost.end()


def the_gpu() -> Gpu:
    gpus = [gpu for gpu in read_gpus() or () if isinstance(gpu, Gpu)]
    assert gpus, "this machine has no GPU that tells its memory"
    return gpus[0]


def plan_of(roost: Roost, model_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(roost.cli("plan", model_id, "--json", check=False).stdout)
    return found


def ask(roost: Roost, **more: Any) -> httpx.Response:
    body = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, **more}
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, timeout=240)


def larger_than_any(source: Path, out: Path) -> Path:
    """The same model with so many layers that no GPU holds it: a true header over a file that is all holes."""
    out.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((source / name).read_bytes())
    config = json.loads((source / "config.json").read_text())
    layers = 80 * config["num_hidden_layers"]
    (out / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    with (source / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    tensors: dict[str, Any] = {}
    end = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        copies = range(layers // config["num_hidden_layers"]) if name.startswith("model.layers.") else range(1)
        for copy in copies:
            begin, end = end, end + tensor["data_offsets"][1] - tensor["data_offsets"][0]
            tensors[_layer(name, copy, config["num_hidden_layers"])] = tensor | {"data_offsets": [begin, end]}
    raw = json.dumps(tensors).encode()
    with (out / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
    return out


def _layer(name: str, copy: int, layers: int) -> str:
    if not name.startswith("model.layers."):
        return name
    model, word, number, rest = name.split(".", 3)
    return f"{model}.{word}.{int(number) + copy * layers}.{rest}"


@contextmanager
def hog(engine_python: Path, size_bytes: int) -> Iterator[None]:
    command = [str(engine_python), "-I", str(HERE / "hog.py"), str(size_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "taken\n"
        yield


def test_what_fits_is_loaded_within_its_promise_and_its_memory_comes_back(roost: Roost, model: Path) -> None:
    roost.cli("models", "add", str(model), "--id", "random-7b")
    roost.registry(default="random-7b")
    before = the_gpu()
    told = plan_of(roost, "random-7b")
    (budget,) = [one for one in told["budgets"] if one["device"] == before.uuid]
    assert budget["free_bytes"] <= before.free_bytes and budget["most_bytes"] <= before.total_bytes
    assert told["verdict"]["verdict"] == "fits" and before.uuid in told["verdict"]["devices"]
    roost.start()
    long = "word " * 6000
    answer = ask(roost, messages=[{"role": "user", "content": long}])
    assert answer.status_code == 200, answer.text
    taken = before.free_bytes - the_gpu().free_bytes
    promised = told["verdict"]["devices"][before.uuid]
    print(
        f"GPU: promised {promised / GIB:.2f} GiB, taken {taken / GIB:.2f} GiB, predicted/taken {promised / taken:.3f}"
    )
    print(
        json.dumps({"terms": [(t["name"], t["size_bytes"], t["where"]) for t in told["terms"]], "need": told["need"]})
    )
    assert model.stat() and sum(path.stat().st_size for path in model.glob("*.safetensors")) < taken <= promised
    worker = roost.worker("random-7b")
    assert worker["pid"] and "promised" in worker["memory"]
    roost.cli("unload", "random-7b")
    until_sync(lambda: the_gpu().free_bytes > before.free_bytes - GIB / 4, timeout_s=15, what="the memory is back")
    assert ask(roost).status_code == 200
    assert roost.stop() == 0
    wait_for_no_worker(roost)


def test_what_can_never_fit_is_refused_before_it_starts(roost: Roost, model: Path, tmp_path: Path) -> None:
    # Found where it lies: to add it would read all its bytes.
    (tmp_path / "found").mkdir()
    larger_than_any(model, tmp_path / "found" / "huge")
    roost.settings(f'[catalog]\nfolders = ["{tmp_path / "found"}"]\n')
    roost.registry(default="huge")
    told = plan_of(roost, "huge")
    assert told["verdict"]["verdict"] == "does not fit" and told["verdict"]["permanent"] is True
    assert told["need"]["gpu_bytes"] > the_gpu().total_bytes and told["tier"] in ("shard", "none")
    roost.launch()
    before = the_gpu().free_bytes
    refused = ask(roost)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "insufficient_memory"), refused.text
    assert refused.headers["x-should-retry"] == "false"
    print(refused.json()["error"]["message"])
    assert not workers_of(roost) and the_gpu().free_bytes >= before - GIB / 4
    assert roost.stop() == 0


def test_what_fits_once_another_program_has_gone_is_refused_until_then(
    roost: Roost, model: Path, engine_python: Path
) -> None:
    roost.cli("models", "add", str(model), "--id", "random-7b")
    roost.registry(default="random-7b")
    needed = plan_of(roost, "random-7b")["need"]["gpu_bytes"]
    with hog(engine_python, the_gpu().free_bytes - needed // 2):
        roost.launch()
        refused = ask(roost)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "insufficient_memory"), refused.text
        assert refused.headers["x-should-retry"] == "true" and int(refused.headers["retry-after"]) >= 1
        print(refused.json()["error"]["message"])
        assert not workers_of(roost)
    until_sync(lambda: ask(roost).status_code == 200, timeout_s=120, what="it is loaded after the hog went")
    assert roost.stop() == 0
