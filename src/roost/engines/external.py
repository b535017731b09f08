"""An OpenAI server that roost does not supervise: no process is started and nothing can be proven."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from yarl import URL

from roost.catalog.spec import ModelFormat, ModelSpec
from roost.config.paths import Paths
from roost.config.settings import ExternalWorker, Knobs, ModelSettings
from roost.engines.declared import traits_of, tuning_problems
from roost.engines.http import ask, served_names, why_unreachable
from roost.engines.types import (
    Available,
    Health,
    Healthy,
    LaunchPlan,
    Loading,
    NotInstalled,
    ProofKind,
    Unhealthy,
    Unreachable,
    UrlEndpoint,
    WorkerHttp,
    WorkerPlace,
)
from roost.errors import BadConfiguration

NAME = "external"
#: Asking for its models is cheap, but the way may be long and the server busy.
ANSWER_TIMEOUT_S = 5.0
#: What a proxy says for a server that is not there.
NOBODY_BEHIND = (502, 504)


class External:
    """`[models."ID".external]`. Its word is all there is, so its grade is `claimed`."""

    name = NAME

    def __init__(self, paths: Paths, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def availability(self) -> Available | NotInstalled:
        return Available(version="-", where="the address of each model", device="unknown")

    def refusal(self, spec: ModelSpec) -> str | None:
        if spec.format is not ModelFormat.DECLARED:
            return f'it serves models declared with an address; write [models."{spec.id}".external]'
        return None

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        unused = [name for name in ("extra_args", "env") if getattr(knobs, name)]
        return [
            *tuning_problems(NAME, knobs),
            *(f"{NAME}: {name}: roost starts no process for this model; remove it" for name in unused),
        ]

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        if model.external is None:
            raise BadConfiguration(f'cannot use {spec.id}: it has no address; write [models."{spec.id}".external]')
        if found := self.problems(spec, knobs):
            raise BadConfiguration(f"cannot use {spec.id}: {'; '.join(found)}", problems=tuple(found))
        return LaunchPlan(
            argv=(),
            env={},
            endpoint=self._endpoint(spec.id, model.external),
            served_name=model.external.served_name or spec.id,
            proof=ProofKind.CLAIMED,
            traits=traits_of(model),
            context_length=model.context_length,
            concurrency=knobs.max_sequences,
            foreign_listener=True,
        )

    def _endpoint(self, model_id: str, external: ExternalWorker) -> UrlEndpoint:
        url = URL(external.url)
        if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
            raise BadConfiguration(
                f"cannot use {model_id}: external.url must be http:// or https:// with a host and without a password; "
                'correct it in roost.toml and run "roost config check"'
            )
        return UrlEndpoint(url=external.url, key=self._key(model_id, external.api_key))

    def _key(self, model_id: str, reference: str | None) -> str | None:
        """The key behind `env:NAME`. The message names the reference, never a value."""
        if reference is None:
            return None
        kind, _, name = reference.partition(":")
        if kind != "env" or not name:
            raise BadConfiguration(
                f"cannot use {model_id}: external.api_key must be a reference such as env:NAME, not the key itself; "
                "put the key into a variable of the daemon's environment"
            )
        if not (value := self._environ.get(name)):
            raise BadConfiguration(
                f"cannot use {model_id}: its key should be in {name}, which is not set where the daemon runs; "
                f'export {name} and run "roost restart {model_id}"'
            )
        return value

    async def health(self, worker: WorkerHttp) -> Health:
        # Never a generation: tokens there may cost money, and other people may be waiting.
        try:
            answer = await ask(worker, "GET", "/v1/models", timeout_s=ANSWER_TIMEOUT_S)
        except (aiohttp.ClientError, OSError) as error:
            return _unanswered(error)
        if answer.status == 503:
            return Loading(detail=answer.error_text())
        if answer.status in NOBODY_BEHIND:
            return Unreachable(f"it answers {answer.status} to /v1/models")
        if answer.status in (401, 403):
            return Unhealthy(f"it refuses the key ({answer.status}); correct external.api_key")
        if answer.status >= 500:
            return Unhealthy(f"it answers {answer.status} to /v1/models: {answer.error_text()}")
        return served_names(answer.json()) if answer.status == 200 else Healthy()

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        """Nothing: what it costs there is not roost's to spend, and its first real request is its warm-up."""

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        return None


def _unanswered(error: Exception) -> Loading | Unreachable:
    """A server that took the connection and is silent may be busy; every other end says that nobody is there."""
    if reason := why_unreachable(error):
        return Unreachable(reason)
    if isinstance(error, TimeoutError):
        return Loading(detail=f"no answer within {ANSWER_TIMEOUT_S:g} s")
    return Unreachable(f"it broke the connection off ({type(error).__name__})")
