"""Faults of memory against the installed roost: lies in headers, a daemon killed in a load, a small control group, and
real models filled to their limits."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from roost.testing.tiny_models import gguf_bytes, write_folder, write_gguf
from roost.testing.wait import until_sync
from tests.acceptance.conftest import ROOST, Roost, wait_for_no_worker, workers_of
from tests.helpers import process_lives
from tests.integration.memory_faults.witness import MIB, kernel_counters, nothing_suffers

MakeRoost = Callable[..., Roost]
SMOL = "SmolLM2-135M-Instruct-Q4_1"


def ask(roost: Roost, model: str, content: str = "Hi", **extra: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 8, **extra}
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, timeout=180)


def order(roost: Roost, model: str, what: str) -> httpx.Response:
    return httpx.post(f"{roost.url}/roost/v1/models/{model}/{what}", timeout=180)


# Headers that lie.


def lie_about_dimensions(folder: Path) -> str:
    """2**63 rows, whose product wraps around."""
    honest = gguf_bytes()
    file = folder / "wide.gguf"
    file.write_bytes(honest.replace(struct.pack("<QQ", 8, 16), struct.pack("<QQ", 2**63, 16), 1))
    return file.stem


def lie_about_layers(folder: Path) -> str:
    return write_gguf(folder / "deep.gguf", {"llama.block_count": 2**32 - 1}).stem


def lie_about_heads(folder: Path) -> str:
    return write_gguf(folder / "heads.gguf", {"llama.attention.head_count_kv": 2**62}).stem


def leave_arrays_empty(folder: Path) -> str:
    return write_gguf(folder / "empty.gguf", {"llama.attention.head_count_kv": [], "tokenizer.ggml.tokens": []}).stem


def be_of_an_architecture_that_nobody_knows(folder: Path) -> str:
    return write_gguf(folder / "novel.gguf", {"general.architecture": "flux9"}).stem


def lack_a_part(folder: Path) -> str:
    write_gguf(folder / "part-00001-of-00002.gguf", {"split.count": 2, "split.no": 0, "split.tensors.count": 3})
    return "part"


def name_tensors_beyond_the_file(folder: Path) -> str:
    path = write_folder(folder / "beyond", tensors={"model.embed.weight": ("F32", (4, 8), 128)})
    raw = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(raw.replace(b"[0, 128]", b"[0,9999]", 1))
    return path.name


#: What each is answered with.
LIES: dict[Callable[[Path], str], str] = {
    lie_about_dimensions: "claims more elements than any machine holds",
    lie_about_layers: "no usable llama.block_count",
    lie_about_heads: "no usable llama.attention.head_count_kv",
    leave_arrays_empty: "no usable llama.attention.head_count_kv",
    be_of_an_architecture_that_nobody_knows: "does not know the cache of the architecture 'flux9'",
    lack_a_part: "file missing",
    name_tensors_beyond_the_file: "the file is truncated",
}


def test_models_whose_headers_lie_are_refused_and_start_nothing(stand_in: MakeRoost) -> None:
    roost = stand_in()
    folder = roost.home / "lies"
    folder.mkdir()
    answers = {lie(folder): answer for lie, answer in LIES.items()}
    (roost.home / "roost.toml").write_text(
        f'[catalog]\nfolders = ["{folder}"]\n' + (roost.home / "roost.toml").read_text()
    )
    roost.start()
    before = psutil.Process(roost.process.pid).memory_info().rss if roost.process else 0
    with nothing_suffers():
        for name, answer in answers.items():
            refusal = order(roost, name, "load")
            error = refusal.json()["error"]
            assert refusal.status_code == 503 and error["code"] in ("insufficient_memory", "model_unavailable"), error
            assert name in error["message"] and answer in error["message"], error
    assert roost.process and psutil.Process(roost.process.pid).memory_info().rss < before + 64 * MIB
    started = [entry for entry in roost.journal() if entry["event"] == "memory promised" and entry["model"] in answers]
    assert not started
    assert ask(roost, "a").status_code == 200


# A daemon that dies.


def test_a_daemon_that_is_killed_during_a_load_leaves_nothing_and_its_next_start_loads(stand_in: MakeRoost) -> None:
    sizes = '[models."a"]\nmemory_gb = 0.3\n'
    roost = stand_in(sizes, a="--hold-mib 150 --load-s 60")
    roost.launch()
    until_sync(lambda: any(taken_mib(process) > 150 for process in workers_of(roost)), timeout_s=30)
    assert roost.process
    roost.process.send_signal(signal.SIGKILL)
    wait_for_no_worker(roost)
    stand_in(sizes, a="--hold-mib 150")
    roost.start()
    assert ask(roost, "a").status_code == 200
    (worker,) = [worker for worker in roost.status()["workers"] if worker["state"] == "ready"]
    assert worker["promised_bytes"] == round(0.3 * 2**30)


def taken_mib(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / MIB
    except psutil.Error:
        return 0.0


# A small control group around the daemon and all that it starts.

CGROUPS = Path("/sys/fs/cgroup/memory")
GROUP_MIB = 1400


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 1 that may have `GROUP_MIB`."""
    folder = CGROUPS / f"roost-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(GROUP_MIB * MIB))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield folder
    until_sync(lambda: not (folder / "cgroup.procs").read_text(), timeout_s=10, what="an empty group")
    folder.rmdir()


