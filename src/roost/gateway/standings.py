"""How each candidate of a name stands now, and the place that it means."""

from __future__ import annotations

from dataclasses import dataclass, replace

from roost.config.far import CandidateSettings
from roost.config.places import Kind, Place, parse_place
from roost.errors import RoostError
from roost.gateway.call import Call
from roost.gateway.destinations import CLOUD, Destination, destination_of, in_cloud
from roost.gateway.elsewhere import model_at, view_of_node
from roost.gateway.models import view_of
from roost.gateway.state import Gateway
from roost.gateway.surfaces import Surface
from roost.nodes.types import Link
from roost.registry.types import Resolution
from roost.routing.plan import Option, Standing

#: In a route's reason.
CLASS = "class"


@dataclass(frozen=True)
class Candidate:
    """One of a name's candidates, and where it leads; None: nowhere now, and `option` says why."""

    option: Option
    destination: Destination | None


@dataclass(frozen=True)
class Rule:
    """What a role or class says about where its requests may go."""

    #: As it was asked for.
    name: str
    candidates: tuple[CandidateSettings, ...]
    is_private: bool = False
    #: What `local` means.
    local_name: str = "default"
    is_class: bool = False
    requires: tuple[str, ...] = ()


def candidate(call: Call, rule: Rule, conditions: CandidateSettings, surface: Surface | None) -> Candidate:
    """How it stands. Never raises: whatever is wrong is why nothing there can serve."""
    place = _place(conditions.to)
    abilities = surface.capabilities if surface else frozenset[str]()
    if place is None:
        wrong = Standing(why_not=f'"{conditions.to}" is no place; run "roost config check"')
        return Candidate(Option(conditions, Place(Kind.LOCAL), wrong), None)
    try:
        resolution = _resolution(call, rule, place)
        standing, destination = _standing(call, rule, resolution)
    except RoostError as error:
        return Candidate(Option(conditions, place, Standing(why_not=error.message), abilities), None)
    return Candidate(
        Option(conditions, place, standing, abilities, rule.requires),
        replace(destination, label=conditions.to) if destination else None,
    )


def _place(text: str) -> Place | None:
    try:
        return parse_place(text)
    except ValueError:
        return None


def _resolution(call: Call, rule: Rule, place: Place) -> Resolution:
    """What the place means, exactly one model. Raises ModelNotFound."""
    gateway = call.gateway
    via = (CLASS,) if rule.is_class else ()
    role = None if rule.is_class else rule.name
    match place.kind:
        case Kind.CLOUD:
            return Resolution(rule.name, place.name or "", f"{CLOUD}{place.where}", role, via=via)
        case Kind.NODE:
            found = gateway.resolve_anywhere(f"{place.name}@{place.where}")
            return replace(found, requested=rule.name, role=role, via=via)
    found = gateway.resolve_anywhere(place.name or rule.local_name, first_only=call.first_only)
    return replace(found, requested=rule.name, role=role or found.role, via=(*found.via, *via))


def _standing(call: Call, rule: Rule, resolution: Resolution) -> tuple[Standing, Destination]:
    """Raises RoostError where nothing can serve."""
    gateway, node = call.gateway, resolution.node
    if node is not None and node.startswith(CLOUD):
        return _of_cloud(call, resolution, node.removeprefix(CLOUD))
    destination = destination_of(gateway, resolution)
    if node is not None and node != gateway.deps.node:
        return _of_node(gateway, resolution, node), destination
    spec = destination.spec
    view, verdict = view_of(gateway, spec.id), gateway.deps.verdict(spec)
    busy = view.running + view.queued if view else 0
    window = (view.context_length if view else None) or gateway.settled().context_length(spec)
    able = frozenset[str](spec.capabilities)
    return Standing(spec.id, None, window, able, bool(verdict and verdict.passed), busy), destination


def _of_node(gateway: Gateway, resolution: Resolution, node: str) -> Standing:
    view = view_of_node(gateway.deps.nodes, node)
    told = model_at(view, resolution.model_id) if view else None
    why_not = None
    if view is not None and view.draining:
        why_not = f"{node} is shutting down"
    elif view is not None and view.link is Link.CONNECTING and not view.wakes:
        why_not = f"{node} has not answered yet"
    if told is None:
        return Standing(resolution.model_id, why_not)
    return Standing(
        told.id,
        why_not,
        told.context_length,
        told.capabilities,
        told.is_verified,
        told.running + told.queued,
    )


def _of_cloud(call: Call, resolution: Resolution, cloud: str) -> tuple[Standing, Destination]:
    destination = in_cloud(call, resolution, cloud)
    view = next((one for one in call.gateway.deps.clouds.views() if one.name == cloud), None)
    able = frozenset[str](destination.spec.capabilities)
    closed = view.closed if view else None
    return Standing(destination.spec.id, closed, destination.spec.context_length, able), destination
