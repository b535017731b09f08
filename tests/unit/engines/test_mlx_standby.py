"""A spare of an MLX engine beside the start that it becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roost.config.settings import Knobs
from roost.engines import mlx_lm, mlx_worker, vllm_mlx
from roost.engines.launchers.spare import ROOM_FOR_FOLDER, STANDBY
from roost.engines.mlx_worker import MlxEnvironment, MlxWorker
from roost.engines.types import Available, LaunchPlan, StandbyPlan, WorkerPlace
from tests.unit.engines.test_mlx_lm import spec_of

PLACE = WorkerPlace(Path("/run/w.sock"), Path("/run/w"), 1, "secret-key", "nonce")
ENVIRON = {"PATH": "/bin", "LANG": "C", "SECRET": "x", "LD_LIBRARY_PATH": "/lib"}
ENGINES = {
    "mlx-lm": mlx_lm.environment(Available("0.32.2", "/e/bin/python")),
    "vllm-mlx": vllm_mlx.environment(Available("0.6.0", "/e/bin/python", "cuda")),
}


@pytest.fixture(params=ENGINES)
def environment(request: pytest.FixtureRequest) -> MlxEnvironment:
    return ENGINES[request.param]


def start(environment: MlxEnvironment, knobs: Knobs) -> LaunchPlan:
    worker = MlxWorker(environment, ("x",), ("--flag",), mlx_lm.TRAITS, {})
    return mlx_worker.plan(worker, spec_of(), knobs, PLACE, ENVIRON)


def spare(environment: MlxEnvironment, knobs: Knobs) -> StandbyPlan:
    return mlx_worker.standby(environment, knobs, PLACE, ENVIRON)


def test_a_spare_imports_with_the_environment_and_in_the_folder_of_the_start(environment: MlxEnvironment) -> None:
    for knobs in (Knobs(), Knobs(env={"A": "1"})):
        assert spare(environment, knobs).env == start(environment, knobs).env
        assert spare(environment, knobs).cwd == start(environment, knobs).cwd
    assert spare(environment, Knobs()).env != start(environment, Knobs(env={"A": "1"})).env


def test_it_runs_the_same_launcher_without_a_folder_and_with_room_for_one(environment: MlxEnvironment) -> None:
    *same, folder = start(environment, Knobs()).argv
    assert spare(environment, Knobs()).argv == (*same, STANDBY, ROOM_FOR_FOLDER)
    assert folder == str(spec_of().path) and not ROOM_FOR_FOLDER.strip()


def test_all_that_a_start_needs_comes_on_standard_input(environment: MlxEnvironment) -> None:
    configuration = json.loads(start(environment, Knobs()).stdin or b"")
    assert configuration["folder"] == str(spec_of().path) and configuration["arguments"] == ["--flag"]


def test_nothing_secret_is_on_its_command_line(environment: MlxEnvironment) -> None:
    made = spare(environment, Knobs(env={"TOKEN": "canary"}))
    assert "canary" not in " ".join(made.argv) and "secret-key" not in " ".join(made.argv)
    assert "SECRET" not in made.env


def test_an_environment_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    marker = tmp_path / "pyvenv.cfg"
    marker.write_text("1")
    installed = MlxEnvironment(str(tmp_path / "bin/python"), "x.py", {}, "cpu", "1")
    before = installed.installation
    assert installed.installation == before
    marker.rename(tmp_path / "kept")
    marker.write_text("1")
    assert installed.installation != before
