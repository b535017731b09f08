"""`/upstream/{model}/{path}`: any path of a model's worker, for a local caller or an admin key.

Admission and field limits hold here too: the worker is entered through the pool like for any other request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from roost.config.settings import GatewaySettings, Settings
from roost.errors import Conflict, ModelNotFound, RoostError
from roost.gateway.body import read_body
from roost.gateway.call import Call
from roost.gateway.client_stream import ClientStream
from roost.gateway.document import Document, parse_object
from roost.gateway.exchange import shown_name
from roost.gateway.fields import check_bounds, check_denied
from roost.gateway.hosts import check_same_site
from roost.gateway.inference import refuse_when_draining, request_class, route
from roost.gateway.job import BROKEN, NO_TIMEOUT, STREAM_HEADERS, worker_url
from roost.gateway.splice import replace_model
from roost.gateway.state import Gateway
from roost.gateway.upstream_errors import chatter, lost
from roost.gateway.websockets import relay_websocket, wants_websocket
from roost.workers.types import Entry, ReadyWorker, Ticket

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
#: Browsers ask for these by themselves: not worth a load.
_ASSETS = frozenset({".js", ".css", ".png", ".ico", ".txt", ".svg", ".jpg", ".woff", ".woff2", ".map", ".webmanifest"})
#: Headers of a request that are the connection's or the client's own and never a worker's business.
_KEPT_BACK = frozenset(
    {
        *("host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        *("content-length", "accept-encoding", "proxy-authorization", "proxy-connection"),
        *("authorization", "x-api-key", "cookie", "origin", "referer"),
        *("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
        *("sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions"),
    }
)
#: Headers of an answer that are passed on.
_PASSED_BACK = ("Content-Type", "Content-Disposition", "Cache-Control", "ETag", "Last-Modified")


@dataclass(frozen=True)
class Target:
    """`name` as roost knows it, `path` as it was sent, escapes kept; None: there was no slash behind the name."""

    name: str
    path: str | None


def split_target(raw: str, gateway: Gateway) -> Target:
    """Cut `model/path` behind the longest known name. Raises ModelNotFound."""
    parts = raw.split("/")
    selectors = gateway.deps.settings().selectors
    for count in range(len(parts), 0, -1):
        name = unquote("/".join(parts[:count]))
        # A page that hops between models with each of its requests is of no use: a selector means nothing here.
        if gateway.knows(name) and name not in selectors:
            return Target(name, "/" + "/".join(parts[count:]) if count < len(parts) else None)
    raise ModelNotFound(
        f'cannot relay to "{shown_name(unquote(parts[0]))}": no model has this name; see "roost models"'
    )


async def relay_to_worker(call: Call) -> web.StreamResponse:
    """Relay one request as it came; only `model` in a JSON body becomes the worker's own name."""
    request, gateway, exchange = call.request, call.gateway, call.exchange
    check_same_site(request.headers.getall("Sec-Fetch-Site", ()))
    refuse_when_draining(call)
    raw, mark, query = request.raw_path.removeprefix("/upstream/").partition("?")
    target = split_target(raw, gateway)
    if target.path is None:
        return _redirect(request, f"/upstream/{raw}/{mark}{query}")
    exchange.kept = True
    exchange.requested = shown_name(target.name)
    resolution = exchange.resolution = gateway.resolve(target.name)
    spec = gateway.spec(resolution)
    _refuse_asset(gateway, spec.id, target.path)
    settings = gateway.deps.settings()
    body = await read_body(request, settings.gateway)
    exchange.bytes_in = len(body)
    document = _document(request, body, settings)
    two_way = wants_websocket(request)
    entry = Entry(exchange.request_id, request_class(call), prompt_bytes=len(body), open_ended=two_way)
    ticket = gateway.deps.pool.enter(spec.id, entry)
    try:
        route(call, resolution, ticket)
        worker = exchange.worker = await ticket.worker()
        if two_way:
            headers = _forwarded(request.headers, worker)
            return await relay_websocket(call, ticket, worker, f"{target.path}{mark}{query}", headers)
        sent = replace_model(document, worker.served_name) if document else body
        return await relay_through(call, ticket, worker, f"{target.path}{mark}{query}", sent)
    finally:
        ticket.leave()


def _redirect(request: web.Request, where: str) -> web.Response:
    status = 301 if request.method in ("GET", "HEAD") else 308
    return web.Response(status=status, headers={"Location": where})


