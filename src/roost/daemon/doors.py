"""The listeners: the endpoint, the control socket, and the door for paired machines where there is one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

from aiohttp import web

from roost.config.settings import GatewaySettings
from roost.daemon.listen import BACKLOG
from roost.daemon.nodes import Neighbours
from roost.gateway.app import build_app
from roost.gateway.deps import GatewayDeps
from roost.gateway.protocol import GatewayRunner, runner_options
from roost.gateway.state import GATEWAY

#: What handlers get to end by themselves once every worker is gone.
HANDLERS_END_S = 1.0
#: asyncio would wait for a minute.
HANDSHAKE_S = 10.0


class Site(web.SockSite):
    """aiohttp's, with a bound on how long a stranger may take over a TLS handshake."""

    async def start(self) -> None:
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None
        wait_s = HANDSHAKE_S if self._ssl_context else None
        self._server = await asyncio.get_running_loop().create_server(
            server, sock=self._sock, ssl=self._ssl_context, backlog=self._backlog, ssl_handshake_timeout=wait_s
        )


class Doors:
    """All of one daemon. Connections made before they open have waited in the backlog."""

    def __init__(self, control_socket: Path) -> None:
        self._control_socket = control_socket
        self._runners: list[web.BaseRunner] = []

    async def open(
        self,
        deps: GatewayDeps,
        settings: GatewaySettings,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        neighbours: Neighbours,
    ) -> None:
        """Raises RoostError for a door that was asked for and cannot be opened."""
        opened = await neighbours.open_door()
        public = build_app(deps)
        control = await self._runner(build_app(deps, control=True, shared=public[GATEWAY]), settings)
        self._control_socket.unlink(missing_ok=True)
        await web.UnixSite(control, str(self._control_socket)).start()
        self._control_socket.chmod(0o600)
        await Site(await self._runner(public, settings), listener, ssl_context=tls, backlog=BACKLOG).start()
        if opened is not None:
            door = await self._runner(build_app(deps, door=True, shared=public[GATEWAY]), settings)
            await Site(door, opened.listener, ssl_context=opened.tls, backlog=BACKLOG).start()

    async def close(self) -> None:
        for runner in reversed(self._runners):
            await runner.cleanup()

    async def _runner(self, app: web.Application, settings: GatewaySettings) -> web.BaseRunner:
        runner = GatewayRunner(app, handle_signals=False, shutdown_timeout=HANDLERS_END_S, **runner_options(settings))
        await runner.setup()
        self._runners.append(runner)
        return runner
