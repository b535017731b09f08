"""How roost talks to one worker: a session that can reach nothing else, and the questions every engine is asked."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.tracing import Trace
from yarl import URL

from roost.engines.types import Endpoint, Healthy, Loading, TcpEndpoint, UnixEndpoint, UrlEndpoint, WorkerHttp
from roost.engines.wire import Wire
from roost.errors import UpstreamCrashed, UpstreamStalled

#: A health question is asked often; a worker that needs longer is busy or still loading.
HEALTH_TIMEOUT_S = 1.0
#: Connecting to a local socket is instant; a remote endpoint gets a few round trips.
CONNECT_TIMEOUT_S = 5.0
#: A server elsewhere that takes no connection in this time is not there; looking up its name counts.
REACH_TIMEOUT_S = 3.0
#: llama.cpp's server closes an idle connection after 5 s; a request sent in that moment would be lost.
KEEPALIVE_S = 2.0
#: Interim answers (1xx) before the real one; a server that tells of its progress sends far fewer.
MOST_INTERIM = 1000
#: The longest answer to a question of ours that is kept; the embedding of a long vector is the largest.
MAX_ANSWER_BYTES = 4 * 2**20


class WorkerProtocol(ResponseHandler):
    """One connection to a worker. aiohttp passes over interim answers, however many there are, and no timeout of its
    own ends that: here a flood of them breaks the connection."""

    _interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        if not 100 <= data[0].code < 200:
            self._interim = 0
        elif self._interim == MOST_INTERIM:
            self.set_exception(HttpProcessingError(code=502, message="interim answers without an end"))
            if self.transport is not None:
                self.transport.abort()
            return
        else:
            self._interim += 1
        super().feed_data(data, size)


class OnlyOrigin(aiohttp.TCPConnector):
    """Connects to one scheme, host and port: a redirect or a forged URL cannot carry a prompt or key elsewhere."""

    def __init__(self, origin: URL) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEPALIVE_S)
        self._origin = origin

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        if req.url.origin() != self._origin:
            raise aiohttp.ClientConnectionError(f"this session reaches {self._origin} only, not {req.url.origin()}")
        return await super().connect(req, traces, timeout)

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        try:
            # Whatever the caller's timeout says: it knows no more of this server than that it is a worker.
            async with asyncio.timeout(REACH_TIMEOUT_S):
                return await super()._create_connection(req, traces, timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {REACH_TIMEOUT_S:g} s") from error


def why_unreachable(error: BaseException) -> str | None:
    """Why no connection came about; None when there was one, whatever happened to it then."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {REACH_TIMEOUT_S:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is refused ({error.certificate_error})"
        case aiohttp.ClientConnectorSSLError():
            return f"it speaks no TLS that this machine does ({error.os_error})"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return (os.strerror(number) if number else str(error.os_error)).lower()
    return None


def base_url(endpoint: Endpoint) -> str:
    """What goes before `/v1/...`; no trailing slash. An external URL is accepted with and without `/v1`."""
    match endpoint:
        case UnixEndpoint():
            return "http://localhost"
        case TcpEndpoint(host=host, port=port):
            return str(URL.build(scheme="http", host=host, port=port)).rstrip("/")
        case _:
            return endpoint.url.rstrip("/").removesuffix("/v1").rstrip("/")


def is_versioned(endpoint: Endpoint) -> bool:
    """Whether the address was given with the `/v1` that `base_url` leaves out."""
    return isinstance(endpoint, UrlEndpoint) and endpoint.url.rstrip("/").endswith("/v1")


