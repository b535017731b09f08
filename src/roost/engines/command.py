"""Any server that a command line starts. Its proof is only the command line of the process that listens."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from string import Template

from yarl import URL

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.config.paths import Paths
from roost.config.settings import CommandWorker, Knobs, ModelSettings
from roost.engines.containers import RunCommand, client_environment, keeper_argv, owned, parse_run
from roost.engines.declared import traits_of, tuning_problems
from roost.engines.environment import worker_environment
from roost.engines.http import ask_health, generate_one
from roost.engines.types import (
    Available,
    Endpoint,
    Health,
    Healthy,
    LaunchPlan,
    Loading,
    NotInstalled,
    ProofKind,
    TcpEndpoint,
    UrlEndpoint,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import BadConfiguration

NAME = "command"
#: `check_endpoint = "none"`: any answer at all means that it can serve.
NO_CHECK = "none"


class Command:
    """`[models."ID".command]`. Nothing is interpreted by a shell; placeholders are filled in word by word."""

    name = NAME

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def availability(self) -> Available | NotInstalled:
        return Available(version="-", where="the command of each model", device="unknown")

    def refusal(self, spec: ModelSpec) -> str | None:
        if spec.format is not ModelFormat.DECLARED:
            return f'it serves models declared with a command line; write [models."{spec.id}".command]'
        return None

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        return tuning_problems(NAME, knobs)

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        if model.command is None:
            raise BadConfiguration(f'cannot start {spec.id}: it has no command; write [models."{spec.id}".command]')
        if found := self.problems(spec, knobs):
            raise BadConfiguration(f"cannot start {spec.id}: {'; '.join(found)}", problems=tuple(found))
        values = {"PORT": str(place.port), "MODEL_ID": spec.id}
        words = (*_words(spec.id, "cmd", model.command.cmd, values), *knobs.extra_args)
        cwd = Path(model.command.cwd).expanduser() if model.command.cwd else place.home
        plan = LaunchPlan(
            argv=words,
            # Not offline: roost does not know what this program needs.
            env=worker_environment(self._environ, place, knobs.env, libraries=True, offline=False),
            endpoint=_endpoint(spec.id, model.command, values),
            served_name=model.command.served_name or spec.id,
            proof=ProofKind.COMMAND_LINE,
            traits=traits_of(model),
            context_length=model.context_length,
            concurrency=knobs.max_sequences,
            cwd=cwd,
            foreign_listener=True,
            stop_argv=_stop_words(spec.id, model.command, values),
        )
        run = parse_run(words)
        return plan if run is None else self._in_container(plan, run, spec.id, knobs, place, cwd)

    def _in_container(
        self, plan: LaunchPlan, run: RunCommand, model_id: str, knobs: Knobs, place: WorkerPlace, cwd: Path
    ) -> LaunchPlan:
        """The same start with a keeper before the client, which outlives clients that leave, and the container marked.
        The client finds its user's configuration; the container gets of it what the command says."""
        container, argv = owned(run, model_id, place, cwd)
        own = {**client_environment(self._environ), **knobs.env}
        return replace(
            plan,
            argv=(*keeper_argv(container), *argv),
            env=worker_environment(self._environ, place, own, libraries=True, offline=False),
            proof=ProofKind.CLAIMED,
            shown=argv,
            container=container,
        )

    async def health(self, worker: WorkerHttp) -> Health:
        path = worker.health_path or "/health"
        answer = await ask_health(worker, "/" if path == NO_CHECK else path)
        if isinstance(answer, Loading):
            return answer
        if path == NO_CHECK or 200 <= answer.status < 300:
            return Healthy()
        # Many servers answer 404 or 500 until their routes or weights are there: only 2xx counts, nothing else ends it.
        return Loading(detail=f"{path} answers {answer.status}")

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        await generate_one(worker, served_name, surfaces)

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        return None


def _words(model_id: str, field: str, line: str, values: Mapping[str, str]) -> tuple[str, ...]:
    """Split first, fill in afterwards: a value with a space or a quote stays one word."""
    try:
        # A backslash at the end of a line continues it, as in a shell; shlex alone would keep the newline as a word.
        words = shlex.split(line.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise BadConfiguration(
            f"cannot start {model_id}: command.{field} cannot be split: {error}; quote it"
        ) from error
    if not words:
        raise BadConfiguration(f"cannot start {model_id}: command.{field} is empty; write the command line")
    return tuple(Template(word).safe_substitute(values) for word in words)


def _stop_words(model_id: str, command: CommandWorker, values: Mapping[str, str]) -> tuple[str, ...] | None:
    """${PID} stays for the one who knows it."""
    return _words(model_id, "cmd_stop", command.cmd_stop, values) if command.cmd_stop else None


def _endpoint(model_id: str, command: CommandWorker, values: Mapping[str, str]) -> Endpoint:
    """A plain loopback address becomes a TcpEndpoint, so that the owner of its port can be looked up."""
    text = Template(command.proxy).safe_substitute(values)
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.port is None:
        raise BadConfiguration(
            f"cannot start {model_id}: command.proxy {text!r} is no http address; write it like http://127.0.0.1:${{PORT}}"
        )
    path = command.check_endpoint
    if url.scheme == "http" and _is_loopback(url.host) and url.path.rstrip("/") in ("", "/v1"):
        return TcpEndpoint(host=url.host, port=url.port, health_path=path)
    return UrlEndpoint(url=text, health_path=path)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
