"""A StatusReport as text: problems first, states as words, no line that needs colour to be understood. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from roost.api import (
    CoexistenceReport,
    ElsewhereReport,
    HostReport,
    Problem,
    RequestStatistics,
    RoleReport,
    SpareReport,
    StatusReport,
    WorkerReport,
)
from roost.cli import format as people
from roost.cli.output import Paint

AUTH_WORDS = {
    "open-loopback": "open to this machine only, no keys",
    "keys": "keys needed, no TLS",
    "keys+tls": "keys needed, TLS",
    "shut": "shut: a key is needed and there is none",
}
GOOD_STATES = ("ready", "resident", "standby")
#: States of a worker without a model in memory, or that will soon have none.
NOT_LOADED = ("stopped", "parked", "failed", "backoff")
BAD_STATES = ("failed", "backoff", "unavailable", "unknown")


def status_lines(report: StatusReport, now: float, paint: Paint) -> list[str]:
    """The whole of `roost status`; `now` is the unix time that durations are counted to."""
    blocks = [
        problem_lines(report.problems, paint),
        [*_endpoint(report, now, paint), *_host(report.host), *_mode(report.coexistence, paint)],
        _workers(report.workers, now, paint),
        _spares(report.spares, now, paint),
        _roles(report.roles, paint),
        _elsewhere(report.elsewhere, paint),
        _requests(report.statistics),
    ]
    return [line for block in blocks if block for line in ("", *block)][1:]


def problem_lines(problems: Sequence[Problem], paint: Paint) -> list[str]:
    """Each problem with the command that mends it, errors before warnings."""
    lines: list[str] = []
    for problem in sorted(problems, key=lambda problem: problem.severity != "error"):
        word = paint.bad("error:") if problem.severity == "error" else paint.careful("warning:")
        lines.append(f"{word} {problem.text}")
        if problem.mend:
            lines.append(f"  mend: {problem.mend}")
    return lines


def _endpoint(report: StatusReport, now: float, paint: Paint) -> list[str]:
    auth = AUTH_WORDS.get(report.auth, report.auth)
    draining = [paint.careful("draining: no new requests are taken")] if report.draining else []
    about = f"roost {report.version}, pid {report.pid}, up {people.duration(now - report.started_at)}"
    return people.indented("endpoint", [paint.strong(report.endpoint), auth, about, *draining])


def _host(host: HostReport) -> list[str]:
    used = host.memory_total_bytes - host.memory_available_bytes
    memory = (
        f"{people.size(used)} of {people.size(host.memory_total_bytes)} memory used, "
        f"{people.size(host.memory_available_bytes)} free"
    )
    chip = ", ".join([host.chip or host.name, f"{host.cores} cores", *_load(host)])
    return people.indented("host", [chip, memory, _swap(host)])


def _load(host: HostReport) -> list[str]:
    load = [] if host.load_average is None else [f"load {host.load_average:.1f}"]
    return load if host.on_battery is None else [*load, "on battery" if host.on_battery else "on mains"]


def _swap(host: HostReport) -> str:
    delta = host.swap_out_delta_bytes
    since = f", {people.size(delta)} swapped out since start" if delta else ""
    return f"swap {people.size(host.swap_used_bytes) if host.swap_used_bytes else 'not in use'}{since}"


def _mode(mode: CoexistenceReport | None, paint: Paint) -> list[str]:
    """How models give way here; nothing where they do not."""
    if mode is None or mode.mode == "off":
        return []
    word = paint.good(mode.mode) if mode.mode == "full" else paint.careful(mode.mode)
    lines = [f"{word}: {'; '.join(mode.reasons)}" if mode.reasons else word]
    if mode.idle_ttl_s is not None:
        at_once = f", {mode.sequences} at once" if mode.sequences is not None else ""
        lines.append(f"models go after {people.duration(mode.idle_ttl_s)} idle{at_once}, none is preloaded")
    if mode.awake:
        lines.append(f"keeps this machine awake: {mode.awake}")
    if mode.awake_problem:
        lines.append(f"{paint.careful('cannot keep this machine awake:')} {mode.awake_problem}")
    if mode.gave_way:
        lines.append(f"{', '.join(mode.gave_way)} went for it")
    return people.indented("mode", lines)


def live_workers(workers: Sequence[WorkerReport]) -> list[WorkerReport]:
    """Those that run, load, or have something to say about why not; a stopped one is only remembered."""
    return [worker for worker in workers if worker.state != "stopped" or worker.problem]


def _workers(workers: Sequence[WorkerReport], now: float, paint: Paint) -> list[str]:
    lines = [line for worker in live_workers(workers) for line in _worker(worker, now, paint)]
    return people.indented("resident", lines or ["nothing is loaded"])


def _spares(spares: Sequence[SpareReport], now: float, paint: Paint) -> list[str]:
    return people.indented("spare", [line for spare in spares for line in _spare(spare, now, paint)])


def _spare(spare: SpareReport, now: float, paint: Paint) -> list[str]:
    engine = f"{spare.engine} {spare.engine_version or ''}".strip(" -")
    process = f", pid {spare.pid}, up {people.duration(now - spare.started_at)}" if spare.started_at else ""
    memory = f", {people.size(spare.resident_bytes)} resident" if spare.resident_bytes else ""
    return [f"{engine}: {_state(spare.state, paint)}{process}{memory}", *_worker_problem(spare, paint)]


def _worker(worker: WorkerReport, now: float, paint: Paint) -> list[str]:
    grade = f", {worker.grade}" if worker.grade else ""
    auxiliary = " (auxiliary)" if worker.kind == "auxiliary" else ""
    engine = f"{worker.engine} {worker.engine_version or ''}".strip(" -")
    identity = _identity(worker)
    details = [
        f"  {_state(worker.state, paint)}{grade}, {identity}",
        *([f"  {paint.careful('cold:')} {worker.cold}"] if worker.cold else []),
        f"  {engine}, pid {worker.pid or people.NOTHING}, {worker.quantization or 'quantization unknown'}, "
        f"context {people.count(worker.context_length)}",
        f"  {_parked(worker) if worker.state == 'parked' else f'{_memory(worker)}; {_lifetime(worker, now)}'}",
        f"  {worker.running} running, {worker.queued} queued{_waiting(worker)}, {worker.concurrency} at once"
        + (f"; restarted {worker.restarts} times" if worker.restarts else ""),
    ]
    return [f"{paint.strong(worker.model)}{auxiliary}", *details, *_worker_problem(worker, paint)]


def _identity(worker: WorkerReport) -> str:
    if worker.fingerprint:
        return f"fingerprint {worker.fingerprint[:12]}"
    return worker.proof if worker.grade == "claimed" and worker.proof else "no fingerprint"


def _worker_problem(worker: WorkerReport | SpareReport, paint: Paint) -> list[str]:
    if not worker.problem:
        return []
    mend = f'; run "{worker.mend}"' if worker.mend else ""
    return [f"  {paint.careful('problem:')} {worker.problem}{mend}"]


def _waiting(worker: WorkerReport) -> str:
    """How long the oldest request waits, and when its model's turn is."""
    since = "" if worker.waits_s is None else f" for {people.duration(worker.waits_s)}"
    if worker.place is None:
        return since
    return since + (" (next to be loaded)" if worker.place == 1 else f" (number {worker.place} in line to be loaded)")


