from __future__ import annotations

from pathlib import Path

import pytest

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.config.settings import CommandWorker, ExternalWorker, Knobs, ModelSettings
from roost.engines.table import build_engines, choose_engine
from roost.engines.types import Available, Engine, NotInstalled
from roost.errors import BadConfiguration, Unavailable
from tests.unit.engines.specs import PATHS, declared, gguf

SAFETENSORS = gguf(format=ModelFormat.SAFETENSORS, path=Path("/models/a"))


class Fake:
    """An engine that reads one format and is installed or not."""

    def __init__(self, name: str, reads: ModelFormat, installed: bool = True) -> None:
        self.name = name
        self._reads = reads
        self._installed = installed

    def availability(self) -> Available | NotInstalled:
        if self._installed:
            return Available("1", "/x")
        return NotInstalled(reason="no environment", mend=f"roost engines install {self.name}")

    def refusal(self, spec: ModelSpec) -> str | None:
        return None if spec.format is self._reads else f"it does not read {spec.format}"


def engines(**installed: bool) -> dict[str, Engine]:
    rows = {
        "llama.cpp": ModelFormat.GGUF,
        "mlx-lm": ModelFormat.SAFETENSORS,
        "vllm-mlx": ModelFormat.SAFETENSORS,
        "external": ModelFormat.DECLARED,
        "command": ModelFormat.DECLARED,
    }
    return {name: Fake(name, reads, installed.get(name.replace("-", "_"), True)) for name, reads in rows.items()}  # type: ignore[misc]


def chosen(spec: ModelSpec, knobs: Knobs | None = None, *, apple: bool = False, **installed: bool) -> str:
    return choose_engine(spec, knobs or Knobs(), engines(**installed), apple).name


def test_apple_silicon_takes_an_installed_mlx_engine_for_safetensors() -> None:
    assert chosen(SAFETENSORS, apple=True) == "vllm-mlx"
    assert chosen(SAFETENSORS, apple=True, vllm_mlx=False) == "mlx-lm"


def test_a_gguf_file_is_served_by_llama_cpp_everywhere() -> None:
    assert chosen(gguf(), apple=True) == "llama.cpp"
    assert chosen(gguf(), apple=False) == "llama.cpp"


def test_elsewhere_safetensors_fall_to_the_engine_that_reads_them() -> None:
    assert chosen(SAFETENSORS, apple=False) == "mlx-lm"


def test_nothing_installed_names_each_command_that_mends_it() -> None:
    with pytest.raises(Unavailable) as caught:
        chosen(SAFETENSORS, apple=True, vllm_mlx=False, mlx_lm=False)
    assert "roost engines install vllm-mlx" in caught.value.message
    assert "roost engines install mlx-lm" in caught.value.message
    assert caught.value.should_retry is False


def test_a_named_engine_is_taken_or_refused_but_never_replaced() -> None:
    assert chosen(SAFETENSORS, Knobs(name="mlx-lm"), apple=True) == "mlx-lm"
    with pytest.raises(BadConfiguration, match="does not read gguf"):
        chosen(gguf(), Knobs(name="mlx-lm"))
    with pytest.raises(Unavailable, match="roost engines install mlx-lm"):
        chosen(SAFETENSORS, Knobs(name="mlx-lm"), mlx_lm=False)


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(BadConfiguration, match=r"no engine 'ollama'.*llama\.cpp"):
        chosen(gguf(), Knobs(name="ollama"))


def test_a_declared_model_is_served_by_what_declares_it() -> None:
    knobs = Knobs(name="llama.cpp")
    external = ModelSettings(external=ExternalWorker(url="http://127.0.0.1:9"))
    command = ModelSettings(command=CommandWorker(cmd="x"))
    assert choose_engine(declared(), knobs, engines(), True, external).name == "external"
    assert choose_engine(declared("http://a"), knobs, engines(), True, command).name == "command"
    assert choose_engine(declared("http://127.0.0.1:9/v1"), knobs, engines(), True).name == "external"
    assert choose_engine(declared("server --port 1"), knobs, engines(), True).name == "command"


def test_all_engines_are_built_under_their_names() -> None:
    built = build_engines(PATHS, {})
    assert sorted(built) == ["command", "external", "llama.cpp", "mlx-lm", "vllm-mlx"]
    assert all(engine.name == name for name, engine in built.items())
