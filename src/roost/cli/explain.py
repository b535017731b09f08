"""`roost explain`: what a name means now and why, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roost.cli.arguments import not_empty
from roost.cli.doors import ask_daemon
from roost.cli.models import JsonOption
from roost.cli.output import say, say_all, say_json
from roost.cli.status_text import NOT_LOADED, live_workers
from roost.errors import ModelNotFound
from roost.registry.types import AUXILIARY_ROLES

if TYPE_CHECKING:
    from roost.api import RoleReport, StatusReport, WorkerReport
    from roost.client import DaemonClient

ROTATION = {
    "never": 'a request for it is refused (503 model_not_resident): rotation is "never"; "roost load" makes room',
    "idle": "a request for it swaps it in once the resident has been idle long enough, else it is refused (503 "
    'model_not_resident, with Retry-After): rotation is "idle"',
    "always": 'a request for it waits its turn and swaps it in: rotation is "always"',
}


def explain(
    name: Annotated[
        str, typer.Argument(metavar="ROLE", help="Role, model id or alias, as a request names it.", callback=not_empty)
    ],
    prompt_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Of a request with a prompt of about so many tokens.")
    ] = None,
    tools: Annotated[bool, typer.Option("--tools", help="Of a request with tools.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Of a request with images.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Of a request that must stay on machines of yours.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a name resolves to, why, and what a request for it would meet now.

    Of a name with candidates: each of them, and which one it would be.

    \b
    Examples:
      roost explain coding
      roost explain coding --prompt-tokens 30000 --tools
      roost explain embedding --json
    """
    flags = {"tools": tools, "images": images, "local_only": local}
    asked = {word: "1" for word, said in flags.items() if said}
    asked |= {"prompt_tokens": str(prompt_tokens)} if prompt_tokens is not None else {}
    found = ask_daemon(lambda client: client.explain(name, asked))
    if leads_on(found):
        show_ways(found, as_json=as_json)
    else:
        _explain_here(name, as_json=as_json)


def leads_on(found: dict[str, Any]) -> bool:
    """Whether a name has candidates, or means a model of another machine."""
    return bool(found["steps"]) or bool(found.get("is_elsewhere"))


def show_ways(found: dict[str, Any], *, as_json: bool) -> None:
    """Each candidate with its reason, and where it would go."""
    if as_json:
        say_json(found)
        return
    say_all(ways_text(found))


def ways_text(found: dict[str, Any]) -> list[str]:
    """The same as lines."""
    lines = []
    if found["kind"] != "name":
        private = ", and is private: it never goes to a cloud" if found["private"] else ""
        lines.append(f'"{found["name"]}" is a {found["kind"]} with candidates{private}')
    for number, step in enumerate(found["steps"], 1):
        mark = "yes" if step["may_serve"] else "no"
        model = f" ({step['model']})" if step["model"] else ""
        lines.append(f"{number}. {step['to']}{model}: {mark}, {step['reason']}")
    goes_to = found["goes_to"]
    lines.append(f"it goes to {goes_to['to']}: {goes_to['model']}" if goes_to else "nobody can serve it now")
    return [*lines, *found["notes"]]


def _explain_here(name: str, *, as_json: bool) -> None:
    """What one name means on this machine, step by step."""

    async def call(client: DaemonClient) -> tuple[StatusReport, dict[str, Any] | None]:
        status = await client.status()
        # A role without a target is no model; the daemon's own 404 would hide why.
        known = any(role.role == name for role in status.roles)
        return status, None if known else await client.model(name)

    status, entry = ask_daemon(call)
    steps = list(explain_steps(name, status, entry))
    if as_json:
        say_json({"name": name, "model": resolved_model(name, status, entry), "steps": steps})
        return
    for number, step in enumerate(steps, 1):
        say(f"{number}. {step}")


def resolved_model(name: str, status: StatusReport, entry: dict[str, Any] | None) -> str | None:
    """The physical id behind a name; None for a role that means nothing."""
    if role := _role(name, status):
        return role.resolves_to
    if entry is None:
        raise ModelNotFound(f'roost knows no "{name}"')
    return str((entry.get("roost") or {}).get("resolves_to") or entry["id"])


def explain_steps(name: str, status: StatusReport, entry: dict[str, Any] | None) -> Iterator[str]:
    """One sentence a stop of a request's way."""
    yield _meaning(name, status, entry)
    model = resolved_model(name, status, entry)
    if model is None:
        return
    worker = next((worker for worker in live_workers(status.workers) if worker.model == model), None)
    if worker is not None:
        yield from _by_worker(worker)
        return
    role = _role(name, status)
    yield f"{model} has no worker now: {role.state if role else (entry or {}).get('roost', {}).get('state', 'on-disk')}"
    yield role.note if role and role.note else _rotation(status, name)


def _meaning(name: str, status: StatusReport, entry: dict[str, Any] | None) -> str:
    role = _role(name, status)
    if role is None:
        return _meaning_of_entry(name, str(resolved_model(name, status, entry)), entry or {})
    entry_free = f'"{name}" is a role without an entry in {status.registry_path}'
    if role.resolves_to is None:
        return f'{entry_free}, and never falls back: 404 model_not_found; run "roost use {name} ID"'
    if role.via_default:
        return f"{entry_free}, so it means what default means: {role.resolves_to}"
    return f'"{name}" is a role; {status.registry_path} points it at {role.resolves_to}'


def _meaning_of_entry(name: str, model: str, entry: dict[str, Any]) -> str:
    """Of a name that is no role."""
    if model == name:
        return f'"{name}" is a model id; exactly it answers'
    match ((entry.get("meta") or {}).get("llamaswap") or {}).get("type") if entry.get("id") == name else None:
        case "selector":
            return f'"{name}" is a selector, which chooses at each request; now it means {model}'
        case "profile":
            return f'"{name}" means {model} while the active profile says so'
    return f'"{name}" is an alias of {model}'


def _by_worker(worker: WorkerReport) -> Iterator[str]:
    engine = f"{worker.engine} {worker.engine_version or ''}".strip(" -")
    process = f", pid {worker.pid}" if worker.pid else ""
    yield f"{worker.model} is {worker.state} in worker {worker.worker_id}: {engine}{process}"
    if worker.grade:
        yield f"its weights are {worker.grade}: {worker.proof or 'fingerprint ' + worker.fingerprint[:12]}"
    if worker.problem:
        yield f"it has a problem: {worker.problem}" + (f'; run "{worker.mend}"' if worker.mend else "")
    if worker.state in NOT_LOADED:
        return
    prospect = "a request goes there now" if worker.state == "ready" else "a request waits until it is ready"
    yield f"{prospect} ({worker.running} running, {worker.queued} queued, {worker.concurrency} at once)"


def _rotation(status: StatusReport, name: str) -> str:
    if name in AUXILIARY_ROLES:
        return "a request for it starts a small worker of its own beside the resident"
    if not any(worker.kind == "chat" and worker.state != "parked" for worker in live_workers(status.workers)):
        return "nothing is resident: a request for it loads it"
    return ROTATION.get(status.rotation_policy, f"rotation is {status.rotation_policy}")


def _role(name: str, status: StatusReport) -> RoleReport | None:
    return next((role for role in status.roles if role.role == name), None)
