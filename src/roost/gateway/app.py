"""The application: the route table put together, and the border where every error becomes an answer.

`control` builds the application of the unix control socket: no key, no Host check, and the shutdown route; `door` that
of the listener for paired machines, where a program of this machine counts as any other.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.http import HttpVersion11

from roost.errors import InternalError, RoostError
from roost.gateway.affinity import Affinity
from roost.gateway.auth import Scope
from roost.gateway.body import check_declared_size, check_json_type
from roost.gateway.call import Body, Call, Route
from roost.gateway.callers import let_in
from roost.gateway.deps import GatewayDeps
from roost.gateway.exchange import CLIENT_CLOSED_STATUS, Exchange, log_refused, log_row
from roost.gateway.held import Held
from roost.gateway.hosts import check_framing, check_host, check_origin, check_target
from roost.gateway.metrics import Metrics
from roost.gateway.protocol import listener_of
from roost.gateway.proxies import check_clear_text
from roost.gateway.quotas import Quotas
from roost.gateway.redirects import ActiveProfile
from roost.gateway.replies import ErrorBody, error_bytes, error_response, from_http
from roost.gateway.routes import ROUTES
from roost.gateway.state import GATEWAY, Gateway
from roost.routing.decisions import DecisionRing

_EXCHANGE = web.RequestKey("exchange", Exchange)
_WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = structlog.get_logger("roost.gateway")


def build_app(
    deps: GatewayDeps, *, control: bool = False, door: bool = False, shared: Gateway | None = None
) -> web.Application:
    """The application of one listener. `shared` is the other listener's state (`app[GATEWAY]`): counters in common."""
    metrics = shared.metrics if shared else Metrics(deps.pool)
    decisions = shared.decisions if shared else DecisionRing()
    app = web.Application(middlewares=[_border])
    profile = shared.profile if shared else ActiveProfile()
    held = shared.held if shared else Held()
    quotas = shared.quotas if shared else Quotas()
    affinity = shared.affinity if shared else Affinity()
    app[GATEWAY] = Gateway(deps, metrics, decisions, control, profile, held, quotas, door, affinity)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _guarded(route), expect_handler=_expect_continue)
    return app


def _guarded(route: Route) -> _WebHandler:
    """The handler of a route behind its scope and its body policy: both are checked on the matched route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        gateway = request.app[GATEWAY]
        exchange = request[_EXCHANGE]
        exchange.error_body, exchange.id_header = route.error_body, route.id_header
        let_in(request, route, gateway, exchange)
        if route.body is Body.JSON:
            check_declared_size(request, gateway.deps.settings().gateway)
            check_json_type(request)
        asks = route.scope is Scope.USE and route.method == "POST"
        with gateway.quotas.hold(exchange.consumer if asks else None):
            return await route.handler(Call(request, gateway, exchange))

    return handle


@web.middleware
async def _border(request: web.Request, handler: _WebHandler) -> web.StreamResponse:
    """The one place that writes each request's line and row, once its answer has been sent."""
    gateway = request.app[GATEWAY]
    exchange = Exchange.begin(request, gateway.deps.node)
    request[_EXCHANGE] = exchange
    status = CLIENT_CLOSED_STATUS
    try:
        response = await _answered(request, gateway, exchange, handler)
        if not response.prepared:
            response.headers.setdefault("x-request-id", exchange.request_id)
            # Sent here, so that nobody waits for the bookkeeping.
            await response.prepare(request)
            await response.write_eof()
        status = exchange.error.status if exchange.error else response.status
    except (asyncio.CancelledError, ConnectionError) as gone:
        if exchange.error is not None:
            status = exchange.error.status
        elif exchange.told_all:
            status = exchange.told_status
        else:
            exchange.cause = exchange.cause or str(gone) or "the client left"
        raise
    finally:
        _finish(gateway, exchange, status)
    return response


async def _answered(
    request: web.Request, gateway: Gateway, exchange: Exchange, handler: _WebHandler
) -> web.StreamResponse:
    """The one place that answers errors."""
    try:
        if not gateway.control:
            _check_sender(request, gateway)
        return await handler(request)
    except RoostError as error:
        response = _refused(exchange, error)
        if request.version < HttpVersion11:
            # Where such a request ends may be read in two ways: nothing that follows on its connection is answered.
            response.force_close()
        return response
    except web.HTTPException as error:
        exchange.error_body = _shape_at(request.path)
        return _refused(exchange, from_http(error), error)
    except ConnectionError:
        raise
    except Exception as error:  # noqa: BLE001 - the HTTP border: a defect is answered and told, never fatal
        return _broken(request, exchange, error)


def _shape_at(path: str) -> ErrorBody:
    """How the clients of a path read errors, when no route of it was met: another method of it may be offered."""
    return next((route.error_body for route in ROUTES if route.path == path), error_bytes)


def _check_sender(request: web.Request, gateway: Gateway) -> None:
    """Sender, Host, Origin and target, on the raw headers, before any route is looked at."""
    if not gateway.door:
        check_clear_text(request.remote, gateway.deps.settings().gateway)
    if (listener := listener_of(request)) is not None:
        hosts = gateway.settled().hosts(*listener)
        check_host(request.headers.getall("Host", ()), hosts | gateway.deps.door_hosts() if gateway.door else hosts)
    if "Origin" in request.headers:
        check_origin(request.headers.getall("Origin"), gateway.deps.settings().gateway.allowed_origins)
    check_target(request.raw_path)
    check_framing(request.version, request.headers)


def _refused(exchange: Exchange, error: RoostError, http: web.HTTPException | None = None) -> web.Response:
    exchange.error = error
    response = error_response(error, exchange.headers(), exchange.error_body, exchange.request_id)
    if isinstance(http, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(http.allowed_methods))
    return response


def _broken(request: web.Request, exchange: Exchange, error: Exception) -> web.Response:
    """A defect of roost: 500, or an aborted connection when the answer has begun. Its text may hold anything."""
    root = _root(error)
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(root.__traceback__)][-8:]
    exchange.cause = type(root).__name__
    # Never its message: that could hold a piece of a prompt.
    _log.error("defect", id=exchange.request_id, route=exchange.route, kind=exchange.cause, places=places)
    failure = InternalError("something went wrong inside roost; the log has the details")
    if request.writer.output_size > 0 and request.transport is not None:
        exchange.error = failure
        request.transport.abort()
        raise ConnectionResetError("the answer had begun when roost failed") from error
    return _refused(exchange, failure)


def _root(error: BaseException) -> BaseException:
    """The first single error in a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _finish(gateway: Gateway, exchange: Exchange, status: int) -> None:
    if exchange.kept:
        row = exchange.row(status)
        gateway.deps.activity.record(row)
        gateway.metrics.observe(row)
        if exchange.tools is not None:
            gateway.metrics.observe_tools(row, exchange.tools)
        if exchange.thinking is not None:
            gateway.metrics.observe_unfinished(row)
        log_row(row, exchange)
    elif status >= 400:
        log_refused(exchange, status)


async def _expect_continue(request: web.Request) -> web.StreamResponse | None:
    """Answer `Expect: 100-continue`, but invite no body that will be refused for its size."""
    limits = request.app[GATEWAY].deps.settings().gateway
    if (request.content_length or 0) <= limits.max_body_bytes:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    return None
