"""Routes that roost only relays: `model` in the body, or in the query, says to whom.

Their shapes are the worker's own, bytes for bytes; names, places in line and limits are roost's as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from roost.config.settings import Settings
from roost.errors import MissingParameter, UnsupportedMediaType
from roost.gateway.body import check_json_type, read_body
from roost.gateway.call import Call
from roost.gateway.document import parse_object
from roost.gateway.exchange import shown_name
from roost.gateway.fields import check_bounds, check_denied
from roost.gateway.filters import filtered
from roost.gateway.inference import refuse_when_draining, request_class, route
from roost.gateway.llama_swap.multipart import boundary_of, find_field, spliced
from roost.gateway.names import requested_name
from roost.gateway.splice import apply
from roost.gateway.upstream import relay_through
from roost.workers.types import Entry, ReadyWorker

#: Behind `/v/`. `Sent.path` makes of them what the worker's address lacks.
VERSIONLESS = (
    *("chat/completions", "completions", "responses", "messages", "messages/count_tokens"),
    *("embeddings", "rerank", "reranking"),
)
#: Routes that generate text, which takes penalties and has an end: each with its own word for the most tokens.
_CAPS = {
    "/completion": "n_predict",
    "/infill": "n_predict",
    "/v/chat/completions": "max_tokens",
    "/v/completions": "max_tokens",
    "/v/messages": "max_tokens",
    "/v/responses": "max_output_tokens",
}


@dataclass(frozen=True)
class Sent:
    """A request before anybody knows its worker: who is asked, and what the worker gets under its own name."""

    name: str
    body: Callable[[str], bytes]
    path: Callable[[ReadyWorker], str]


async def dispatch_body(call: Call) -> web.StreamResponse:
    """A POST in JSON or as a form."""
    settings = _begin(call)
    raw = await read_body(call.request, settings.gateway)
    call.exchange.bytes_in = len(raw)
    form = call.request.content_type == "multipart/form-data"
    return await _relay(call, _form(call, raw) if form else _json(call, raw, settings), len(raw))


async def dispatch_query(call: Call) -> web.StreamResponse:
    """A GET that names its model in the query."""
    _begin(call)
    name = call.request.query.get("model")
    if not name:
        raise MissingParameter("`model` is missing in the query; name a role or an id", param="model")
    path, _, query = call.request.raw_path.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)

    def renamed(worker: ReadyWorker) -> str:
        sent = [(key, worker.served_name if key == "model" else value) for key, value in pairs]
        return f"{path}?{urlencode(sent)}"

    return await _relay(call, Sent(name, lambda served: b"", renamed), 0)


def _begin(call: Call) -> Settings:
    call.exchange.kept = True
    refuse_when_draining(call)
    return call.gateway.deps.settings()


def _json(call: Call, raw: bytes, settings: Settings) -> Sent:
    if call.request.content_type != "application/json":
        raise UnsupportedMediaType("the body must be sent as application/json or multipart/form-data")
    check_json_type(call.request)
    document = parse_object(raw, settings.gateway.max_json_depth)
    check_denied(document.values, settings.gateway.allow_fields)
    check_bounds(document.values)
    name = requested_name(document.values, settings)
    policy = call.gateway.settled().policy(call.resolve(name))
    cap_field = _CAPS.get(call.request.path)
    changes = filtered(document.values, policy, cap_field or "", cap_field is not None).changes
    return Sent(name, lambda served: apply(document, {**changes, "model": served}), _path_of(call))


def _path_of(call: Call) -> Callable[[ReadyWorker], str]:
    """The request's own, but for `/v/…`: that goes below the worker's address as it was given."""
    path = call.request.raw_path
    if not path.startswith("/v/"):
        return lambda _: path
    return lambda worker: ("/v1" if worker.is_versioned else "") + path.removeprefix("/v")


def _form(call: Call, raw: bytes) -> Sent:
    field = find_field(raw, boundary_of(call.request.headers.get("Content-Type", "")), "model")
    if not field.value:
        raise MissingParameter("the field `model` is empty; name a role or an id", param="model")
    return Sent(field.value, lambda served: spliced(raw, field, served), _path_of(call))


async def _relay(call: Call, sent: Sent, size_bytes: int) -> web.StreamResponse:
    gateway, exchange = call.gateway, call.exchange
    exchange.requested = shown_name(sent.name)
    resolution = exchange.resolution = call.resolve(sent.name)
    spec = gateway.spec(resolution)
    wait = gateway.deps.settings().load.wait
    entry = Entry(exchange.request_id, request_class(call), prompt_bytes=size_bytes, wait_for_load=wait)
    ticket = gateway.deps.pool.enter(spec.id, entry)
    try:
        route(call, resolution, ticket)
        worker: ReadyWorker = await ticket.worker()
        exchange.worker = worker
        exchange.queued_s = exchange.elapsed_s()
        return await relay_through(call, ticket, worker, sent.path(worker), sent.body(worker.served_name))
    finally:
        ticket.leave()
