"""Fixtures of all tests: a private place for roost, the real models, and proof that no test leaves a process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from roost.testing.wait import DeadlineExceeded, until_sync
from tests.helpers import CACHE, MODELS, short_folder

#: Variables of roost that reach the tests; all others are the developer's own and would change what is tested.
_MEANT_FOR_TESTS = ("ROOST_ENGINE_", "ROOST_EMBEDDED_GGUF", "ROOST_TEST_")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the developer's machine reaches a test or a process that it starts."""
    foreign = [name for name in os.environ if name.startswith("ROOST_") and not name.startswith(_MEANT_FOR_TESTS)]
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def interrupts_reach_what_the_tests_start() -> Iterator[None]:
    """A shell that runs the tests in the background hands SIGINT down ignored, and every child would keep that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """At the end every process that the tests started is gone."""
    before = set(psutil.Process().children(recursive=True))
    yield

    def left() -> list[psutil.Process]:
        now = psutil.Process().children(recursive=True)
        # multiprocessing's tracker lives as long as the interpreter that started it.
        return [child for child in now if child not in before and "resource_tracker" not in " ".join(_command(child))]

    try:
        until_sync(lambda: not left(), timeout_s=5.0)
    except DeadlineExceeded:
        pytest.fail(f"tests left processes behind: {[_command(child) for child in left()]}")


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder with room for a unix socket's 104 bytes."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def roost_home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ROOST_HOME of this test alone; HOME points beside it, so that discovery sees nobody's models."""
    home = short_path / "home"
    home.mkdir()
    monkeypatch.setenv("ROOST_HOME", str(home))
    monkeypatch.setenv("HOME", str(short_path / "user"))
    monkeypatch.delenv("HF_HOME", raising=False)
    return home


@pytest.fixture(scope="session")
def embedded_gguf() -> Path:
    """The real SmolLM2-135M-Instruct Q4_1."""
    return _prepared(MODELS / "smollm2-135m-instruct-q4_1.gguf")


@pytest.fixture(scope="session")
def mlx_model_folder() -> Path:
    """The same model in float32, for the MLX engines on a CPU."""
    return _prepared(MODELS / "smollm2-135m-f32")


@pytest.fixture(scope="session")
def mlx_lm_python() -> Path:
    """The interpreter of mlx-lm's own environment."""
    return _engine_python("mlx-lm")


@pytest.fixture(scope="session")
def vllm_mlx_python() -> Path:
    """The interpreter of vllm-mlx's own environment; only tests marked `engines` ask for it."""
    return _engine_python("vllm-mlx")


def _engine_python(name: str) -> Path:
    variable = f"ROOST_ENGINE_{name.upper().replace('-', '_')}_PYTHON"
    return _prepared(Path(os.environ.get(variable) or CACHE / "engines" / name / "bin" / "python"))


def _prepared(path: Path) -> Path:
    if not path.exists():
        pytest.fail(f"{path} is not there; make test prepares it (scripts/prepare_tests.py)")
    return path
