"""`roost up`: from options to a serving daemon and back to nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
from collections.abc import Mapping

import structlog

from roost.config.check import is_loopback
from roost.config.paths import Paths
from roost.daemon.compose import Daemon, prepare
from roost.daemon.journal import open_journal
from roost.daemon.listen import bind, tls_context
from roost.daemon.live_settings import LiveSettings, refuse_unusable
from roost.daemon.lock import DaemonLock
from roost.daemon.loop_errors import LoopErrors
from roost.daemon_types import Announcer, UpOptions
from roost.host.open_files import raise_open_files_limit
from roost.host.this import this_host
from roost.host.types import Host
from roost.store.keys import KeyFile
from roost.workers.reap import reap_orphans

log = structlog.get_logger(__name__)

#: Objects made beyond those freed before the collector looks at the young ones. Python's 700 is a look every other
#: request.
COLLECT_AFTER_OBJECTS = 10_000
#: How long a key that was added or revoked beside the daemon may go unnoticed.
KEYS_LOOK_S = 0.05


def run(options: UpOptions, announce: Announcer, environ: Mapping[str, str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit code. Raises RoostError when it cannot start (BadConfiguration
    for settings that cannot be used)."""
    environment = dict(os.environ if environ is None else environ)
    paths, host = Paths.from_environment(environment), this_host()
    flags = {
        "gateway.host": options.host,
        "gateway.port": options.port,
        "coexistence.profile": options.profile,
    }
    settings = LiveSettings(paths, environment, flags)
    reached = not is_loopback(settings.settings().gateway.host)
    keys = KeyFile(paths.keys, look_every_s=KEYS_LOOK_S, always=reached)
    refuse_unusable(settings.settings(), has_keys=keys.exist())
    make_state(paths)
    raise_open_files_limit()
    lock = DaemonLock(paths.run / "daemon.lock")
    try:
        tls = tls_context(settings.settings().gateway)
        listener = bind(settings.settings().gateway, host)
        with listener:
            open_journal(paths.logs / "daemon.log", settings.settings().log)
            tell_reaped(host, paths, announce)
            daemon = prepare(paths, environment, settings, keys, host, options, announce)
            settle_heap()
            asyncio.run(_serve(daemon, listener, tls))
    finally:
        lock.release()
    return 0


def make_state(paths: Paths) -> None:
    """The folders that only their owner may read."""
    for folder in (paths.state, paths.run, paths.logs):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.run.chmod(0o700)


def tell_reaped(host: Host, paths: Paths, announce: Announcer) -> None:
    """Ends what an earlier daemon of this state left behind when it was killed."""
    for line in reap_orphans(host, paths.run / "workers", paths.run):
        log.warning("reaped", what=line)
        announce.step(line)


def settle_heap() -> None:
    """Modules and settings live until the end: walking them again and again would cost a fifth of each request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, 10, 10)


async def _serve(daemon: Daemon, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    for number in (signal.SIGINT, signal.SIGTERM):
        # Installed explicitly: a parent may have handed SIGINT down ignored.
        loop.add_signal_handler(number, daemon.stop)
    if not _in_a_terminal():
        # Services and scripts say "read your files again" so; a terminal says that it is closed.
        loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    try:
        await daemon.serve(listener, tls)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _in_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