def _refuse_asset(gateway: Gateway, model_id: str, path: str) -> None:
    ready = any(view.model_id == model_id and view.state == "ready" for view in gateway.deps.pool.views())
    if PurePosixPath(path).suffix.lower() in _ASSETS and not ready:
        raise Conflict(f'{model_id} is not loaded, and a static file is not worth a load; run "roost load {model_id}"')


def _document(request: web.Request, body: bytes, settings: Settings) -> Document | None:
    """A JSON object is held to the field limits; other bodies are relayed unread."""
    if request.content_type != "application/json" or body.lstrip()[:1] != b"{":
        return None
    document = parse_object(body, settings.gateway.max_json_depth)
    check_denied(document.values, settings.gateway.allow_fields)
    check_bounds(document.values)
    return document


async def relay_through(call: Call, ticket: Ticket, worker: ReadyWorker, path: str, body: bytes) -> web.StreamResponse:
    """The worker's own answer to this request with that path and body, byte for byte."""
    exchange = call.exchange
    sent = _forwarded(call.request.headers, worker)
    sent.update(STREAM_HEADERS)  # any answer may be one
    try:
        response = await worker.session.request(
            call.request.method,
            worker_url(worker.base_url, path),
            data=body or None,
            headers=sent,
            timeout=NO_TIMEOUT,
            allow_redirects=False,
        )
    except BROKEN as error:
        await ticket.settled(error)
        raise _lost(call, ticket, started=False) from error
    try:
        exchange.told_status = response.status
        limits = call.gateway.deps.settings().gateway
        answer = web.StreamResponse(status=response.status, headers=_passed_back(call, response, limits))
        out = ClientStream(call.request, exchange, answer, limits.write_deadline_s)
        out.while_blocked = lambda: ticket.beat(0)
        await _copy(call, ticket, response, out)
        return answer
    finally:
        response.close()


async def _copy(call: Call, ticket: Ticket, response: aiohttp.ClientResponse, out: ClientStream) -> None:
    """Byte by byte; a worker that breaks in the middle is a broken connection for the client too."""
    try:
        while data := await response.content.readany():
            if not _only_comments(response, data):
                ticket.beat()
            elif ticket.overdue():
                raise out.broken(chatter(_model(call)))
            call.exchange.first_byte()
            await out.write(data)
        call.exchange.told_all = out.begun
    except aiohttp.ClientError as error:
        raise out.broken(_lost(call, ticket, started=out.begun)) from error
    except RoostError as error:
        raise out.broken(error) from error
    if not out.begun:
        await out.response.prepare(call.request)
    await out.end()


def _passed_back(call: Call, response: aiohttp.ClientResponse, limits: GatewaySettings) -> dict[str, str]:
    """The answer's headers. Its type is the engine's word, and a page of an engine would be one of roost's own origin:
    its scripts could read and do what its reader may. So it is shown without any, and nothing is taken for a page that
    does not say so, unless the settings let pages of this origin call."""
    headers = {name: response.headers[name] for name in _PASSED_BACK if name in response.headers}
    headers["X-Content-Type-Options"] = "nosniff"
    if call.origin.lower() not in limits.allowed_origins:
        headers["Content-Security-Policy"] = "sandbox"
    return headers | call.exchange.headers()


def _only_comments(response: aiohttp.ClientResponse, data: bytes) -> bool:
    """A piece of an event stream that holds nothing else; one cut in mid-line counts as what it looks like."""
    if response.content_type != "text/event-stream" or not data.startswith((b":", b"\n", b"\r")):
        return False
    return not any(line for line in data.splitlines() if not line.startswith(b":"))


def _model(call: Call) -> str:
    return call.exchange.resolution.model_id if call.exchange.resolution else ""


def _lost(call: Call, ticket: Ticket, started: bool) -> RoostError:
    why = ticket.why_lost()
    call.exchange.cause = why or "the connection to the worker broke"
    return lost(why, call.gateway.deps.draining(), started, _model(call))


def _forwarded(headers: Mapping[str, str], worker: ReadyWorker) -> CIMultiDict[str]:
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in _KEPT_BACK and name.lower() not in worker.traits.strip_headers:
            kept.add(name, value)
    kept["Accept-Encoding"] = "identity"
    kept.update(worker.headers)
    return kept
