"""What the two MLX engines share: a launcher in the engine's own interpreter, its questions, and rules for flags."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.config.paths import Paths
from roost.config.settings import Knobs
from roost.engines.environment import worker_environment
from roost.engines.http import ask, ask_health
from roost.engines.knobs import DEFAULT_CONTEXT_TOKENS, context_tokens
from roost.engines.launchers.spare import ROOM_FOR_FOLDER, STANDBY
from roost.engines.types import (
    EngineTraits,
    Health,
    Healthy,
    Kernels,
    LaunchPlan,
    Loading,
    ProofKind,
    StandbyPlan,
    Unhealthy,
    UnixEndpoint,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import BadConfiguration
from roost.memory.types import CacheKind, DryRunPlan, LoadShape, MlxDryRun, Runtime

#: Both engines compute prefill in steps that a cancel cannot interrupt; their own 2048 makes a cancel take seconds.
PREFILL_STEP_TOKENS = 512
#: The engines cut replies at 512 and 32768 tokens by default, in silence; the context is the limit of ours.
UNLIMITED_TOKENS = 2**31 - 1

LAUNCHERS = Path(__file__).parent / "launchers"

#: On a GPU MLX keeps freed buffers for reuse, without a limit of its own.
BUFFER_CACHE_BYTES = 2 * 10**9
#: Private memory of a dry run: the largest model's took a quarter of it.
DRY_RUN_DATA_BYTES = 4 * 2**30


@dataclass(frozen=True)
class MlxEnvironment:
    """What all workers of an engine are started with, whatever their model."""

    python: str
    #: File name in `launchers/`.
    launcher: str
    variables: Mapping[str, str]
    device: str
    version: str

    @property
    def installation(self) -> str:
        """Changes when the environment is made anew, whatever is in it."""
        try:
            made = (Path(self.python).parent.parent / "pyvenv.cfg").stat()
        except OSError:  # not an environment of its own
            return self.version
        return f"{self.version} {made.st_ino} {made.st_mtime_ns}"

    @property
    def argv(self) -> tuple[str, ...]:
        return (self.python, "-I", str(LAUNCHERS / self.launcher))

    def of(self, place: WorkerPlace, knobs: Knobs, environ: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of one start."""
        return worker_environment(environ, place, knobs.env, engine=self.variables, libraries=self.device == "cuda")


@dataclass(frozen=True)
class MlxWorker:
    """One start, decided."""

    environment: MlxEnvironment
    #: What the arguments mean to people: the engine's own command.
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    traits: EngineTraits
    #: More for the launcher's configuration.
    configuration: Mapping[str, str | int]
    kernels: Kernels | None = None


def kernels(engine: str, environment: MlxEnvironment, paths: Paths) -> Kernels | None:
    """On a CPU MLX has a C++ compiler build a kernel for each new chain of operations: seconds of a first token."""
    if environment.device != "cpu":
        return None
    digest = hashlib.sha256(f"{environment.python} {environment.installation}".encode()).hexdigest()
    return Kernels(paths.kernels / f"{engine.replace('-', '_')}-{digest[:12]}", inside="mlx", suffix=".so")


def standby(environment: MlxEnvironment, knobs: Knobs, place: WorkerPlace, environ: Mapping[str, str]) -> StandbyPlan:
    """A spare of this engine: the launcher without a folder, and room in its command line for one."""
    argv = (*environment.argv, STANDBY, ROOM_FOR_FOLDER)
    return StandbyPlan(argv, environment.of(place, knobs, environ), place.home, environment.installation)


def plan(
    worker: MlxWorker, spec: ModelSpec, knobs: Knobs, place: WorkerPlace, environ: Mapping[str, str]
) -> LaunchPlan:
    """The folder stands in argv, where ps and the proof see it; everything goes through standard input too, which is
    all that a spare is given."""
    context = context_tokens(spec, knobs)
    configuration = {
        "folder": str(spec.path),
        "socket": str(place.socket_path),
        "served_name": spec.id,
        "context_length": context,
        "arguments": worker.arguments,
        **worker.configuration,
    }
    return LaunchPlan(
        argv=(*worker.environment.argv, str(spec.path)),
        env=worker.environment.of(place, knobs, environ),
        endpoint=UnixEndpoint(place.socket_path),
        served_name=spec.id,
        proof=ProofKind.SPAWN_DIGESTS,
        traits=worker.traits,
        context_length=context,
        concurrency=sequences(knobs),
        stdin=json.dumps(configuration).encode(),
        cwd=place.home,
        shown=(*worker.command, str(spec.path), *worker.arguments),
        kernels=worker.kernels,
    )