@pytest.fixture
def grouped(group: Path, stand_in: MakeRoost, monkeypatch: pytest.MonkeyPatch) -> MakeRoost:
    """A roost that runs within the group: it enters before it becomes roost."""

    def make(settings: str = "", **flags: str) -> Roost:
        roost = stand_in(settings, **flags)
        entering = roost.home / "enter"
        entering.write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs || exit 1\nexec {ROOST} "$@"\n')
        entering.chmod(0o755)
        monkeypatch.setattr("tests.acceptance.conftest.ROOST", entering)
        return roost

    return make


def test_a_control_group_binds_what_is_loaded_and_its_name_is_told(grouped: MakeRoost, group: Path) -> None:
    sizes = '[models."a"]\nmemory_gb = 0.1\n[models."b"]\nmemory_gb = 1.2\n'
    roost = grouped(sizes).start()
    error = order(roost, "b", "load").json()["error"]
    assert error["code"] == "insufficient_memory" and "needs 1.2 GiB" in error["message"]
    assert f"what binds is cgroup /{group.name}" in error["message"]
    assert ask(roost, "a").status_code == 200
    assert roost.stop() == 0


@pytest.mark.thorough
def test_a_worker_that_outgrows_its_control_group_goes_alone_and_roost_goes_on(grouped: MakeRoost) -> None:
    """It takes what the group has not within one look of the guard: the kernel's choice is the worker."""
    sizes = '[models."a"]\nmemory_gb = 0.05\n[models."b"]\nmemory_gb = 0.2\n[residency]\nmax_resident = 2\n'
    _, killed = kernel_counters()
    roost = grouped(sizes, b="--cache-cap-mib 2000").start()
    assert order(roost, "b", "load").status_code == 200
    stays = roost.worker("a")["pid"]
    answer = ask(roost, "b", x_stand_in={"borrow_mib": GROUP_MIB + 200})
    assert answer.status_code in (502, 503) and answer.json()["error"]["code"], answer.text
    assert process_lives(stays) and roost.process and roost.process.poll() is None
    assert kernel_counters()[1] <= killed + 1
    assert ask(roost, "a").status_code == 200
    # What it took is known: it is not started into the same end, and the one that fits is.
    refusal = ask(roost, "b").json()["error"]
    assert refusal["code"] == "insufficient_memory" and "measured peak" in refusal["message"]
    assert order(roost, "a", "unload").status_code == 200
    assert ask(roost, "a").status_code == 200
    assert roost.stop() == 0


# The real engine, filled.


def engine_settings(context: int, cache_mib: int, max_gb: float | None = None) -> str:
    budget = f"[memory]\nmax_gb = {max_gb:.3f}\n" if max_gb else ""
    return (
        f'{budget}[models."{SMOL}".engine]\ncontext = {context}\nmax_sequences = 4\nprefill_batch = 512\n'
        f"prefix_cache_mb = {cache_mib}\n"
    )


def peak_bytes(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.thorough
def test_a_window_of_twice_what_fits_is_refused_before_anything_starts_and_says_what_would(
    roost: Roost, embedded_gguf: Path
) -> None:
    found = f'[catalog]\nfolders = ["{embedded_gguf.parent}"]\n'
    roost.settings(found + engine_settings(4096, 0))
    need = json.loads(roost.cli("plan", SMOL, "--json").stdout)["need"]["total_bytes"]
    # What the guard holds back, and a little.
    budget_gb = need / 2**30 + 0.5
    roost.settings(engine_settings(8192, 0, budget_gb))
    with nothing_suffers():
        roost.launch()
        until_sync(lambda: any("cannot load" in one["text"] for one in roost.status()["problems"]), timeout_s=60)
        error = ask(roost, "default").json()["error"]
        assert error["code"] == "insufficient_memory" and "what binds is memory.max_gb" in error["message"]
        fits = int(re.search(r"a context of ([\d,]+) would fit", error["message"])[1].replace(",", ""))  # type: ignore[index]
        assert 4096 <= fits < 8192
        assert not [entry for entry in roost.journal() if entry.get("fact") == "healthy"]
        assert roost.stop() == 0
    roost.settings(engine_settings(fits, 0, budget_gb))
    roost.start()
    assert ask(roost, "default").status_code == 200


@pytest.mark.thorough
def test_a_real_worker_that_is_filled_in_every_way_stays_within_its_promise(roost: Roost) -> None:
    """More long prompts at once than there are sequences, the longest text to embed, cached prompts beyond their cap:
    each is answered, and all of it was promised."""
    roost.settings(engine_settings(1024, 8))
    with nothing_suffers():
        roost.start()
        assert ask(roost, "default").status_code == 200
        (worker,) = [worker for worker in roost.status()["workers"] if worker["state"] == "ready"]
        with ThreadPoolExecutor(5) as many:
            answers = list(many.map(lambda seed: ask(roost, "default", words(200, seed)), range(5)))
        assert {answer.status_code for answer in answers} == {200}
        assert ask(roost, "default", words(900, 20)).status_code == 200
        assert embed(roost, words(490, 21)).status_code == 200
        for seed in range(30, 35):
            assert ask(roost, "default", words(150, seed)).status_code == 200
        assert 200 * MIB < peak_bytes(worker["pid"]) <= worker["promised_bytes"]
        assert roost.worker(SMOL)["pid"] == worker["pid"]
        assert roost.stop() == 0


def words(count: int, seed: int) -> str:
    """About so many tokens, from the first on different for each seed."""
    return " ".join(f"{'abcdefghij'[(seed * 7 + index * (seed + 3)) % 10]}" for index in range(count))


def embed(roost: Roost, text: str) -> httpx.Response:
    return httpx.post(f"{roost.url}/v1/embeddings", json={"model": "default", "input": text}, timeout=180)
