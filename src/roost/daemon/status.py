"""The status report: what every other room knows, put into one value; problems first, each with its mend."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

from roost.api import (
    CoexistenceReport,
    HostReport,
    Problem,
    RequestStatistics,
    RoleReport,
    SpareReport,
    StatusReport,
    WorkerReport,
)
from roost.catalog.spec import ModelSpec, UnavailableModel
from roost.catalog.types import CatalogView
from roost.cloud.types import Clouds, NoClouds
from roost.config.settings import TOOLS, GatewaySettings, Settings
from roost.daemon.elsewhere import FarRole, elsewhere_reports, far_role
from roost.host.types import Host
from roost.nodes.types import Nodes, NoNodes
from roost.registry.reachability import RoleReach, Rotation, hidden_role_problems, reachability, rotation_problems
from roost.registry.types import RegistryState
from roost.store.keys import KeyFile
from roost.store.types import CLIENT_CLOSED, ActivityRow
from roost.store.verdicts import Verdict
from roost.workers.types import WaitingSpare, WorkerView

STATISTICS_WINDOW_S = 60.0
RESIDENT_STATES = frozenset({"ready", "draining"})
LOADING_STATES = frozenset({"loading", "proving", "queued"})


@dataclass(frozen=True)
class Sources:
    """Where the report is read from."""

    host: Host
    catalog: CatalogView
    settings: Callable[[], Settings]
    registry: Callable[[], RegistryState]
    workers: Callable[[], tuple[WorkerView, ...]]
    spares: Callable[[], tuple[WaitingSpare, ...]]
    recent: Callable[[], Sequence[ActivityRow]]
    draining: Callable[[], bool]
    keys: KeyFile
    #: Problems of the settings, the keys, the database, the start.
    further_problems: Callable[[], tuple[Problem, ...]]
    settings_problem: Callable[[], str | None]
    #: The address that is really bound.
    address: Callable[[], tuple[str, int]]
    registry_path: str
    node: str
    version: str
    started_at: float
    swapped_out_at_start: int | None
    coexistence: Callable[[], CoexistenceReport | None] = lambda: None
    on_battery: Callable[[], bool | None] = lambda: None
    verdict: Callable[[ModelSpec], Verdict | None] = lambda spec: None
    nodes: Nodes = field(default_factory=NoNodes)
    clouds: Clouds = field(default_factory=NoClouds)


def build_status(sources: Sources) -> StatusReport:
    settings, registry = sources.settings(), sources.registry()
    views, spares = sources.workers(), sources.spares()
    roles, reaches = _roles(sources, views)
    problems = (
        *sources.further_problems(),
        *_registry_problems(registry, roles),
        *_tool_problems(roles),
        *_worker_problems((*views, *spares)),
        *rotation_problems(reaches),
        *hidden_role_problems(registry.registry, {model.id for model in sources.catalog.all()}),
    )
    return StatusReport(
        version=sources.version,
        endpoint=_endpoint(sources.address(), settings.gateway),
        auth=_auth(settings.gateway, sources.keys),
        pid=os.getpid(),
        started_at=sources.started_at,
        draining=sources.draining(),
        problems=_in_order(problems),
        host=_host(sources),
        rotation_policy=settings.rotation.policy.value,
        registry_path=sources.registry_path,
        registry_problem=_registry_problem_text(registry),
        settings_problem=sources.settings_problem(),
        workers=tuple(_worker(view, sources.catalog) for view in views),
        roles=roles,
        statistics=_statistics(sources.recent(), views, time.time()),
        default_model=next((role.resolves_to for role in roles if role.role == "default"), None),
        coexistence=sources.coexistence(),
        spares=tuple(SpareReport(**asdict(spare)) for spare in spares),
        elsewhere=elsewhere_reports(sources.nodes, sources.clouds),
    )


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Errors first, and none twice: what keeps the default away is its worker's problem too."""
    each: dict[str, Problem] = {}
    for problem in problems:
        each.setdefault(problem.text, problem)
    return tuple(sorted(each.values(), key=lambda problem: problem.severity != "error"))