def worker_http(endpoint: Endpoint) -> WorkerHttp:
    """A session for this worker alone; call it in the running loop and close `session` when the worker is gone.

    Bytes come as the worker sent them (nothing asks for compression, nothing is unpacked), no proxy or cookie is
    used, and no wall clock ends an answer: the gateway measures idle time.
    """
    base = base_url(endpoint)
    session = aiohttp.ClientSession(
        connector=_connector(endpoint, base),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("Accept-Encoding", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
    )
    path = None if isinstance(endpoint, UnixEndpoint) else endpoint.health_path
    headers = _authorization(endpoint)
    wire = Wire(session, base, headers, REACH_TIMEOUT_S)
    return WorkerHttp(session=session, wire=wire, base_url=base, headers=headers, health_path=path)


async def close_session(session: aiohttp.ClientSession) -> None:
    """Ends it, and every answer that is still being read over it: aiohttp alone would let those wait for ever."""
    for protocol in tuple(session.connector._acquired if session.connector else ()):
        if protocol.transport is not None:
            protocol.transport.abort()
    # The readers are told in the next turn of the loop, over TLS in the one after.
    for _ in range(2):
        await asyncio.sleep(0)
    await session.close()


def _connector(endpoint: Endpoint, base: str) -> aiohttp.BaseConnector:
    if isinstance(endpoint, UnixEndpoint):
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(
            path=str(endpoint.path), limit=0, keepalive_timeout=KEEPALIVE_S
        )
    else:
        connector = OnlyOrigin(URL(base).origin())
    # aiohttp has no public place for it; a test floods a real connection.
    connector._factory = partial(WorkerProtocol, asyncio.get_running_loop())  # type: ignore[assignment]
    return connector


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    key = None if isinstance(endpoint, UnixEndpoint) else endpoint.key
    return {"Authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True)
class Answer:
    """A worker's whole reply to a question of ours."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The decoded body; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def error_text(self) -> str:
        """The engine's own words, short; engines differ in where they put them."""
        value = self.json()
        error = value.get("error", value.get("detail")) if isinstance(value, dict) else None
        text = error.get("message") if isinstance(error, dict) else error
        return str(text or self.body[:200].decode("utf-8", "replace")).strip()[:200]


async def ask(
    worker: WorkerHttp, method: str, path: str, payload: object | None = None, *, timeout_s: float | None = None
) -> Answer:
    """One question; `payload` is JSON, as a value or as its bytes.

    Raises aiohttp.ClientError, OSError or TimeoutError; every HTTP status is an answer.
    """
    data = payload if isinstance(payload, bytes | None) else json.dumps(payload).encode()
    async with worker.session.request(
        method,
        worker.base_url + path,
        data=data,
        headers={**worker.headers, **({"Content-Type": "application/json"} if data else {})},
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
    ) as response:
        return Answer(response.status, await _read(response))


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts = bytearray()
    async for chunk in response.content.iter_any():
        parts += chunk
        if len(parts) > MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    return bytes(parts)


async def ask_health(worker: WorkerHttp, path: str) -> Answer | Loading:
    """`GET path` within a second; what keeps it from answering is Loading, since a starting worker has no socket."""
    try:
        answer = await ask(worker, "GET", path, timeout_s=HEALTH_TIMEOUT_S)
    except TimeoutError:
        return Loading(detail=f"no answer within {HEALTH_TIMEOUT_S:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return Loading(detail=f"not listening yet ({type(error).__name__})")
    return Loading(detail=answer.error_text()) if answer.status == 503 else answer


def served_names(models: Any) -> Healthy:
    """What a `/v1/models` body says: names and aliases, and the context window where an engine tells it."""
    entries = models.get("data") if isinstance(models, dict) else None
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    names = [name for entry in found for name in (entry.get("id"), *_list(entry.get("aliases")))]
    return Healthy(
        served_names=tuple(dict.fromkeys(name for name in names if isinstance(name, str))),
        context_length=next((tokens for entry in found if (tokens := _context_of(entry))), None),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _context_of(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    value = meta.get("n_ctx") if isinstance(meta, dict) else entry.get("max_model_len")
    return value if isinstance(value, int) and value > 0 else None


#: surface -> (path, body) of the smallest request that makes an engine really work. A chat comes first because it
#: also warms the template; one token is enough, and a reasoning token counts.
PROBES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
    "completions": ("/v1/completions", {"prompt": "hi", "max_tokens": 1}),
    "embeddings": ("/v1/embeddings", {"input": "hi"}),
    "rerank": ("/v1/rerank", {"query": "hi", "documents": ["hi"]}),
}
#: Path of the OpenAI surface -> its short name.
SURFACES = {path: surface for surface, (path, _) in PROBES.items()}
#: surface -> the field that holds the result.
RESULT_FIELDS = {"chat": "choices", "completions": "choices", "embeddings": "data", "rerank": "results"}


def surface_of(route: str) -> str:
    """`chat` for `/v1/chat/completions`, and so on; a short name stays as it is."""
    return SURFACES.get(route, route)


async def generate_one(worker: WorkerHttp, served_name: str, surfaces: frozenset[str]) -> None:
    """One real token, embedding or score: `/health` alone is no proof of life.

    Raises UpstreamStalled when the engine says it is busy (503), UpstreamCrashed for everything else that is not a
    result. There is no deadline here: the caller's `asyncio.timeout` is the only one.
    """
    surface = next((name for name in PROBES if name in surfaces), None)
    if surface is None:
        return
    path, body = PROBES[surface]
    try:
        answer = await ask(worker, "POST", path, body | {"model": served_name})
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamCrashed(f"the worker closed its connection while it made one token: {error}") from error
    _check_result(answer, surface)


def _check_result(answer: Answer, surface: str) -> None:
    if answer.status == 503:
        raise UpstreamStalled(f"the worker takes no request: 503 {answer.error_text()}")
    value = answer.json()
    if answer.status != 200 or not isinstance(value, dict) or not value.get(RESULT_FIELDS[surface]):
        raise UpstreamCrashed(f"the worker could not make one token: {answer.status} {answer.error_text()}")
