"""The way of one request: the places that may serve it, in their order, and why it is this one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from roost.config.far import CandidateSettings, ClassSettings
from roost.config.places import Kind, parse_place
from roost.config.settings import Settings
from roost.errors import (
    CloudRefused,
    ContextLengthExceeded,
    ModelNotFound,
    ModelUnavailable,
    NodeUnreachable,
    Refused,
    RoostError,
)
from roost.gateway.affinity import conversation_of
from roost.gateway.call import Call
from roost.gateway.destinations import CLOUD, Destination, here_or_paired
from roost.gateway.exchange import shown_name
from roost.gateway.facts import has_images, has_tools, prompt_tokens
from roost.gateway.hosts import only
from roost.gateway.names import requested_name
from roost.gateway.standings import Rule, candidate
from roost.gateway.surfaces import Surface
from roost.routing.plan import Against, Ask, Plan, plan

CLASS_HEADER = "x-roost-class"
LOCAL_HEADER = "x-roost-local-only"
#: Of the queue, not of the settings.
QUEUE_CLASSES = frozenset({"batch", "interactive"})
_NO = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class Way:
    """At least one place."""

    destinations: tuple[Destination, ...]
    #: A digest of the conversation; None: nobody chooses, nothing is kept.
    conversation: bytes | None = None


def find_way(call: Call, surface: Surface, settings: Settings, values: Mapping[str, Any]) -> Way:
    """Where this request may go. Raises RoostError when nothing may serve it."""
    name = requested_name(values, settings)
    call.exchange.requested = shown_name(name)
    call.check_name(name)
    rule = rule_of(call, name, settings)
    if rule is None:
        return Way((here_or_paired(call, name),))
    ask = ask_of(call, rule, settings, values)
    candidates = [candidate(call, rule, conditions, surface) for conditions in rule.candidates]
    consumer = call.exchange.consumer
    conversation = conversation_of(consumer.key_id if consumer else "", call.request.headers, name, values)
    planned = plan([one.option for one in candidates], ask, call.gateway.affinity.of(conversation))
    steps = steps_of(planned)
    found = [candidates[number].destination for number in planned.order]
    usable = [replace(one, steps=steps) for one in found if one is not None]
    if usable and planned.order[0] != min(planned.order):
        usable[0] = replace(usable[0], is_kept=True)
    if not usable:
        raise nothing_serves(name, planned)
    # Somebody else could serve it too: none but the last one is waited for without an end.
    patient = [replace(one, patience_s=settings.queue.max_wait_s) for one in usable[:-1]]
    return Way((*patient, usable[-1]), conversation)


def rule_of(call: Call, name: str, settings: Settings) -> Rule | None:
    """The rule that decides for this request; None: its name means one place. A request that a paired machine has sent
    on is never sent further. Raises Refused for a class that there is not, Forbidden for one that the key may not."""
    if call.exchange.peer is not None:
        return None
    asked_class = _class_in_header(call, settings)
    asked = settings.classes[asked_class] if asked_class is not None else None
    if name.startswith(CLOUD):
        _check_known(call, name)
        own_place = (CandidateSettings(to=name),)
        # Nothing but the name says where it goes; that the work is private holds all the same.
        if asked_class is not None and asked is not None and asked.private:
            return Rule(asked_class, own_place, is_private=True, is_class=True)
        return Rule(name, own_place)
    if asked is None and name not in settings.roles and name not in settings.classes:
        return None
    if call.gateway.deps.catalog.get(name) is not None or "@" in name:
        # Identity: whatever is said of kinds of work changes nothing about who serves it.
        return None
    is_role = name in call.gateway.roles()
    role = settings.roles.get(name) if is_role else None
    named = settings.classes.get(name) if not is_role else None
    if asked_class is not None and asked is not None and (is_role or named is not None):
        is_private = any(one is not None and one.private for one in (asked, role, named))
        return _class_rule(asked_class, asked, name if is_role else "default", is_private=is_private)
    if role is not None:
        own = Rule(name, role.candidates, role.private, name, requires=role.requires)
        return own if role.candidates else None
    return None if named is None else _class_rule(name, named, "default", is_private=named.private)


def _check_known(call: Call, name: str) -> None:
    """Raises ModelNotFound for a provider, or a model of it, that the settings do not name."""
    try:
        place = parse_place(name)
    except ValueError:
        raise ModelNotFound(
            f'cannot serve "{shown_name(name)}": a model of a provider is written cloud:NAME/MODEL', param="model"
        ) from None
    call.gateway.deps.clouds.model(place.where, place.name or "")


def _class_rule(name: str, own: ClassSettings, local: str, *, is_private: bool) -> Rule:
    candidates = own.candidates or (CandidateSettings(to="local"),)
    return Rule(name, candidates, is_private, local, is_class=True, requires=own.requires)


def _class_in_header(call: Call, settings: Settings) -> str | None:
    asked = only(call.request.headers, CLASS_HEADER)
    if asked is None or asked in QUEUE_CLASSES:
        return None
    if asked not in settings.classes:
        known = ", ".join((*settings.classes, *sorted(QUEUE_CLASSES)))
        raise Refused(f"{CLASS_HEADER}: there is no class of this name; there are {known}", param=CLASS_HEADER)
    call.check_name(asked)
    return asked


def ask_of(call: Call, rule: Rule, settings: Settings, values: Mapping[str, Any]) -> Ask:
    """What matters of the request."""
    now = time.localtime()
    return Ask(
        prompt_tokens=prompt_tokens(values),
        tools=has_tools(values),
        images=has_images(values),
        private=why_private(call, rule, settings),
        first_only=call.first_only,
        minute=now.tm_hour * 60 + now.tm_min,
        on_battery=call.gateway.deps.on_battery(),
    )


def why_private(call: Call, rule: Rule, settings: Settings) -> str | None:
    """Why this request must not go to a cloud, for people; None: it may."""
    consumer = call.exchange.consumer
    if settings.privacy.local_only:
        return "privacy.local_only is set"
    if rule.is_private:
        return f"{rule.name} is private"
    if (only(call.request.headers, LOCAL_HEADER) or "").strip().lower() not in _NO:
        return f"the request says {LOCAL_HEADER}"
    if consumer is not None and consumer.no_cloud:
        return f'the key "{consumer.name}" is kept from clouds'
    if consumer is None and not call.gateway.control:
        return 'a request without a key never goes to a cloud; "roost keys add NAME" makes one'
    return None


def steps_of(planned: Plan) -> tuple[str, ...]:
    """A sentence a candidate."""
    return tuple(
        f"{step.label}{f' ({step.model_id})' if step.model_id else ''}: {step.reason}" for step in planned.steps
    )


def nothing_serves(name: str, planned: Plan) -> RoostError:
    """Why none of the candidates may serve."""
    message = f'cannot serve "{name}": none of its candidates can: {"; ".join(steps_of(planned)) or "it has none"}'
    states = [step for step in planned.steps if step.against is Against.STATE]
    if any(step.kind is not Kind.CLOUD for step in states):
        return NodeUnreachable(message, retry_after_s=2)
    if states:
        return CloudRefused(message, retry_after_s=2)
    if any(step.against is Against.WINDOW for step in planned.steps):
        return ContextLengthExceeded(message, param="messages")
    return ModelUnavailable(message)