def _endpoint(address: tuple[str, int], gateway: GatewaySettings) -> str:
    host, port = address
    scheme = "https" if gateway.tls_certificate else "http"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}/v1"


def _auth(gateway: GatewaySettings, keys: KeyFile) -> str:
    if not keys.configured():
        return "open-loopback"
    if not keys.exist():
        return "shut"
    return "keys+tls" if gateway.tls_certificate else "keys"


def _host(sources: Sources) -> HostReport:
    memory = sources.host.memory()
    start = sources.swapped_out_at_start
    swapped = memory.swapped_out_bytes
    return HostReport(
        name=sources.node,
        chip=sources.host.chip(),
        cores=os.cpu_count() or 1,
        memory_total_bytes=memory.total_bytes,
        memory_available_bytes=memory.available_bytes,
        swap_used_bytes=memory.swap_used_bytes,
        swap_out_delta_bytes=None if start is None or swapped is None else max(0, swapped - start),
        load_average=os.getloadavg()[0],
        on_battery=sources.on_battery(),
    )


def _worker(view: WorkerView, catalog: CatalogView) -> WorkerReport:
    spec = catalog.get(view.model_id)
    known = spec if isinstance(spec, ModelSpec) else None
    return WorkerReport(
        worker_id=view.worker_id,
        model=view.model_id,
        fingerprint=view.fingerprint,
        engine=view.engine,
        engine_version=view.engine_version,
        state=view.state,
        kind=view.kind,
        pid=view.pid,
        grade=view.grade.value if view.grade else None,
        proof=view.proof,
        context_length=view.context_length,
        quantization=known.quantization if known else None,
        concurrency=view.concurrency,
        running=view.running,
        queued=view.queued,
        restarts=view.restarts,
        resident_bytes=view.resident_bytes,
        estimate_bytes=known.weights_bytes or None if known else None,
        started_at=view.started_at,
        ready_at=view.ready_at,
        expires_at=view.expires_at,
        problem=view.problem,
        mend=view.mend,
        command=view.command,
        place=view.place,
        waits_s=view.waits_s,
        cold=view.cold,
        memory=view.memory,
        promised_bytes=view.promised_bytes,
        held_by=view.held_by,
    )


def _roles(sources: Sources, views: Iterable[WorkerView]) -> tuple[tuple[RoleReport, ...], tuple[RoleReach, ...]]:
    settings, registry = sources.settings(), sources.registry().registry
    states = {view.model_id: view.state for view in views}
    residents = [v.model_id for v in views if v.kind == "chat" and v.state in RESIDENT_STATES | LOADING_STATES]
    known = {model.id for model in sources.catalog.all()}
    rotation = Rotation.of(settings.rotation, settings.residency, residents)
    reaches = reachability(registry, rotation, known, sources.node)
    far = {one.role: far_role(one.role, registry, known, sources.node, sources.nodes) for one in reaches}
    reports = tuple(
        _far_report(reach, elsewhere)
        if (elsewhere := far[reach.role]) is not None
        else RoleReport(
            role=reach.role,
            resolves_to=reach.model_id,
            via_default=reach.via_default,
            state=_model_state(reach.model_id, states, sources.catalog),
            reachable=reach.reachable,
            note=reach.note,
            verdict=_verdict(sources, reach),
        )
        for reach in reaches
    )
    return reports, reaches


def _far_report(reach: RoleReach, far: FarRole) -> RoleReport:
    return RoleReport(
        role=reach.role,
        resolves_to=far.model_id,
        via_default=reach.via_default,
        state=far.state,
        reachable=far.reachable,
        note=far.note,
        node=far.node,
    )


def _verdict(sources: Sources, reach: RoleReach) -> str | None:
    """The tool gate's word on the model of a role that requires tools."""
    if TOOLS not in sources.settings().required(reach.role) or reach.model_id is None:
        return None
    model = sources.catalog.get(reach.model_id)
    verdict = sources.verdict(model) if isinstance(model, ModelSpec) else None
    return verdict.word if verdict else "unverified"


def role_targets(sources: Sources) -> dict[str, str]:
    """role -> physical id, of the roles that can be served here."""
    reports, _ = _roles(sources, sources.workers())
    served = ("resident", "loading", "on-disk")
    usable = (report for report in reports if report.state in served and report.node is None)
    return {report.role: report.resolves_to for report in usable if report.resolves_to is not None}


