"""The seam between roost and an inference engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import aiohttp

from roost.catalog.spec import ModelFile, ModelSpec
from roost.config.settings import Knobs, ModelSettings
from roost.engines.wire import Poster


@dataclass(frozen=True)
class UnixEndpoint:
    path: Path


@dataclass(frozen=True)
class TcpEndpoint:
    host: str
    port: int
    #: Sent as a bearer token; made per start, reaches the worker through standard input or its environment file,
    #: never argv.
    key: str | None = field(default=None, repr=False)
    #: Path that engine `command` asks whether it can serve; None: the engine's own question.
    health_path: str | None = None


@dataclass(frozen=True)
class UrlEndpoint:
    """A server that roost does not own (external), or a command's own address."""

    url: str
    key: str | None = field(default=None, repr=False)
    health_path: str | None = None


Endpoint = UnixEndpoint | TcpEndpoint | UrlEndpoint


class ProofKind(StrEnum):
    """How a worker shows which weights it serves, strongest first."""

    #: The listener's process tree maps exactly the catalog's weight files (llama.cpp).
    MAPPED = "mapped"
    #: The engine maps nothing after load: command line of the listener plus file digests taken at spawn.
    SPAWN_DIGESTS = "spawn-digests"
    #: Only the command line of the listening process (engine `command`).
    COMMAND_LINE = "command-line"
    #: Its own word or a health check (external, containers).
    CLAIMED = "claimed"


class ProofGrade(StrEnum):
    PROVEN = "proven"
    CMDLINE = "cmdline"
    CLAIMED = "claimed"


@dataclass(frozen=True)
class EngineTraits:
    """What the gateway must know of an engine to treat its answers right."""

    #: A client's disconnect stops a non-streaming request too; else the gateway streams and assembles.
    cancels_non_stream: bool
    #: engine: it answers 400 itself, which is translated; count: `count_prompt_tokens` works; none: unknown.
    context_check: Literal["engine", "count", "none"]
    #: Which routes it serves: chat, completions, embeddings, rerank.
    surfaces: frozenset[str]
    #: It can apply the chat template's system role anywhere, images as data URLs, and so on.
    vision: bool = False
    #: It holds an answer to `response_format`, as was measured; else the gateway looks at the answer.
    enforces_format: bool = False
    #: It puts thoughts into a field of their own.
    splits_thoughts: bool = False
    #: The field in which it reads how many tokens may be thought; None: it knows no such limit.
    thinking_budget_field: str | None = None
    #: The generation-cap field it reads, for the filter (`max_tokens` everywhere so far).
    max_tokens_field: str = "max_tokens"
    #: Request headers that must not reach it.
    strip_headers: frozenset[str] = frozenset({"x-conversation-id"})


@dataclass(frozen=True)
class WorkerPlace:
    """Where one start of a worker may live; made by workers, used by `Engine.launch`."""

    #: A short path (under 104 bytes) in the 0700 run dir, not there yet.
    socket_path: Path
    #: 0700 folder of this start, also its HOME; removed when it ends.
    home: Path
    #: A free loopback port for engines that cannot bind a unix socket.
    port: int
    #: A fresh random key for those.
    key: str = field(repr=False)
    #: Identifies the start: in the worker's environment as ROOST_WORKER_NONCE.
    nonce: str = ""

    @property
    def saved(self) -> Path:
        """Where an engine that keeps its cache over a stop reads and writes it; a folder of `home`."""
        return self.home / "saved"


@dataclass(frozen=True)
class Container:
    """Where a start's server lives when its command is `docker run` and the like. Known by label and id, never by its
    name: a name may be anybody's."""

    #: docker, podman or nerdctl.
    program: str
    #: The program as it was written, with its global options.
    client: tuple[str, ...]
    name: str | None
    #: Values of its labels: this start, and the roost that it belongs to.
    nonce: str
    owner: str
    #: The client writes the id there as soon as the container exists.
    id_file: Path
    #: `--rm`: its anonymous volumes go with it.
    takes_volumes_along: bool = False
    #: podman's `--replace`: whoever has the name is pushed out, as the command says.
    replaces_namesake: bool = False
    #: Ports that are published on every address of this machine.
    open_ports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernels:
    """Files that the engine compiles into its home while it serves, and that the next start can use."""

    #: Where they are kept: `NAME-…`, one folder an installation of an engine.
    store: Path
    #: The engine's folder for them, in the home of a start.
    inside: str
    #: How the files that matter end.
    suffixes: tuple[str, ...]


@dataclass(frozen=True)
class LaunchPlan:
    """Everything needed to start one worker. `argv` is public (ps shows it): no secret, no prompt."""

    argv: tuple[str, ...]
    #: The whole environment of the worker; nothing of the daemon's is inherited.
    env: Mapping[str, str]
    endpoint: Endpoint
    #: The `model` that the engine expects in a request body.
    served_name: str
    proof: ProofKind
    traits: EngineTraits
    #: Tokens that one request may use (prompt and reply); None: unknown, not checked.
    context_length: int | None
    #: Requests worth sending at once; the pool admits so many, the rest wait in its queue.
    concurrency: int
    #: Requests running at once share `context_length`: together they must fit (llama.cpp's unified cache).
    shared_window: bool = False
    #: Weight files of another model that it maps too: a draft for speculative decoding.
    draft_files: tuple[ModelFile, ...] = ()
    #: Written to the worker's standard input at start, then closed: configuration and secrets.
    stdin: bytes | None = field(default=None, repr=False)
    cwd: Path | None = None
    #: A listener outside the spawned tree is accepted (docker); its grade is then `claimed`.
    foreign_listener: bool = False
    #: argv that stops it, for commands that need one; ${PID} is filled in by workers.
    stop_argv: tuple[str, ...] | None = None
    #: argv of what `config show --engine-command` prints when it differs from `argv` (a launcher hides flags in stdin).
    shown: tuple[str, ...] | None = None
    #: The server lives in a container, beside the process tree that is started.
    container: Container | None = None
    kernels: Kernels | None = None


