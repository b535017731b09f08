"""`/api/profiles`: what some names mean now, and changing that until the next start."""

from __future__ import annotations

from aiohttp import web

from roost.errors import InvalidType, MissingParameter, NotFound
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object
from roost.gateway.hosts import check_same_site


async def list_profiles(call: Call) -> web.StreamResponse:
    """All of them with their pins, by name, and which one is active."""
    settings = call.gateway.deps.settings()
    rows = [
        {"id": name, "description": profile.description, "pins": profile.pins}
        for name, profile in sorted(settings.profiles.items())
    ]
    return web.json_response({"active": call.gateway.profile.name(settings), "profiles": rows})


async def choose_profile(call: Call) -> web.StreamResponse:
    """`{"name": NAME}`, or null for none."""
    check_same_site(call.request.headers.getall("Sec-Fetch-Site", ()))
    settings = call.gateway.deps.settings()
    body = parse_object(await read_body(call.request, settings.gateway), settings.gateway.max_json_depth).values
    if "name" not in body:
        raise MissingParameter('the body must be {"name": NAME}, or null for no profile', param="name")
    name = body["name"]
    if name is not None and not isinstance(name, str):
        raise InvalidType("`name` must be a string or null", param="name")
    if name and name not in settings.profiles:
        raise NotFound(f"there is no profile {name[:100]!r}; GET /api/profiles lists them", param="name")
    call.gateway.profile.choose(name, settings)
    return web.json_response({"active": call.gateway.profile.name(settings)})
