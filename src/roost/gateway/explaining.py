"""`/roost/v1/explain`: where a request like this one would go now, and why, candidate by candidate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from roost.config.places import Kind
from roost.errors import InvalidType, MissingParameter, RoostError
from roost.gateway.call import Call
from roost.gateway.destinations import here_or_paired
from roost.gateway.exchange import shown_name
from roost.gateway.standings import Rule, candidate
from roost.gateway.surfaces import CHAT
from roost.gateway.ways import ask_of, rule_of
from roost.routing.plan import Plan, plan

_YES = frozenset({"1", "true", "yes"})


async def explain(call: Call) -> web.StreamResponse:
    """`?name=`, and of the request `&prompt_tokens=&tools=&images=&local_only=`: its candidates in order, and which one
    it would be. Names only: nothing is sent anywhere."""
    query, settings = call.request.query, call.gateway.deps.settings()
    name = query.get("name", "")
    if not name:
        raise MissingParameter("`name` is missing: which role, class or model is it about?", param="name")
    rule = rule_of(call, name, settings)
    if rule is None:
        return web.json_response(_one_place(call, name))
    ask = replace(
        ask_of(call, rule, settings, {}),
        prompt_tokens=_number(query.get("prompt_tokens")),
        tools=_flag(query.get("tools")),
        images=_flag(query.get("images")),
    )
    if _flag(query.get("local_only")):
        ask = replace(ask, private="the request asks for local only")
    planned = plan([candidate(call, rule, one, CHAT).option for one in rule.candidates], ask)
    return web.json_response(_described(name, rule, planned) | {"notes": _notes(call, planned)})


def _one_place(call: Call, name: str) -> dict[str, Any]:
    try:
        found = here_or_paired(call, name)
    except RoostError as error:
        nowhere = {"name": shown_name(name), "kind": "name", "private": False, "goes_to": None, "steps": []}
        return nowhere | {"notes": [error.message], "is_elsewhere": False}
    node = found.far.name if found.far else call.gateway.deps.node
    goes_to = {"to": node, "model": found.spec.id}
    said = {"name": shown_name(name), "kind": "name", "private": False, "goes_to": goes_to, "steps": [], "notes": []}
    return said | {"is_elsewhere": found.far is not None}


def _described(name: str, rule: Rule, planned: Plan) -> dict[str, Any]:
    steps = [
        {"to": step.label, "model": step.model_id, "may_serve": step.against is None, "reason": step.reason}
        for step in planned.steps
    ]
    first = steps[planned.order[0]] if planned.order else None
    return {
        "name": shown_name(name),
        "kind": "class" if rule.is_class else "role",
        "private": rule.is_private,
        "goes_to": {"to": first["to"], "model": first["model"]} if first else None,
        "steps": steps,
    }


def _notes(call: Call, planned: Plan) -> list[str]:
    """What holds beside the steps."""
    clouds = any(step.kind is Kind.CLOUD and step.against is None for step in planned.steps)
    if clouds and not call.gateway.deps.keys.configured():
        return [
            'requests without a key never go to a cloud, and there are no keys yet; "roost keys add NAME" makes one'
        ]
    return []


def _flag(text: str | None) -> bool:
    return (text or "").lower() in _YES


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise InvalidType("`prompt_tokens` must be a whole number", param="prompt_tokens")
    return int(text)