@dataclass(frozen=True)
class StandbyPlan:
    """How to start a spare: a process that does the imports of a worker and then waits for the `stdin` of the start
    that it becomes. `env` must be as in that start's plan, for it is read while importing."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    #: Tells the engine as it is installed now from one that is installed later at the same place.
    installation: str = ""


@dataclass(frozen=True)
class Loading:
    """Not ready yet. `fraction` from 0 to 1 when the engine tells."""

    fraction: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Healthy:
    """The engine says that it can generate; proof and a real token are still to come."""

    #: What it reports about itself; None where it does not tell.
    served_names: tuple[str, ...] = ()
    context_length: int | None = None


@dataclass(frozen=True)
class Unhealthy:
    reason: str


@dataclass(frozen=True)
class Unreachable:
    """Nobody answers at an address that is not roost's own: no load is under way that could be waited for."""

    reason: str


Health = Loading | Healthy | Unhealthy | Unreachable


@dataclass(frozen=True)
class WorkerHttp:
    """How to call one worker. The session is the worker's own and knows its socket or address."""

    session: aiohttp.ClientSession
    #: The short way over the session's connections, for JSON.
    wire: Poster
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    #: From the endpoint.
    health_path: str | None = None


@dataclass(frozen=True)
class Available:
    version: str
    #: How it would run: interpreter or program path, for `engines list` and `doctor`.
    where: str
    #: cpu, metal, cuda, rocm, vulkan as far as known.
    device: str = "cpu"


@dataclass(frozen=True)
class NotInstalled:
    reason: str
    #: The command that mends it, such as `roost engines install mlx-lm`.
    mend: str


class Engine(Protocol):
    """One engine. Methods without `async` are quick and touch at most the disk."""

    @property
    def name(self) -> str: ...

    def availability(self) -> Available | NotInstalled: ...

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this engine cannot serve this model at all, as a sentence; None: it can."""
        ...

    def problems(self, spec: ModelSpec | None, knobs: Knobs) -> list[str]:
        """Knobs that this engine cannot honour or that contradict each other, one sentence each, naming the engine
        and the mend. Used by `config check` (spec may be None) and before each start."""
        ...

    def launch(self, spec: ModelSpec, knobs: Knobs, model: ModelSettings, place: WorkerPlace) -> LaunchPlan:
        """The command for one start. Raises BadConfiguration with `problems`, Unavailable when not installed."""
        ...

    async def health(self, worker: WorkerHttp) -> Health:
        """One quick question (at most a second to a worker here). Connection errors are no exceptions: Loading where
        roost started the process, else Unreachable."""
        ...

    async def generate_token(self, worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
        """Make it really generate one token (or embed one word): warm-up and proof of life.

        Raises UpstreamStalled or UpstreamCrashed. The caller sets the deadline.
        """
        ...

    async def count_prompt_tokens(self, worker: WorkerHttp, route: str, body: bytes) -> int | None:
        """Tokens of this request's prompt after the chat template; None when it cannot tell."""
        ...


@dataclass(frozen=True)
class CannotKeep:
    """Why a worker's cache is not worth saving, as a sentence."""

    reason: str


@dataclass(frozen=True)
class Restored:
    """What came back."""

    tokens: int
    #: Whether the engine was seen to reuse it, by its own count of cached tokens; None: not looked at.
    reused: bool | None = None


@runtime_checkable
class KeepsCache(Protocol):
    """An engine that can write down what it has computed and read it again in a later start. The others cannot."""

    def cache_facts(self, spec: ModelSpec, knobs: Knobs) -> Mapping[str, Any] | CannotKeep:
        """Everything that decides whether a saved cache fits, as JSON values: it is compared before a restore."""
        ...

    async def save_cache(self, worker: WorkerHttp, folder: Path, max_bytes: int) -> int:
        """Writes files into `WorkerPlace.saved`; the tokens in them. The worker computes nothing for a client now.

        Raises aiohttp.ClientError, OSError or TimeoutError.
        """
        ...

    async def restore_cache(self, worker: WorkerHttp, folder: Path, *, check: bool) -> Restored:
        """Reads the files that `save_cache` wrote. `check`: also look whether the engine reuses them, by little work.

        Raises aiohttp.ClientError, OSError or TimeoutError.
        """
        ...


@runtime_checkable
class StandsBy(Protocol):
    """An engine whose start is mostly imports, so that a process may do them ahead. The others cannot."""

    @property
    def spare_bytes(self) -> int:
        """Memory that a spare holds, as measured once; what a running one holds is measured anew."""
        ...

    def standby(self, knobs: Knobs, place: WorkerPlace) -> StandbyPlan | None:
        """A spare that may become any worker with these knobs' environment; None: the engine is not installed."""
        ...
