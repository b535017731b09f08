"""Which key a client gets, and how its settings say it. Pure."""

from __future__ import annotations

import re

from roost.connect.client import KEY_VARIABLE, Client, KeyInVariable, Reference
from roost.errors import BadConfiguration

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


def referenced(client: Client, wanted: str) -> KeyInVariable:
    """The key that `--key env:NAME` means. Raises BadConfiguration, which never shows what was given."""
    found = _REFERENCE.fullmatch(wanted)
    if found is None:
        raise BadConfiguration(
            "cannot take that key: everybody on this machine reads command lines; name the variable that holds it, as "
            "in --key env:ROOST_API_KEY, or let --mint make one"
        )
    if client.reference is Reference.STORE:
        raise BadConfiguration(f"cannot use --key: {client.title} keeps keys itself; leave it out and see what it says")
    if client.reference is Reference.NONE:
        raise BadConfiguration(
            f"cannot use --key: the settings of {client.title} know no variables; --write --mint puts a key of its own "
            "into them"
        )
    if client.reference is Reference.FIXED_VARIABLE and found[1] != KEY_VARIABLE:
        raise BadConfiguration(f"cannot use that variable: {client.title} reads {KEY_VARIABLE} and no other")
    return KeyInVariable(found[1])


def usual(client: Client, needed: bool) -> KeyInVariable | None:
    """What the settings say when nobody said anything: a reference where a key is needed."""
    return KeyInVariable(KEY_VARIABLE) if needed and client.reference is not Reference.NONE else None


def advice(client: Client) -> str:
    """What to do where a key is needed and none was given."""
    make = f'make one with "roost keys add {client.name}"'
    match client.reference:
        case Reference.VARIABLE | Reference.FIXED_VARIABLE:
            also = ", or let --write --mint do it" if client.holds_key else ""
            return f"this endpoint needs a key: {make} and export it as {KEY_VARIABLE}{also}"
        case Reference.STORE:
            return f"this endpoint needs a key: {make}"
        case Reference.NONE:
            return "this endpoint needs a key: --write --mint makes one and puts it into these settings"