def role_report(sources: Sources, role: str) -> RoleReport | None:
    reports, _ = _roles(sources, sources.workers())
    return next((report for report in reports if report.role == role), None)


def _model_state(model_id: str | None, states: dict[str, str], catalog: CatalogView) -> str:
    if model_id is None:
        return "unknown"
    state = states.get(model_id, "")
    if state in RESIDENT_STATES:
        return "resident"
    if state in LOADING_STATES:
        return "loading"
    match catalog.get(model_id):
        case None:
            return "unknown"
        case UnavailableModel():
            return "unavailable"
        case _:
            return "on-disk"


def _registry_problem_text(registry: RegistryState) -> str | None:
    problem = registry.problem
    if problem is None:
        return None
    place = f" (line {problem.line}, column {problem.column})" if problem.line else ""
    return f"{problem.message}{place}"


def _registry_problems(registry: RegistryState, roles: Iterable[RoleReport]) -> list[Problem]:
    found = []
    if text := _registry_problem_text(registry):
        found.append(
            Problem(
                severity="error",
                text=f"the registry file is broken, the last good one serves: {text}",
                mend="roost config check",
            )
        )
    for role in roles:
        if role.node is not None:
            if not role.reachable and not role.via_default:
                text = f"role {role.role} is {role.resolves_to} on {role.node}, which cannot serve it: {role.note}"
                found.append(Problem(severity="warning", text=text, mend="roost node list"))
        elif role.state in ("unknown", "unavailable") and role.resolves_to and not role.via_default:
            text = f"role {role.role} names {role.resolves_to}, which is {role.state} here"
            mend = f"roost models add {role.resolves_to}" if role.state == "unknown" else "roost models list"
            found.append(Problem(severity="warning", text=text, mend=mend))
    return found


def _tool_problems(roles: Iterable[RoleReport]) -> list[Problem]:
    """Of roles that somebody gave a model: who inherits the default was not chosen for its tools."""
    asked = [role for role in roles if role.verdict in ("unfit", "unverified") and not role.via_default]
    return [
        Problem(
            severity="warning",
            text=f"role {role.role} requires tools and {role.resolves_to} is {role.verdict} for them",
            mend=f"roost models verify {role.resolves_to}",
        )
        for role in asked
    ]


def _worker_problems(views: Iterable[WorkerView | WaitingSpare]) -> list[Problem]:
    return [
        Problem(
            severity="error" if view.state in ("failed", "backoff") else "warning", text=view.problem, mend=view.mend
        )
        for view in views
        if view.problem
    ]


def _statistics(rows: Sequence[ActivityRow], views: Iterable[WorkerView], now: float) -> RequestStatistics:
    last = [row for row in rows if now - row.at <= STATISTICS_WINDOW_S]
    times = sorted(row.ttft_s for row in last if row.ttft_s is not None and row.status < 400)
    # A whole answer comes in one piece: only streams show how long decoding took.
    decoded = [
        ((row.completion_tokens or 0) - 1, row.duration_s - row.ttft_s)
        for row in last
        if row.stream and row.ttft_s is not None and (row.completion_tokens or 0) > 1
    ]
    decode_s = sum(seconds for _, seconds in decoded)
    prompt = sum(row.prompt_tokens or 0 for row in last)
    cached = [row.cached_tokens for row in last if row.cached_tokens is not None]
    return RequestStatistics(
        requests=len(last),
        errors=sum(1 for row in last if row.status >= 400 and row.code != CLIENT_CLOSED),
        left=sum(1 for row in last if row.code == CLIENT_CLOSED),
        running=sum(view.running for view in views),
        queued=sum(view.queued for view in views),
        ttft_p50_s=statistics.median(times) if times else None,
        ttft_p95_s=times[min(len(times) - 1, int(0.95 * len(times)))] if times else None,
        decode_tokens_per_s=sum(tokens for tokens, _ in decoded) / decode_s if decode_s > 0 else None,
        cached_share=sum(cached) / prompt if cached and prompt else None,
    )
