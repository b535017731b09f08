"""llama.cpp: the embedded server in a worker process of its own, or a native `llama-server`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.catalog.types import CatalogView
from roost.config.paths import Paths
from roost.config.settings import Knobs, ModelSettings
from roost.engines import llama_memory, llama_parked, llama_saved
from roost.engines.environment import worker_environment
from roost.engines.http import Answer, ask, ask_health, generate_one, served_names, surface_of
from roost.engines.llama_flags import (
    NATIVE_ENVIRONMENT,
    embedded_config,
    embedded_problems,
    native_flags,
    native_problems,
)
from roost.engines.llama_program import (
    INSTALL,
    NATIVE_VARIABLE,
    Embedded,
    Native,
    Program,
    find_program,
    installed_embedded,
)
from roost.engines.llama_shape import NAME, SURFACES, LlamaShape, problems_of, shape_of
from roost.engines.types import (
    Available,
    CannotKeep,
    EngineTraits,
    Health,
    LaunchPlan,
    Loading,
    NotInstalled,
    ProofKind,
    Restored,
    Unhealthy,
    UnixEndpoint,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import BadConfiguration, Unavailable
from roost.memory.types import DryRunPlan, LoadShape

#: An abort starts a debugger where there is one, and its words would bury the reason, the worker's last line.
NO_BACKTRACE = {"GGML_NO_BACKTRACE": "1"}
#: glibc learns from blocks that were freed to take larger ones (up to 32 MiB) from its heap, which gives nothing back
#: from between others: cached prompts of many lengths then took 101 MiB under a cap of 64, and 307 under 256. With a
#: threshold that stays, each larger prompt is given back as it goes: 63 and 255.
STEADY_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(4 * 2**20)}


class LlamaCpp:
    """GGUF models. The weights stay mapped, so that a worker proves them by its own memory map."""

    name = NAME

    def __init__(
        self,
        paths: Paths,
        environ: Mapping[str, str],
        catalog: CatalogView | None = None,
        *,
        embedded: Callable[[], Embedded | None] = installed_embedded,
    ) -> None:
        """`embedded` tells whether the server is importable beside roost; a test says no."""
        self._environ = environ
        self._catalog = catalog
        self._embedded = embedded

    def availability(self) -> Available | NotInstalled:
        program = self._program()
        if program is None:
            return NotInstalled(reason=self._absence(), mend=INSTALL)
        return Available(version=program.version, where=program.where, device=program.device)

    def refusal(self, spec: ModelSpec) -> str | None:
        if spec.format is not ModelFormat.GGUF or spec.path is None:
            return f"it reads GGUF files only and this model is {spec.format.value}"
        if spec.adapter is not None and spec.adapter.suffix != ".gguf":
            return f"it needs the adapter as a GGUF file and {spec.adapter.name} is none"
        return None

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        native = isinstance(self._program(), Native)
        extra = native_problems(knobs.extra_args) if native else embedded_problems(knobs.extra_args)
        draft = self._draft(knobs)
        return [*problems_of(spec, knobs), *extra, *([draft] if isinstance(draft, str) else [])]

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        if refusal := self.refusal(spec):
            raise BadConfiguration(f"cannot start {spec.id} with {NAME}: {refusal}", problems=(refusal,))
        if found := self.problems(spec, knobs):
            raise BadConfiguration(f"cannot start {spec.id}: {'; '.join(found)}", problems=tuple(found))
        program = self._program()
        if program is None:
            raise Unavailable(
                f"cannot start {spec.id}: {NAME} is not installed ({self._absence()}); run {INSTALL!r}",
                should_retry=False,
            )
        draft = self._draft(knobs)
        shape = shape_of(spec, knobs, draft.path if isinstance(draft, ModelSpec) else None)
        # Given whether it is used or not: turning resume on or off is then no reason for a restart.
        saved = None if llama_saved.cache_refusal(spec, shape) else place.saved
        plan = self._plan(program, shape, knobs, place, saved)
        return replace(plan, draft_files=draft.files) if isinstance(draft, ModelSpec) else plan

    def _plan(
        self, program: Program, shape: LlamaShape, knobs: Knobs, place: WorkerPlace, saved: Path | None
    ) -> LaunchPlan:
        argv, stdin, shown = _command(program, shape, place, knobs.extra_args, saved)
        return LaunchPlan(
            argv=argv,
            env={
                **NO_BACKTRACE,
                **STEADY_HEAP,
                **(NATIVE_ENVIRONMENT if isinstance(program, Native) else {}),
                **worker_environment(self._environ, place, knobs.env, libraries=program.device != "cpu"),
            },
            endpoint=UnixEndpoint(place.socket_path),
            served_name=shape.alias,
            proof=ProofKind.MAPPED,
            traits=EngineTraits(
                cancels_non_stream=True,
                context_check="engine",
                surfaces=SURFACES[shape.purpose],
                vision=shape.projector is not None,
                enforces_format=True,
                splits_thoughts=shape.reasoning_format != "none",
                thinking_budget_field="thinking_budget_tokens",
            ),
            context_length=shape.context,
            concurrency=shape.sequences,
            shared_window=shape.sequences > 1,
            stdin=stdin,
            cwd=place.home,
            shown=shown,
        )

    def load_shape(self, spec: ModelSpec, knobs: Knobs) -> LoadShape:
        draft = self._draft_spec(knobs)
        return llama_memory.load_shape(shape_of(spec, knobs), self._program(), knobs.extra_args, draft)

    def dry_run(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, home: Path) -> DryRunPlan | None:
        program = self._program()
        if program is None or self.refusal(spec) or self.problems(spec, knobs):
            return None
        draft = self._draft(knobs)
        shape = shape_of(spec, knobs, draft.path if isinstance(draft, ModelSpec) else None)
        place = WorkerPlace(socket_path=home / "s.sock", home=home, port=0, key="")
        argv, config = llama_memory.dry_run_command(program, shape, place.socket_path, knobs.extra_args)
        own = {**llama_memory.DRY_RUN_ENVIRONMENT, **knobs.env}
        return DryRunPlan(
            argv=argv,
            env=worker_environment(self._environ, place, own, libraries=program.device != "cpu"),
            stdin=json.dumps(config).encode() if config else b"",
            parse=llama_memory.parse_dry_run,
            home=home,
        )

    async def health(self, worker: WorkerHttp) -> Health:
        # Unlike /health, the list also says which model and window this is; both are 503 while weights load.
        answer = await ask_health(worker, "/v1/models")
        if isinstance(answer, Loading):
            return answer
        if answer.status != 200:
            return Unhealthy(f"it answers {answer.status} to /v1/models: {answer.error_text()}")
        return served_names(answer.json())

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        await generate_one(worker, served_name, surfaces)

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        try:
            if surface_of(route) == "chat":
                return await _count_chat(worker, body)
            return await _count_texts(worker, _texts(json.loads(body)))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    def cache_facts(self, spec: ModelSpec, knobs: Knobs) -> Mapping[str, Any] | CannotKeep:
        program, draft = self._program(), self._draft(knobs)
        if program is None or self.refusal(spec):
            return CannotKeep("it does not run here")
        shape = shape_of(spec, knobs, draft.path if isinstance(draft, ModelSpec) else None)
        named = {"version": program.version, "where": program.where, "device": program.device}
        return llama_saved.cache_facts(spec, shape, knobs, named)

    async def save_cache(self, worker: WorkerHttp, folder: Path, max_bytes: int) -> int:
        return await llama_saved.save_slots(worker, folder, max_bytes)

    async def restore_cache(self, worker: WorkerHttp, folder: Path, *, check: bool) -> Restored:
        return await llama_saved.restore_slots(worker, folder, check=check)

    @property
    def parked_bytes(self) -> int:
        program = self._program()
        on_cpu = program is None or program.device == "cpu"
        return llama_parked.PARKED_BYTES if on_cpu else llama_parked.PARKED_ON_GPU_BYTES

    def can_park(self) -> bool:
        """A native server has no launcher of ours around it."""
        return isinstance(self._program(), Embedded)

    async def memory_settings(self, worker: WorkerHttp) -> Mapping[str, Any]:
        return await llama_parked.memory_settings(worker)

    async def park(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        await llama_parked.tell(place, "park", wait=True)

    async def wake(self, worker: WorkerHttp, place: WorkerPlace) -> None:
        await llama_parked.tell(place, "wake", wait=False)

    def _program(self) -> Program | None:
        return find_program(self._environ, self._embedded)

    def _absence(self) -> str:
        if path := self._environ.get(NATIVE_VARIABLE):
            return f"{NATIVE_VARIABLE} names {path}, which is no program that can be run"
        return "neither xllamacpp beside roost nor llama-server on PATH"

    def _draft(self, knobs: Knobs) -> ModelSpec | str | None:
        """The draft model, or why it cannot be used."""
        if not (knobs.speculative_decoding and knobs.draft_model):
            return None
        spec = self._draft_spec(knobs)
        if spec is None:
            return (
                f'{NAME}: draft_model: no GGUF model {knobs.draft_model!r} is here; run "roost models add" or remove it'
            )
        return spec

    def _draft_spec(self, knobs: Knobs) -> ModelSpec | None:
        if not (knobs.speculative_decoding and knobs.draft_model and self._catalog):
            return None
        spec = self._catalog.get(knobs.draft_model)
        usable = isinstance(spec, ModelSpec) and spec.format is ModelFormat.GGUF and spec.path is not None
        return spec if isinstance(spec, ModelSpec) and usable else None


def _command(
    program: Program, shape: LlamaShape, place: WorkerPlace, extra_args: tuple[str, ...], saved: Path | None
) -> tuple[tuple[str, ...], bytes | None, tuple[str, ...] | None]:
    """argv, standard input, and what to show people where argv does not tell all."""
    if isinstance(program, Native):
        return (program.where, *native_flags(shape, place.socket_path, extra_args, saved)), None, None
    config = embedded_config(shape, place.socket_path, extra_args, saved, llama_parked.control_path(place))
    argv = (program.where, "-I", str(program.launcher), str(shape.model))
    shown = (*argv, *(f"{name}={value}" for name, value in _flat(config) if value is not None))
    return argv, json.dumps(config).encode(), shown


def _flat(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in config.items():
        rows += value.items() if name in ("attributes", "enumerations") else [(name, value)]
    return rows


async def _count_chat(worker: WorkerHttp, body: bytes) -> int | None:
    answer = await ask(worker, "POST", "/v1/chat/completions/input_tokens", body)
    return _whole_number(answer, "input_tokens")


async def _count_texts(worker: WorkerHttp, texts: list[str | int]) -> int | None:
    """The longest of several prompts: each must fit into the window by itself. A number is already a count."""
    counts: list[int] = []
    for text in texts:
        if isinstance(text, int):
            counts.append(text)
            continue
        request = {"content": text, "add_special": True, "parse_special": True}
        tokens = (await ask(worker, "POST", "/tokenize", request)).json()
        counts.append(len(tokens["tokens"]))
    return max(counts, default=None)


def _texts(request: Any) -> list[str | int]:
    """Prompts of a completion or inputs of an embedding, token lists as their length. Raises ValueError."""
    value = request.get("prompt", request.get("input")) if isinstance(request, dict) else None
    match value:
        case str():
            return [value]
        case [int(), *_]:
            return [len(value)]
        case [str() | list(), *_]:
            return [item if isinstance(item, str) else len(item) for item in value]
        case _:
            raise ValueError("no text to count")


def _whole_number(answer: Answer, field: str) -> int | None:
    value = answer.json()
    count = value.get(field) if answer.status == 200 and isinstance(value, dict) else None
    return count if isinstance(count, int) else None
