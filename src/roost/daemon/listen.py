"""The TCP socket: bound before anything else is done, so that a taken port is known at once and named well."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import urllib.request

from roost.config.settings import GatewaySettings
from roost.errors import BadConfiguration, RoostError
from roost.host.types import Host

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
    """TLS 1.2 and newer with the configured pair; None without one. Raises BadConfiguration."""
    if not settings.tls_certificate or not settings.tls_key:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise BadConfiguration(
            f"cannot use gateway.tls_certificate {settings.tls_certificate} with its key: {error}"
        ) from error
    return context
