"""Shapes of the daemon's own API (`/roost/v1/...`): what gateway sends, and client, cli and dashboard read.

It is a module of values that every room may import, so that the CLI and the gateway cannot drift apart.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Problem(Shape):
    """Something is wrong; `mend` is the command that repairs it."""

    severity: Literal["error", "warning"]
    text: str
    mend: str | None = None


class HostReport(Shape):
    name: str
    chip: str
    cores: int
    memory_total_bytes: int
    memory_available_bytes: int
    swap_used_bytes: int
    #: Pages swapped out since the daemon started, in bytes; None: not known here.
    swap_out_delta_bytes: int | None
    load_average: float | None
    on_battery: bool | None = None


class WorkerReport(Shape):
    worker_id: str
    model: str
    fingerprint: str
    engine: str
    engine_version: str | None
    state: str
    kind: str
    pid: int | None
    grade: str | None
    proof: str | None
    context_length: int | None
    quantization: str | None
    concurrency: int
    running: int
    queued: int
    restarts: int
    resident_bytes: int | None
    #: What its weights alone take, as their headers say; caches and buffers are in promised_bytes.
    estimate_bytes: int | None
    started_at: float | None
    ready_at: float | None
    expires_at: float | None
    problem: str | None
    mend: str | None
    command: tuple[str, ...] = ()
    #: Its turn among the models that wait to be loaded, 1 = next; None: it does not.
    place: int | None = None
    #: How long the oldest of the queued requests has waited; None: there is none.
    waits_s: float | None = None
    #: Why its next request would wait for its memory, which was swapped out, compressed or dropped; None: it would not.
    cold: str | None = None
    #: What memory it was promised before it started, for people; None: it was not started.
    memory: str | None = None
    #: The same in bytes; None: nobody knows its size.
    promised_bytes: int | None = None
    #: What holds it to that; None: nothing of it runs here.
    held_by: str | None = None


class CoexistenceReport(Shape):
    """How models give way to whoever works at this machine, and why."""

    #: workstation or server.
    profile: str
    #: full, modest, minimal; off: nothing of it is done here.
    mode: str
    #: With their numbers; empty in modes full and off.
    reasons: tuple[str, ...] = ()
    #: Idle time after which a model goes, and requests generated at once, where the mode limits them.
    idle_ttl_s: float | None = None
    sequences: int | None = None
    #: What keeps this machine awake; None: it may fall asleep. And why that could not be done.
    awake: str | None = None
    awake_problem: str | None = None
    #: Models that went for it and that are loaded again in mode full.
    gave_way: tuple[str, ...] = ()


class SpareReport(Shape):
    """A process of an engine with its imports done and no model, or the empty place of one that is wanted."""

    kind: Literal["spare"] = "spare"
    engine: str
    engine_version: str | None
    #: absent, importing, standby, ending, backoff, failed
    state: str
    pid: int | None
    resident_bytes: int | None
    started_at: float | None
    imported_at: float | None
    #: Name of its log.
    log: str
    #: Why there is none, or what went wrong last.
    problem: str | None
    mend: str | None
    command: tuple[str, ...] = ()


class RoleReport(Shape):
    role: str
    #: Physical id, or None (auxiliary role without an entry).
    resolves_to: str | None
    via_default: bool
    #: resident, loading, on-disk, unavailable, unknown
    state: str
    #: False: the rotation policy makes it unreachable while the resident stays; `note` says why.
    reachable: bool
    note: str | None = None
    #: The paired machine that has its model; None: this one.
    node: str | None = None
    #: Of a role that requires tools: fit, fit-with-repair, unfit, unverified; None: it does not require them.
    verdict: str | None = None


class RequestStatistics(Shape):
    """The last minute."""

    requests: int
    #: Without those that their clients left.
    errors: int
    left: int = 0
    running: int
    queued: int
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    decode_tokens_per_s: float | None
    cached_share: float | None


class ElsewhereReport(Shape):
    """A paired machine or a provider, in a line of the status; `roost node list` tells more of the first."""

    name: str
    #: node, cloud
    kind: str
    #: up, connecting, down; of a provider: open, closed
    state: str
    #: Why it is not asked now, for people.
    problem: str | None = None
    latency_s: float | None = None
    models: int = 0
    spent_today_usd: float | None = None
    max_usd_per_day: float | None = None


class StatusReport(Shape):
    version: str
    endpoint: str
    #: open-loopback, keys, keys+tls; shut: a key is needed and there is none
    auth: str
    pid: int
    started_at: float
    draining: bool
    problems: tuple[Problem, ...]
    host: HostReport
    rotation_policy: str
    registry_path: str
    registry_problem: str | None
    settings_problem: str | None
    workers: tuple[WorkerReport, ...]
    roles: tuple[RoleReport, ...]
    statistics: RequestStatistics
    #: Model id of the default role; None when the registry names none.
    default_model: str | None
    coexistence: CoexistenceReport | None = None
    #: They serve nothing and hold memory.
    spares: tuple[SpareReport, ...] = ()
    #: Paired machines, then providers.
    elsewhere: tuple[ElsewhereReport, ...] = ()


class LoadAccepted(Shape):
    model: str
    state: str


class RoleChange(Shape):
    """Body of `PUT /roost/v1/roles/{role}`."""

    model: str
    #: Also if the role requires what the model was not found fit for.
    force: bool = False


class NodeModelReport(Shape):
    """A model of a paired machine, in that machine's words."""

    id: str
    state: str
    context_length: int | None
    capabilities: tuple[str, ...]
    running: int
    queued: int
    verdict: str | None


class NodeReport(Shape):
    """One paired machine."""

    name: str
    #: Digits of its key's digest.
    node_id: str
    #: None: it comes to us, we do not go to it.
    address: str | None
    #: up, connecting, down
    link: str
    latency_s: float | None
    #: Unix time of its last answer.
    seen_at: float | None
    version: str | None
    draining: bool
    models: tuple[NodeModelReport, ...]
    roles: dict[str, str]
    budget_bytes: int | None
    free_bytes: int | None
    problem: str | None
    mend: str | None
    wakes: bool


class NodesReport(Shape):
    """This machine and those that are paired with it."""

    name: str
    #: None: it has no key yet; the first invite or join makes it.
    node_id: str | None
    #: Where others reach it; none: it lets nobody in.
    addresses: tuple[str, ...]
    problem: str | None
    nodes: tuple[NodeReport, ...]


class Invitation(Shape):
    """A one-time code, shown once."""

    invite: str
    code: str
    #: Unix time.
    expires_at: float
    addresses: tuple[str, ...]


class InviteOutcome(Shape):
    #: open, used, expired, burned
    state: str
    peer: str | None = None
    #: Both screens show the same.
    words: str | None = None


class JoinCode(Shape):
    """Body of `POST /roost/v1/nodes/join`."""

    code: str


class TravelWish(Shape):
    """Body of `POST /roost/v1/models/{name}/pull`, which names the model."""

    model: str = ""
    #: The paired machine; None: one that has it.
    node: str | None = None
    #: Its id here; None: the same.
    id: str | None = None


class TravelEvent(Shape):
    """A line of the answer to it: how far it has come; at the end `done`, or an error object in its place."""

    #: ask, check, fetch, done
    step: str
    model: str
    node: str
    done_bytes: int = 0
    total_bytes: int | None = None
    #: At the end: bytes that came over the network; 0: all of it was here already.
    moved_bytes: int = 0


class Paired(Shape):
    name: str
    node_id: str
    address: str
    words: str


class Revoked(Shape):
    name: str
    node_id: str
