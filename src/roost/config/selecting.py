"""Names that mean one of several models, and profiles of names; a part of the settings."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from roost.config.section import Section


class Strategy(StrEnum):
    #: The first target that is loaded, else the first that is loading, else the first.
    WARM = "warm"
    #: Always the first target.
    PIN = "pin"
    #: The least busy of the loaded targets; the next one when each of these has `spillover` requests.
    SPILLOVER = "spillover"


class SelectorSettings(Section):
    """`[selectors.NAME]`: a name like a role, which means one of several models, chosen at each request. The answer
    says which one it was; `x-roost-fallback: never` asks for the first target alone."""

    strategy: Strategy = Field(
        description="warm: the first target that is loaded, else one that is loading, else the first; pin: the first; "
        "spillover: the least busy of the loaded ones, and the next when each has `spillover` requests."
    )
    targets: tuple[str, ...] = Field(description="Physical ids or aliases, the preferred one first.")
    spillover: int = Field(1, ge=1, description="Requests that a loaded target takes before the next one is used.")
    name: str = Field("", description="Shown beside it in lists.")
    description: str = Field("", description="What it is for, shown in lists.")
    unlisted: bool = Field(False, description="Not listed, though whoever knows its name may use it.")


class ProfileSettings(Section):
    """`[profiles.NAME]`: what some names mean while this profile is the active one. `PUT /api/profiles/active` changes
    that, until the next start. A physical id and a role are never changed by a profile."""

    description: str = Field("", description="What it is for, shown in lists.")
    pins: dict[str, str] = Field(
        default_factory=dict,
        description='Name -> physical id, alias or selector; "" makes the name unknown (404).',
    )
