"""The places that a name's candidates mean: `local`, `local/NAME`, `NODE/NAME`, `cloud:NAME/MODEL`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LOCAL = "local"
CLOUD_PREFIX = "cloud:"


class Kind(StrEnum):
    LOCAL = "local"
    NODE = "node"
    CLOUD = "cloud"


@dataclass(frozen=True)
class Place:
    """Where a request may go."""

    kind: Kind
    #: The paired machine or the provider; "" for this machine.
    where: str = ""
    #: What is asked for there; None: what the registry says of the name itself.
    name: str | None = None


def parse_place(text: str) -> Place:
    """One candidate as the settings write it. Raises ValueError with a sentence that says what is wrong."""
    head, slash, name = text.partition("/")
    if not head.strip() or head != head.strip() or (slash and not name.strip()):
        raise ValueError(f'"{text}" is no place: write local, local/NAME, NODE/NAME or cloud:NAME/MODEL')
    if head == LOCAL:
        return Place(Kind.LOCAL, "", name or None)
    if not name:
        raise ValueError(f'"{text}" names no model there: write {text}/NAME')
    if not head.startswith(CLOUD_PREFIX):
        return Place(Kind.NODE, head, name)
    cloud = head.removeprefix(CLOUD_PREFIX)
    if not cloud:
        raise ValueError(f'"{text}" names no provider: write cloud:NAME/MODEL')
    return Place(Kind.CLOUD, cloud, name)
