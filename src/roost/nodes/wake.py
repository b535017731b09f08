"""Waking a machine that sleeps, for a request: a magic packet or a command."""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Mapping

import structlog

from roost.config.far import WakeSettings

log = structlog.get_logger(__name__)

#: Discard, where nobody listens: the card looks at the frame, no program does.
_PORT = 9
_COMMAND_TIMEOUT_S = 30.0
_KEPT_VARIABLES = ("PATH", "HOME", "LANG")


def magic_packet(mac: str) -> bytes:
    """Wake-on-LAN: six bytes of ones, then the hardware address sixteen times."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


async def wake(name: str, settings: WakeSettings, environ: Mapping[str, str]) -> None:
    """Once, by whatever the settings name; what goes wrong is logged, for the machine may wake all the same."""
    log.info("waking", node=name, by="command" if settings.command else "packet")
    if settings.mac:
        _broadcast(name, magic_packet(settings.mac))
    if settings.command:
        try:
            arguments = shlex.split(settings.command)
        except ValueError as error:
            log.warning("not woken", node=name, problem=f"the command cannot be read: {error}")
            return
        await _run(name, arguments, environ)


def _broadcast(name: str, packet: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            sender.sendto(packet, ("255.255.255.255", _PORT))
        except OSError as error:
            log.warning("not woken", node=name, problem=error.strerror)


async def _run(name: str, arguments: list[str], environ: Mapping[str, str]) -> None:
    """No shell, and none of this process's secrets."""
    kept = {key: environ[key] for key in _KEPT_VARIABLES if key in environ}
    quiet = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*arguments, stdin=quiet, stdout=quiet, stderr=quiet, env=kept)
    except OSError as error:
        log.warning("not woken", node=name, problem=error.strerror)
        return
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT_S):
            code = await process.wait()
    except TimeoutError:
        log.warning("not woken", node=name, problem=f"the command ran for {_COMMAND_TIMEOUT_S:g} s")
    else:
        if code:
            log.warning("not woken", node=name, problem=f"the command ended with {code}")
    finally:
        if process.returncode is None:
            process.kill()