def load_shape(engine: str, spec: ModelSpec, knobs: Knobs, device: str, kv_type: str | None) -> LoadShape:
    """The sizes of a start: every sequence may fill the window, since the engines have no pool."""
    return LoadShape(
        engine=engine,
        runtime=Runtime.MLX,
        device=device,
        context=context_tokens(spec, knobs) or DEFAULT_CONTEXT_TOKENS,
        sequences=sequences(knobs),
        step=knobs.prefill_batch or PREFILL_STEP_TOKENS,
        kv_type=kv_type,
        cache_bytes=knobs.prefix_cache_mb * 2**20 if knobs.prefix_cache else 0,
        reuse_bytes=BUFFER_CACHE_BYTES if device != "cpu" else 0,
        fused_attention=device == "metal",
    )


def dry_run_plan(
    python: str, device: str, spec: ModelSpec, own: Mapping[str, str], home: Path, environ: Mapping[str, str]
) -> DryRunPlan:
    """Builds the model in the engine's own interpreter without evaluating anything: no weight is read."""
    place = WorkerPlace(socket_path=home / "s.sock", home=home, port=0, key="")
    return DryRunPlan(
        argv=(python, "-I", str(LAUNCHERS / "mlx_dry_run.py"), str(spec.path)),
        env=worker_environment(environ, place, own, libraries=device == "cuda"),
        stdin=json.dumps({"data_limit_bytes": DRY_RUN_DATA_BYTES if device == "cpu" else None}).encode(),
        parse=parse_dry_run,
        home=home,
    )


def parse_dry_run(text: str) -> MlxDryRun | None:
    """The launcher's one line of JSON; None: not there yet, or not in this form."""
    line = next((line for line in text.splitlines() if line.startswith('{"roost_dry_run":')), None)
    try:
        told = json.loads(line)["roost_dry_run"] if line else None
        return _account(told) if told else None
    except (ValueError, KeyError, TypeError):
        return None


def _account(told: Mapping[str, Any]) -> MlxDryRun:
    caches = tuple(
        CacheKind(int(kind["count"]), int(kind["cell_bytes"]), int(kind["fixed_bytes"]), kind["window"])
        for kind in told["caches"]
    )
    return MlxDryRun(int(told["parameter_bytes"]), caches, str(told["dtype"]))


def sequences(knobs: Knobs) -> int:
    """Requests that are computed at once."""
    return knobs.max_sequences if knobs.continuous_batching else 1


def refusal(engine: str, spec: ModelSpec) -> str | None:
    """Why an MLX engine cannot serve this model at all."""
    if spec.format is not ModelFormat.SAFETENSORS or spec.path is None:
        return f"{engine} reads safetensors folders only and this model is {spec.format.value}"
    if spec.capabilities and not spec.capabilities & {"chat", "completion"}:
        return f"{engine} generates text only and this model does not"
    return None


def require_no_problems(engine: str, spec: ModelSpec, found: Iterable[str | None]) -> None:
    """Raises BadConfiguration naming all of them."""
    problems = tuple(problem for problem in found if problem)
    if problems:
        raise BadConfiguration(f"cannot start {spec.id} with {engine}: {'; '.join(problems)}", problems=problems)


def flag_problems(engine: str, extra_args: Iterable[str], owned: frozenset[str]) -> list[str]:
    """`extra_args` that name a flag of roost's own. argparse takes abbreviations, so each beginning of one counts."""
    return [
        f"{engine}: extra_args: {argument.partition('=')[0]} is set by roost; use the knob for it or remove it"
        for argument in extra_args
        if argument.startswith("--")
        and len(argument) > 2
        and any(flag.startswith(argument.partition("=")[0]) for flag in owned)
    ]


async def health_of(worker: WorkerHttp) -> Health:
    """The launchers' own `/health`: 200 once the model is loaded, 500 when generation has died."""
    answer = await ask_health(worker, "/health")
    if isinstance(answer, Loading):
        return answer
    told = answer.json()
    if answer.status != 200 or not isinstance(told, dict):
        return Unhealthy(f"it answers {answer.status} to /health")
    return Healthy(served_names=(str(told.get("model")),), context_length=told.get("context_length"))


async def count_prompt_tokens(worker: WorkerHttp, body: bytes) -> int | None:
    """`POST /roost/count` of the launchers, with the body of the request itself."""
    try:
        answer = await ask(worker, "POST", "/roost/count", body)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    told = answer.json()
    count = told.get("prompt_tokens") if answer.status == 200 and isinstance(told, dict) else None
    return count if isinstance(count, int) else None
