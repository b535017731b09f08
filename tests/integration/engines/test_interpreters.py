"""Which engine is installed beside an interpreter, read from the metadata on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.config.paths import Paths
from roost.engines.environments import MARKER
from roost.engines.interpreters import EnvironmentEngine, find_engine, release
from roost.engines.mlx_lm import ENGINE as MLX_LM
from roost.engines.types import Available, NotInstalled
from roost.engines.vllm_mlx import ENGINE as VLLM_MLX


def environment(folder: Path, **packages: str) -> Path:
    """A virtual environment's shape, with the metadata of these packages; returns its interpreter."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    for name, version in packages.items():
        metadata = folder / f"lib/python3.11/site-packages/{name}-{version}.dist-info/METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")
    return python


def found_beside(engine: EnvironmentEngine, python: Path) -> Available | NotInstalled:
    return find_engine(engine, Paths.from_environment({"HOME": "/nowhere"}), {engine.variable: str(python)})


def test_an_installed_engine_is_available_with_its_version(tmp_path: Path) -> None:
    python = environment(tmp_path, mlx_lm="0.32.2", mlx="0.32.4", mlx_cpu="0.32.4")
    assert found_beside(MLX_LM, python) == Available(version="0.32.2", where=str(python), device="cpu")


@pytest.mark.parametrize(("backend", "device"), [("mlx_metal", "metal"), ("mlx_cuda_12", "cuda"), ("mlx_cpu", "cpu")])
def test_the_backend_of_mlx_tells_the_device(tmp_path: Path, backend: str, device: str) -> None:
    state = found_beside(MLX_LM, environment(tmp_path, mlx_lm="0.33", **{backend: "0.32.4"}))
    assert isinstance(state, Available)
    assert state.device == device


def test_an_engine_that_took_anothers_name_is_not_trusted(tmp_path: Path) -> None:
    state = found_beside(VLLM_MLX, environment(tmp_path, vllm_mlx="0.6.0", rapid_mlx="0.16.10"))
    assert isinstance(state, NotInstalled)
    assert "rapid-mlx took the place of vllm-mlx" in state.reason


def test_an_older_engine_is_not_installed_and_says_what_is_needed(tmp_path: Path) -> None:
    state = found_beside(MLX_LM, environment(tmp_path, mlx_lm="0.31.3"))
    assert isinstance(state, NotInstalled)
    assert "0.31.3" in state.reason
    assert "older than 0.32.2" in state.reason
    assert state.mend == "roost engines install mlx-lm"


def test_an_interpreter_without_the_engine_is_not_installed(tmp_path: Path) -> None:
    assert isinstance(found_beside(MLX_LM, environment(tmp_path)), NotInstalled)
    assert isinstance(found_beside(MLX_LM, tmp_path / "nowhere/bin/python"), NotInstalled)


def test_an_environment_of_roosts_own_counts_only_when_it_was_finished(tmp_path: Path) -> None:
    paths = Paths.from_environment({"ROOST_HOME": str(tmp_path), "HOME": str(tmp_path)})
    folder = paths.engine_environments / "mlx-lm"
    environment(folder, mlx_lm="0.32.2")
    assert isinstance(find_engine(MLX_LM, paths, {}), NotInstalled)
    (folder / MARKER).write_text('{"lock_sha256": "x"}')
    assert isinstance(find_engine(MLX_LM, paths, {}), Available)


def test_a_version_is_compared_by_its_leading_numbers() -> None:
    assert release("0.32.2.dev1+g1234") == (0, 32, 2)
    assert release("0.6.0rc1") == (0, 6, 0)
    assert release("unknown") == ()
