"""Warm standby with real engines: a waiting process becomes the worker, is proven, and never outlives roost."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost, wait_for_no_worker, workers_of

MODEL = "mlx-smol"


def with_spare(roost: Roost, folder: Path, engine: str) -> Roost:
    """A roost whose default model is served by this engine, which keeps a spare."""
    roost.settings(f'[engines.{engine}]\nstandby = true\n[models."{MODEL}".engine]\nname = "{engine}"\n')
    roost.cli("models", "add", str(folder), "--id", MODEL)
    roost.registry(default=MODEL)
    return roost.start()


def spare_of(roost: Roost) -> dict[str, Any]:
    status = roost.status()
    assert all(worker["model"] for worker in status["workers"])
    found: list[dict[str, Any]] = status["spares"]
    return found[0] if found else {"state": "unknown", "pid": None}


def standing_by(roost: Roost) -> int:
    """The pid of the spare, once it waits."""
    until_sync(lambda: spare_of(roost)["state"] == "standby", timeout_s=90, what="a spare stands by")
    return int(spare_of(roost)["pid"])


def becomes_the_worker(roost: Roost, folder: Path, engine: str) -> int:
    """Unload, load: the spare is the worker, as good as a fresh one. Its pid."""
    first = roost.worker(MODEL)
    assert first["grade"] == "proven" and "was started on" in first["proof"]
    spare = standing_by(roost)
    process = psutil.Process(spare)
    assert str(folder) not in process.cmdline() and "CANARY_SECRET" not in process.environ()
    touched = {row.path for row in (*process.memory_maps(), *process.open_files())}
    assert touched and not any(path.startswith(str(folder.resolve())) for path in touched)
    roost.cli("unload", MODEL)
    roost.cli("load", MODEL)
    worker = roost.worker(MODEL)
    assert worker["pid"] == spare and worker["engine"] == engine
    assert worker["grade"] == "proven" and f"was handed {folder}" in worker["proof"]
    assert str(folder) in process.cmdline() and "--standby" not in process.cmdline()
    answer = roost.client().chat.completions.create(
        model="default", messages=[{"role": "user", "content": "What is 2+2?"}], max_tokens=14, temperature=0
    )
    assert "4" in (answer.choices[0].message.content or "") and answer.model == MODEL
    return spare


@pytest.mark.thorough
def test_mlx_lm_serves_from_a_spare_and_a_killed_daemon_leaves_neither(
    roost: Roost, mlx_model_folder: Path, mlx_lm_python: Path
) -> None:
    with_spare(roost, mlx_model_folder, "mlx-lm")
    worker = becomes_the_worker(roost, mlx_model_folder, "mlx-lm")
    spare = standing_by(roost)
    assert spare != worker

    until_sync(lambda: spare_of(roost)["resident_bytes"], timeout_s=10)
    shown = spare_of(roost)
    assert shown["resident_bytes"] > 20 * 2**20 and (shown["kind"], shown["engine"]) == ("spare", "mlx-lm")
    assert "\nspare      mlx-lm " in roost.cli("status").stdout
    assert "standing by" in roost.cli("logs", "standby-mlx-lm").stdout
    with urllib.request.urlopen(f"{roost.url}/metrics", timeout=10) as answer:
        assert 'roost_spare_resident_bytes{engine="mlx-lm"}' in answer.read().decode()
    assert [entry["id"] for entry in roost.get("/v1/models")["data"] if not entry["id"]] == []

    assert {worker, spare} <= {process.pid for process in workers_of(roost)}
    assert roost.process
    os.kill(roost.process.pid, signal.SIGKILL)
    wait_for_no_worker(roost)


@pytest.mark.thorough
def test_one_that_is_turned_off_by_a_reload_goes_and_the_worker_stays(
    roost: Roost, mlx_model_folder: Path, mlx_lm_python: Path
) -> None:
    with_spare(roost, mlx_model_folder, "mlx-lm")
    worker, spare = roost.worker(MODEL)["pid"], standing_by(roost)
    roost.settings(f'[models."{MODEL}".engine]\nname = "mlx-lm"\n')
    until_sync(lambda: not psutil.pid_exists(spare), timeout_s=10)
    until_sync(lambda: spare_of(roost)["state"] == "unknown", timeout_s=10)
    assert roost.worker(MODEL)["pid"] == worker
    assert roost.stop() == 0
    assert workers_of(roost) == []


@pytest.mark.engines
def test_vllm_mlx_serves_from_a_spare(roost: Roost, mlx_model_folder: Path, vllm_mlx_python: Path) -> None:
    with_spare(roost, mlx_model_folder, "vllm-mlx")
    becomes_the_worker(roost, mlx_model_folder, "vllm-mlx")
    standing_by(roost)
    assert roost.stop() == 0
    assert workers_of(roost) == []
