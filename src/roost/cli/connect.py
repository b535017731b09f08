"""`roost connect`: point other programs at this endpoint, and take that back."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roost.cli.announce import base_url
from roost.cli.arguments import not_empty
from roost.cli.connect_text import Row, as_json, shown_lines, table
from roost.cli.doors import Here, ask_daemon, daemon_answers, here, key_file, load_settings
from roost.cli.models import JsonOption
from roost.cli.output import note, say, say_all, say_json
from roost.cli.suggest import did_you_mean
from roost.errors import BadConfiguration, NotFound, Refused

if TYPE_CHECKING:
    from roost.client import DaemonClient
    from roost.connect.client import Client, Key, Places, Setup, Target
    from roost.connect.files import Ledger, Settings
    from roost.connect.types import Record

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
NAME_HELP = "The program; left out: list all of them."
KEY_HELP = "Its key, by reference only: env:VARIABLE."


@dataclass(frozen=True)
class Endpoint:
    """Where this roost is asked."""

    #: Without `/v1`.
    url: str
    needs_key: bool


def connect(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=NAME_HELP, callback=not_empty)] = None,
    show: Annotated[bool, typer.Option("--print", help="Show what would be set and where; the default.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Merge it into the program's own settings.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Undo what --write did.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="ROLE", help="Left out: coding for agents, default for chats.", callback=not_empty
        ),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="env:NAME", help=KEY_HELP)] = None,
    mint: Annotated[bool, typer.Option("--mint", help="Make a key named after the program and give it that.")] = False,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Address that the program shall use instead.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --restore: also what was changed since.")] = False,
    json_: JsonOption = False,
) -> None:
    """Point a program at this endpoint: Claude Code, Codex, opencode, Continue, llm, Open WebUI, Zed, VS Code.

    --write keeps everything else in the program's settings, comments too, and a backup; --restore undoes what was
    written, even if other settings have changed since.

    \b
    Examples:
      roost connect
      roost connect claude
      roost connect codex --write -m coding
      roost connect codex --restore
    """
    if show + write + restore > 1:
        raise typer.BadParameter("choose one of --print, --write and --restore")
    if key is not None and mint:
        raise typer.BadParameter("choose one of --key and --mint")
    place = here()
    if name is None:
        _list(place, json_)
        return
    client = find_client(name)
    if restore:
        _restore(place, client, force=force)
        return
    endpoint = find_endpoint(place) if url is None else replace(find_endpoint(place), url=plain_url(url))
    if endpoint.url.endswith(":0"):
        raise Refused(
            'cannot say where this endpoint is: gateway.port is 0, a free one at each start; run "roost up" first, or '
            "name --url"
        )
    wanted = _Wanted(place, client, endpoint, model or client.role, key, mint)
    _write(wanted) if write else _print(wanted)


@dataclass(frozen=True)
class _Wanted:
    """What the command line asks for."""

    place: Here
    client: Client
    endpoint: Endpoint
    model: str
    key: str | None
    mint: bool

    def target(self, key: Key) -> Target:
        from roost.connect.client import Target

        if self.model in self.client.own_names:
            raise BadConfiguration(
                f'cannot give {self.client.title} the name "{self.model}": it is one of its own names; use another '
                f"role, such as -m {self.client.role}, or an id"
            )
        return Target(self.endpoint.url, self.model, context_tokens(self.place, self.model), key)


def find_client(name: str) -> Client:
    """Raises NotFound with what is near."""
    from roost.connect.clients import CLIENTS

    known = {client.name: client for client in CLIENTS}
    if name not in known:
        raise NotFound(f'cannot connect "{name}"{did_you_mean(name, known)}: roost knows {", ".join(known)}')
    return known[name]


def plain_url(url: str) -> str:
    """Without `/v1` and slashes behind it. Raises BadConfiguration."""
    if not url.startswith(("http://", "https://")) or len(url.split()) != 1:
        raise BadConfiguration("cannot use that --url: write it as http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/").removesuffix("/v1")


def find_endpoint(place: Here) -> Endpoint:
    """Of the running daemon, else as the settings would have it."""
    from roost.config.check import is_loopback

    if daemon_answers(place.paths):
        status = ask_daemon(lambda client: client.status(), place)
        address = status.endpoint.removesuffix("/v1")
        for everywhere, loopback in _ANY_ADDRESS.items():
            address = address.replace(f"//{everywhere}:", f"//{loopback}:").replace(f"[{everywhere}]", f"[{loopback}]")
        return Endpoint(address, status.auth != "open-loopback")
    gateway = load_settings(place).settings.gateway
    host = _ANY_ADDRESS.get(gateway.host, gateway.host)
    needs_key = key_file(place).configured() or not is_loopback(gateway.host)
    return Endpoint(base_url(host, gateway.port, tls=bool(gateway.tls_certificate)), needs_key)


def context_tokens(place: Here, model: str) -> int | None:
    """The window of what the name means, as a running roost knows it. Raises RoostClientError for an unknown name."""
    if not daemon_answers(place.paths):
        return None

    async def asked(client: DaemonClient) -> dict[str, Any]:
        return await client.model(model)

    found = ask_daemon(asked, place).get("roost", {}).get("context_length")
    return found if isinstance(found, int) else None


def places(place: Here) -> Places:
    from roost.connect.client import Places
    from roost.host.folders import application_settings

    home = Path(place.environ.get("HOME") or Path.home())
    config = place.environ.get("XDG_CONFIG_HOME")
    config_folder = Path(config) if config else home / ".config"
    return Places(home, config_folder, application_settings(home, config_folder), place.environ)


def _ledger(place: Here) -> Ledger:
    from roost.connect.files import Ledger

    return Ledger(place.paths.state / "connect")


def _opened(place: Here, client: Client) -> Settings:
    from roost.connect.files import open_settings

    assert client.file is not None, "callers ask first"
    return open_settings(client, client.file(places(place)))


def _list(place: Here, json_: bool) -> None:
    from roost.connect.clients import CLIENTS

    endpoint = find_endpoint(place)
    rows = [_row(place, client, endpoint) for client in CLIENTS]
    if json_:
        say_json([as_json(row) for row in rows])
        return
    say_all(table(rows))
    for row in rows:
        if row.problem:
            note(f"! {row.problem}")
    note(f'  this endpoint is {endpoint.url}; "roost connect NAME" shows what a program needs, --write sets it')


def _row(place: Here, client: Client, endpoint: Endpoint) -> Row:
    from roost.connect.standing import Standing, State, standing

    if client.file is None:
        return Row(client, None, False, Standing(State.BY_HAND), False)
    file = str(client.file(places(place)))
    written = _ledger(place).record(client) is not None
    try:
        settings = _opened(place, client)
        if settings.text is None:
            return Row(client, file, False, Standing(State.NO_FILE), written)
        return Row(client, file, True, standing(client, settings.value(), endpoint.url), written)
    except BadConfiguration as error:
        return Row(client, file, True, Standing(State.BROKEN), written, error.message)


def _print(wanted: _Wanted) -> None:
    from roost.connect.files import EDITORS
    from roost.connect.standing import snippet

    client = wanted.client
    if wanted.mint and client.file is not None:
        raise typer.BadParameter("--mint goes with --write: a key is made only for settings that get it")
    setup = client.setup(wanted.target(_key_in_words(wanted)))
    text = snippet(setup, EDITORS[client.format]) if client.format else ""
    file = str(client.file(places(wanted.place))) if client.file else None
    answer, beside = shown_lines(client, setup, file, text)
    say_all(answer)
    for line in beside:
        note(line)
    if wanted.mint:
        _say_once(wanted)
    else:
        _advise(wanted)


def _write(wanted: _Wanted) -> None:
    from roost.connect.client import KeyItself
    from roost.connect.standing import held_key

    client, place = wanted.client, wanted.place
    if client.file is None:
        raise Refused(
            f"cannot write the settings of {client.title}: it keeps them in its own database; "
            f'set what "roost connect {client.name}" shows'
        )
    ledger, settings = _ledger(place), _opened(place, client)
    record = ledger.record(client)
    into_file = wanted.mint and client.holds_key
    key = KeyItself("not made yet") if into_file else _key_in_words(wanted)
    target = wanted.target(key)
    held = None if wanted.mint or wanted.key else held_key(client, target, settings.value(), record)
    target = replace(target, key=held or target.key)
    # Whatever can go wrong goes wrong before a key is made.
    ledger.preview(settings, client.setup(target).edits, record)
    key_id = record.key_id if record and held else None
    if into_file:
        secret = key_file(place).add(client.name)
        key_id, target = secret.split("-")[1], replace(target, key=KeyItself(secret))
    setup = client.setup(target)
    changed = ledger.write(client, settings, setup.edits, key_id)
    _say_written(wanted, settings, setup, changed)
    if into_file:
        _replace_minted(place, record)
        note(f"  it has a key of its own now ({key_id}); only its owner may read that file")
    elif wanted.mint:
        _say_once(wanted)
    elif held is None:
        _advise(wanted)


def _say_written(wanted: _Wanted, settings: Settings, setup: Setup, changed: bool) -> None:
    client = wanted.client
    if changed:
        say(f"{client.title} asks {wanted.endpoint.url} for {wanted.model} now: wrote {settings.path}")
        note(f'  "roost connect {client.name} --restore" undoes it; before: {_ledger(wanted.place).backup(client)}')
    else:
        say(f"{client.title} asks {wanted.endpoint.url} for {wanted.model} already: nothing to write")
    for text in setup.notes:
        note(f"  {text}")


def _key_in_words(wanted: _Wanted) -> Key:
    from roost.connect.keys import referenced, usual

    if wanted.key is not None:
        return referenced(wanted.client, wanted.key)
    return usual(wanted.client, wanted.endpoint.needs_key or wanted.mint)


def _advise(wanted: _Wanted) -> None:
    from roost.connect.keys import advice

    if wanted.endpoint.needs_key and wanted.key is None:
        note(f"  {advice(wanted.client)}")
    if wanted.endpoint.url.startswith("https:"):
        note("  it must trust this endpoint's certificate; programs on Node.js read NODE_EXTRA_CA_CERTS=FILE")


def _say_once(wanted: _Wanted) -> None:
    """A key for a client whose settings hold none."""
    say(key_file(wanted.place).add(wanted.client.name))
    note("  that is its key: keep it now, it is not shown again; the settings above say where it belongs")


def _replace_minted(place: Here, record: Record | None) -> None:
    """The key of an earlier --mint has no owner any more."""
    keys = key_file(place)
    if record and record.key_id and any(each.key_id == record.key_id for each in keys.list()):
        keys.revoke(record.key_id)
        note(f"  its earlier key ({record.key_id}) is revoked")


def _restore(place: Here, client: Client, *, force: bool) -> None:
    from roost.connect.edits import shown

    ledger = _ledger(place)
    record = ledger.record(client)
    if record is None:
        raise Refused(f"cannot restore the settings of {client.title}: roost has written nothing there")
    settings = _opened_at(client, record)
    restored = ledger.restore(client, settings, record, force=force)
    say(f"{record.file}: " + ("removed, as it came with roost" if restored.text is None else "as before"))
    if record.key_id:
        note(f'  the key made for it is still good: "roost keys revoke {record.key_id}" ends that')
    if restored.changed:
        raise Refused(
            f"cannot undo {shown(restored.changed)} in {record.file}: changed since roost wrote it, so it stays; "
            "--force undoes that too"
        )


def _opened_at(client: Client, record: Record) -> Settings:
    """The file that was written, wherever variables point now."""
    from roost.connect.files import open_settings

    return open_settings(client, Path(os.fspath(record.file)))
