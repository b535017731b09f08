"""`roost keys …`: who may call this endpoint."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roost.cli.doors import ask_daemon, daemon_answers, here, key_file, load_settings
from roost.cli.format import columns, duration
from roost.cli.models import JsonOption
from roost.cli.output import note, say, say_all, say_json
from roost.errors import Refused
from roost.store.keys import Limits

if TYPE_CHECKING:
    from roost.store.keys import KeyRecord

HEADER = ("ID", "NAME", "MADE", "EXPIRES", "MAY USE", "REQUESTS", "TOKENS IN + OUT")
SECONDS_OF = {"h": 3600, "d": 86400, "w": 7 * 86400}
LIFETIME = re.compile(r"(\d+)([hdw])")


def lifetime_s(text: str) -> int:
    """Seconds of `12h`, `30d` or `8w`. Raises BadParameter."""
    found = LIFETIME.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f'"{text}" is no lifetime: write 12h, 30d or 8w')
    return int(found[1]) * SECONDS_OF[found[2]]


def names_in(text: str | None) -> tuple[str, ...] | None:
    """The names of `coding,default`. Raises BadParameter when there is none."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise typer.BadParameter("name at least one role or id: --roles coding,default")
    return names


def keys_add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for; shown in lists and logs.")],
    expires_in: Annotated[
        str | None, typer.Option("--expires", "--expires-in", metavar="TIME", help="12h, 30d, 8w; left out: never.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May also manage this roost over HTTP.")] = False,
    roles: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Roles and ids that it may ask for, with commas between; left out: any."),
    ] = None,
    rpm: Annotated[
        int | None, typer.Option("--rpm", metavar="N", min=1, help="Requests a minute; left out: no limit.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Requests at once; left out: no limit.")
    ] = None,
    no_cloud: Annotated[
        bool, typer.Option("--no-cloud", help="Its requests never go to a provider, whatever the settings say.")
    ] = False,
    cloud_usd_per_day: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="What its requests may cost at clouds in a day; left out: no limit."),
    ] = None,
) -> None:
    """Make a key and print it, once: only its hash is kept.

    From the first key on every client needs one, those on this machine too.

    \b
    Examples:
      roost keys add laptop
      roost keys add ci --expires 30d --roles coding,default --rpm 30 --concurrency 2
      roost keys add notes --no-cloud
    """
    limits = Limits(names_in(roles), rpm, concurrency, no_cloud, cloud_usd_per_day)
    keys = key_file(here())
    first = not keys.configured()
    expires_at = time.time() + lifetime_s(expires_in) if expires_in else None
    say(keys.add(name, expires_at=expires_at, admin=admin, limits=limits))
    note("  keep it now: it is not shown again; clients send it as their API key")
    if first:
        note("  this is the first key: from now on every request needs one, those of this machine too")


def keys_list(as_json: JsonOption = False) -> None:
    """List keys by public id and name, what each may, and what was asked with it as far as a running roost knows.

    The secrets are not known here.

    \b
    Example:
      roost keys list
    """
    place = here()
    keys = key_file(place)
    found, now = keys.list(), time.time()
    used = ask_daemon(lambda client: client.usage(), place) if found and daemon_answers(place.paths) else {}
    if as_json:
        say_json([key.model_dump(exclude={"sha256"}) | {"usage": used.get(key.name)} for key in found])
    elif found:
        say_all(columns([HEADER, *(_row(key, used.get(key.name), now) for key in found)]))
    elif shut := keys.shut_out():
        note(f'there are no keys: {shut}; "roost keys add NAME" makes one')
    else:
        note('there are no keys: whoever can reach the loopback address may ask; "roost keys add NAME" changes that')


def _row(key: KeyRecord, used: dict[str, Any] | None, now: float) -> tuple[str, ...]:
    if key.expires_at is None:
        expires = "never"
    else:
        expires = "expired" if key.expired(now) else f"in {duration(key.expires_at - now)}"
    asked = f"{used['requests']:,} ({duration(now - used['last_at'])} ago)" if used else "-"
    tokens = f"{used['prompt_tokens']:,} + {used['completion_tokens']:,}" if used else "-"
    made = f"{duration(now - key.created_at)} ago"
    return (key.key_id, key.name, made, expires, _allowed(key), asked, tokens)


def _allowed(key: KeyRecord) -> str:
    """What it may, in a few words."""
    if key.admin:
        return "everything but clouds" if key.no_cloud else "everything"
    said = [",".join(key.names) if key.names else "any model"]
    if key.requests_per_minute:
        said.append(f"{key.requests_per_minute} a minute")
    if key.requests_at_once:
        said.append(f"{key.requests_at_once} at once")
    if key.no_cloud:
        said.append("no cloud")
    elif key.cloud_usd_per_day is not None:
        said.append(f"{key.cloud_usd_per_day:g} USD a day at clouds")
    return ", ".join(said)


def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help='Public id, as "roost keys list" shows it.')],
) -> None:
    """Make a key useless from now on; a running roost notices.

    After the last one nobody gets in over HTTP, until you make a key or open the loopback address again.

    \b
    Example:
      roost keys revoke 3f9ac1d20b7e
    """
    keys = key_file(here())
    gone = keys.revoke(key)
    say(f"revoked {gone.key_id} ({gone.name})")
    if shut := keys.shut_out():
        note(f"  that was the last key: {shut}")


def keys_open_loopback() -> None:
    """Let this machine's programs in without a key again, as before the first one.

    It is refused while keys exist, and where gateway.host is an address that other machines reach.

    \b
    Example:
      roost keys open-loopback
    """
    from roost.config.check import is_loopback

    place = here()
    host = load_settings(place).settings.gateway.host
    if not is_loopback(host):
        raise Refused(f"cannot open it: gateway.host is {host}, which other machines reach; there keys are obligatory")
    key_file(place).open_loopback()
    say("open: programs on this machine need no key, and may load, unload and change roles")
