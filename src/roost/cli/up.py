"""`roost up`: the daemon in the foreground, or behind one's back."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated

import typer

from roost.cli.announce import ConsoleAnnouncer, EventAnnouncer
from roost.cli.detach import start_detached
from roost.cli.doors import Here, here, key_file, load_settings
from roost.cli.failure import sentences
from roost.daemon_types import Announcer, UpOptions
from roost.errors import BadConfiguration, RoostError


class Profile(StrEnum):
    WORKSTATION = "workstation"
    SERVER = "server"


def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="N", help="TCP port; 0 takes a free one.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to bind; anything but loopback needs keys and TLS.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background; return once it can answer.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="ID", help="Serve this model as default for this run; nothing is written.")
    ] = None,
    profile: Annotated[
        Profile | None,
        typer.Option(metavar="NAME", help="workstation: for yourself; server: for others, with keys and TLS."),
    ] = None,
    announce_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the default role on an OpenAI-shaped endpoint.

    Prints one line, "roost ready http://HOST:PORT/v1 model=ID engine=NAME", when the default role can answer.
    Without a registry it fetches a small model once (92 MB) and serves that. Ctrl-C drains and stops.

    \b
    Examples:
      roost up
      roost up --port 8080 --model SmolLM2-135M-Instruct-Q4_1
      roost up --detach && roost ask "What is 2+2?"
    """
    if profile is Profile.SERVER:
        require_server(here())
    options = UpOptions(host=host, port=port, model=model, profile=profile.value if profile else None)
    console = ConsoleAnnouncer(sys.stdout, sys.stderr)
    if detach:
        raise typer.Exit(start_detached(flags_of(options), here().paths, console))
    if announce_fd is None:
        raise typer.Exit(_serve(options, console))
    raise typer.Exit(_serve_announced(options, console, announce_fd))


def require_server(place: Here) -> None:
    """Raises BadConfiguration unless others could reach this endpoint, and only over TLS and with a key.

    roost's own door has both: a certificate that it makes itself, and nobody who is neither paired nor has a key.
    """
    settings = load_settings(place).settings
    if settings.nodes.door(Profile.SERVER) is not None:
        if find_spec("cryptography") is None:
            raise BadConfiguration(
                "cannot start with --profile server: its certificates need the package cryptography, which is not "
                "installed: pip install 'roost[nodes]'"
            )
        return
    missing = []
    if not key_file(place).exist():
        missing.append('keys: run "roost keys add NAME"')
    gateway = settings.gateway
    if not (gateway.tls_certificate and gateway.tls_key) and not gateway.trusted_proxies:
        missing.append(f"TLS: set gateway.tls_certificate and gateway.tls_key in {place.paths.settings}")
    if missing:
        raise BadConfiguration(
            "cannot start with --profile server while nodes.listen is off: it needs keys and TLS",
            problems=tuple(missing),
        )


def flags_of(options: UpOptions) -> list[str]:
    """The command line that gives the same options."""
    given = {
        "--host": options.host,
        "--port": options.port,
        "--model": options.model,
        "--profile": options.profile,
    }
    return [text for flag, value in given.items() if value is not None for text in (flag, str(value))]


def _serve(options: UpOptions, announcer: Announcer) -> int:
    from roost import daemon

    return daemon.run(options, announcer)


def _serve_announced(options: UpOptions, console: ConsoleAnnouncer, announce_fd: int) -> int:
    # Not for the workers: an inherited end would keep the waiting parent from seeing ours close.
    os.set_inheritable(announce_fd, False)
    announcer = EventAnnouncer(os.fdopen(announce_fd, "w", encoding="utf-8"), console)
    try:
        return _serve(options, announcer)
    except (RoostError, OSError) as error:
        announcer.failed(sentences(error))
        raise
    finally:
        announcer.close()
