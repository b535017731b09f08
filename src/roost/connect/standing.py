"""How a client stands to this endpoint, and what its settings would say. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from roost.connect.client import Client, Key, KeyItself, Setup, Target
from roost.connect.edits import write
from roost.connect.types import Editor, Path, Record
from roost.connect.values import MISSING, digest, look_up


class State(StrEnum):
    HERE = "points here"
    ELSEWHERE = "points elsewhere"
    NOT_CONNECTED = "not connected"
    NO_FILE = "no settings file"
    BY_HAND = "set by hand"
    BROKEN = "broken settings"


@dataclass(frozen=True)
class Standing:
    state: State
    #: What its settings name; None: nothing.
    address: str | None = None


def standing(client: Client, value: object, base_url: str) -> Standing:
    """Of a client whose file is there, by the value of it."""
    address = _first_address(look_up(value, client.address_at))
    if address is None:
        return Standing(State.NOT_CONNECTED)
    here = address == base_url or address.startswith(f"{base_url}/")
    return Standing(State.HERE if here else State.ELSEWHERE, address)


def _first_address(value: object) -> str | None:
    if isinstance(value, str):
        return value if value.startswith(("http://", "https://")) else None
    inner = list(value.values()) if isinstance(value, dict) else value
    found = (_first_address(each) for each in inner) if isinstance(inner, list) else iter(())
    return next((address for address in found if address), None)


def snippet(setup: Setup, editor: Editor) -> str:
    """What would be in a file that has nothing else."""
    return write(None, editor, setup.edits, None).text


def held_key(client: Client, target: Target, value: object, record: Record | None) -> Key:
    """The key that roost made for this client and that its settings still hold; None: there is none."""
    if record is None or record.key_id is None:
        return None
    path = secret_path(client, target)
    kept = next((each for each in record.kept if each.path == path), None)
    present = look_up(value, path) if path else MISSING
    if kept is None or not isinstance(present, str) or digest(present) != kept.wrote:
        return None
    return KeyItself(present)


def secret_path(client: Client, target: Target) -> Path | None:
    """Where its settings hold a key."""
    edits = client.setup(replace(target, key=KeyItself(""))).edits
    return next((edit.path for edit in edits if edit.secret), None)