def _memory(worker: WorkerReport) -> str:
    """What it takes beside its weights alone, and what it was promised."""
    held = f", held by {worker.held_by}" if worker.held_by else ""
    promise = f", {worker.memory}{held}" if worker.memory else ""
    if worker.resident_bytes is None:
        return f"memory unknown, weights {people.size(worker.estimate_bytes)}{promise}"
    return f"{people.size(worker.resident_bytes)} resident, weights {people.size(worker.estimate_bytes)}{promise}"


def _parked(worker: WorkerReport) -> str:
    return f"{people.size(worker.resident_bytes)} resident still: its process without the model; a request wakes it"


def _lifetime(worker: WorkerReport, now: float) -> str:
    since = worker.ready_at or worker.started_at
    up = f"up {people.duration(now - since)}" if since else "not started"
    until = "stays" if worker.expires_at is None else f"unloads in {people.duration(worker.expires_at - now)} if idle"
    return f"{up}, {until}"


def _roles(roles: Sequence[RoleReport], paint: Paint) -> list[str]:
    rows = [(role.role, _role_target(role), _role_state(role)) for role in roles]
    lines = people.columns([("ROLE", "MODEL", "STATE"), *rows])
    return people.indented(
        "roles", [lines[0], *(_toned(line, role, paint) for line, role in zip(lines[1:], roles, strict=True))]
    )


def _elsewhere(others: Sequence[ElsewhereReport], paint: Paint) -> list[str]:
    """Paired machines and providers; nothing where there are none."""
    if not others:
        return []
    rows = [(other.name, other.state, _about(other)) for other in others]
    lines = people.columns(rows)
    tones = {"up": paint.good, "open": paint.good, "connecting": paint.careful}
    toned = [tones.get(other.state, paint.careful)(line) for line, other in zip(lines, others, strict=True)]
    return people.indented("elsewhere", toned)


def _about(other: ElsewhereReport) -> str:
    if other.problem:
        return other.problem
    if other.kind == "cloud":
        limit = f" of {other.max_usd_per_day:g}" if other.max_usd_per_day is not None else ""
        return f"cloud, {other.spent_today_usd or 0:.2f}{limit} USD spent today"
    models = f"{other.models} model{'' if other.models == 1 else 's'}"
    return models if other.latency_s is None else f"{models}, {1e3 * other.latency_s:.1f} ms away"


def _role_target(role: RoleReport) -> str:
    target = role.resolves_to or people.NOTHING
    return f"{target}@{role.node}" if role.node else target


def _role_state(role: RoleReport) -> str:
    if role.resolves_to is None and role.note:
        return role.note
    words = [role.state]
    if role.via_default:
        words.append("as default")
    if not role.reachable:
        words.append("unreachable")
    if role.verdict:
        words.append("unverified for tools" if role.verdict == "unverified" else f"{role.verdict} for tools")
    return ", ".join(words) + (f": {role.note}" if role.note else "")


def _toned(line: str, role: RoleReport, paint: Paint) -> str:
    if role.state in BAD_STATES or not role.reachable:
        return paint.careful(line)
    return line


def _state(state: str, paint: Paint) -> str:
    if state in GOOD_STATES:
        return paint.good(state)
    return paint.bad(state) if state in BAD_STATES else paint.careful(state)


def _requests(statistics: RequestStatistics) -> list[str]:
    now = f"{statistics.running} running, {statistics.queued} queued"
    minute = f"{statistics.requests} in the last minute, {statistics.errors} failed"
    if statistics.left:
        minute += f", {statistics.left} left by their clients"
    speed = [
        f"first token p50 {people.seconds(statistics.ttft_p50_s)}, p95 {people.seconds(statistics.ttft_p95_s)}",
        f"decode {_rate(statistics.decode_tokens_per_s)}; "
        f"{people.share(statistics.cached_share)} of prompt tokens from cache",
    ]
    return people.indented("requests", [f"{now}; {minute}", *(speed if statistics.requests else [])])


def _rate(tokens_per_s: float | None) -> str:
    return people.NOTHING if tokens_per_s is None else f"{tokens_per_s:.1f} tok/s"
