"""Every engine, and which one serves a model."""

from __future__ import annotations

from collections.abc import Mapping

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.catalog.types import CatalogView
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines.command import Command
from roost.engines.external import External
from roost.engines.llama_cpp import LlamaCpp
from roost.engines.mlx_lm import MlxLm
from roost.engines.types import Engine, NotInstalled
from roost.engines.vllm_mlx import VllmMlx
from roost.errors import BadConfiguration, Unavailable

#: `auto` takes the first that is installed and does not refuse the model. MLX on Apple Silicon reads safetensors
#: as they are; elsewhere it runs on the CPU only and is the last resort.
APPLE_ORDER = ("vllm-mlx", "mlx-lm", "llama.cpp")
OTHER_ORDER = ("llama.cpp", "mlx-lm", "vllm-mlx")


def build_engines(paths: Paths, environ: Mapping[str, str], catalog: CatalogView | None = None) -> dict[str, Engine]:
    """One adapter an engine, by name. `catalog` resolves the ids of draft models; without it a draft is refused."""
    engines: tuple[Engine, ...] = (
        LlamaCpp(paths, environ, catalog),
        MlxLm(paths, environ),
        VllmMlx(paths, environ),
        External(paths, environ),
        Command(paths, environ),
    )
    return {engine.name: engine for engine in engines}


def choose_engine(
    spec: ModelSpec,
    knobs: Knobs,
    engines: Mapping[str, Engine],
    apple_silicon: bool,
    model: ModelSettings | None = None,
) -> Engine:
    """The engine that serves this model.

    A declared model is served by what declares it, whatever `[engine]` says. A named engine is taken or refused,
    never replaced. Raises BadConfiguration (unknown, or cannot serve this model) and Unavailable (not installed),
    each with the mend.
    """
    if spec.format is ModelFormat.DECLARED:
        return engines[_declared_by(spec, model)]
    if knobs.name != "auto":
        return _named(spec, knobs.name, engines)
    return _automatic(spec, engines, APPLE_ORDER if apple_silicon else OTHER_ORDER)


def _declared_by(spec: ModelSpec, model: ModelSettings | None) -> str:
    if model is not None and (model.external or model.command):
        return "external" if model.external else "command"
    return "external" if spec.source.location.startswith(("http://", "https://")) else "command"


def _named(spec: ModelSpec, name: str, engines: Mapping[str, Engine]) -> Engine:
    engine = engines.get(name)
    if engine is None:
        raise BadConfiguration(
            f"cannot serve {spec.id}: there is no engine {name!r}; choose one of auto, {', '.join(sorted(engines))}"
        )
    if refusal := engine.refusal(spec):
        raise BadConfiguration(
            f"cannot serve {spec.id} with {name}: {refusal}; set engine.name to auto or choose another model"
        )
    if isinstance(state := engine.availability(), NotInstalled):
        raise Unavailable(
            f"cannot serve {spec.id}: {name} is not installed ({state.reason}); run {state.mend!r}", should_retry=False
        )
    return engine


def _automatic(spec: ModelSpec, engines: Mapping[str, Engine], order: tuple[str, ...]) -> Engine:
    refusals = {name: engines[name].refusal(spec) for name in order if name in engines}
    able = [engines[name] for name, refusal in refusals.items() if refusal is None]
    if not able:
        reasons = "; ".join(f"{name}: {refusal}" for name, refusal in refusals.items())
        raise BadConfiguration(f"cannot serve {spec.id}: no engine can ({reasons}); choose another model")
    missing: list[str] = []
    for engine in able:
        state = engine.availability()
        if not isinstance(state, NotInstalled):
            return engine
        missing.append(f"{engine.name}: {state.reason}, run {state.mend!r}")
    raise Unavailable(
        f"cannot serve {spec.id}: no engine for it is installed ({'; '.join(missing)})", should_retry=False
    )
