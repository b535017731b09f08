"""The TCP socket: bound before anything else is done, so that a taken port is known at once and named well."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import urllib.request
from pathlib import Path

import structlog

from roost.config.settings import GatewaySettings
from roost.errors import BadConfiguration, RoostError
from roost.host.types import Host
from roost.nodes.tls import server_context

log = structlog.get_logger(__name__)

#: How long the holder of the port may take to say who it is.
ASK_TIMEOUT_S = 0.4
BACKLOG = 1024


class CannotListen(RoostError):
    code = "cannot_listen"


def bind(settings: GatewaySettings, host: Host) -> socket.socket:
    """A bound, not yet listening socket. Raises CannotListen naming who holds the port."""
    family, kind, protocol, _, address = _resolve(settings)
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        # Only listening tells whether somebody else listens already.
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise CannotListen(_why(settings, host, error)) from error
    bound.setblocking(False)
    return bound


def _resolve(settings: GatewaySettings) -> tuple[int, int, int, str, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise CannotListen(f"cannot listen on {settings.host}: {error.strerror}; choose another gateway.host") from None
    return found[0]


def _why(settings: GatewaySettings, host: Host, error: OSError) -> str:
    place = f"{settings.host}:{settings.port}"
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {place}: {error.strerror}; choose another --host or --port"
    return f"cannot listen on {place}: {_holder(settings, host)}; stop it or use --port"


def _holder(settings: GatewaySettings, host: Host) -> str:
    if is_ollama(settings.port):
        return "Ollama answers there"
    pid = host.tcp_owner(settings.port)
    if pid is None:
        return "another program listens there"
    name = next(iter(host.command_line(pid)), "").rsplit("/", 1)[-1]
    return f"pid {pid} ({name or 'unknown'}) listens there"


def is_ollama(port: int) -> bool:
    """Whether an Ollama answers on this port of loopback: `GET /` says so in plain words."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=ASK_TIMEOUT_S) as answer:
            if b"Ollama" not in answer.read(200):
                return False
        with opener.open(f"http://127.0.0.1:{port}/api/version", timeout=ASK_TIMEOUT_S) as answer:
            return "version" in json.loads(answer.read(1000))
    except (OSError, ValueError):
        return False


def tls_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """TLS 1.2 and newer with the configured pair, read again when its files change; None without one. Raises
    BadConfiguration."""
    if not settings.tls_certificate or not settings.tls_key:
        return None
    return LiveCertificate(Path(settings.tls_certificate), Path(settings.tls_key)).listening()


class LiveCertificate:
    """A certificate of one's own, looked at in each handshake: whoever renews it replaces two files, and that is all. A
    pair that does not belong together, as between the two, leaves the last good one in use."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._stamps = self._seen()
        try:
            self._context = server_context(chain, key)
        except (OSError, ssl.SSLError) as error:
            raise BadConfiguration(f"cannot use gateway.tls_certificate {chain} with its key: {error}") from error

    def current(self) -> ssl.SSLContext:
        """Of the files as they are now."""
        stamps = self._seen()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = server_context(self._chain, self._key)
            except (OSError, ssl.SSLError) as error:
                log.warning("certificate refused", file=str(self._chain), problem=str(error))
            else:
                log.info("certificate taken", file=str(self._chain))
        return self._context

    def listening(self) -> ssl.SSLContext:
        """One for a listener: each handshake is answered with `current`."""
        context = server_context(self._chain, self._key)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            connection.context = self.current()

        context.sni_callback = choose
        return context

    def _seen(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._chain, self._key))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
