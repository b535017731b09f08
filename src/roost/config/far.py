"""Where requests may go beyond this machine, and what may never leave it; a part of the settings."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from roost.config.section import Section

CANDIDATES = (
    "Where a request for it may go, the preferred one first; empty: this machine alone. `local` (what the registry "
    "says; of a class: role default), `local/NAME`, `NODE/NAME` of a paired machine, `cloud:NAME/MODEL`. A table sets "
    "conditions beside `to`; all of them must hold."
)
#: Where a server lets paired machines in.
DOOR_PORT = 11443
PRIVATE = "Its requests never go to a cloud, whatever its candidates say."


class CandidateSettings(Section):
    """One place where a request may go, and when. A bare string is the place alone."""

    to: str = Field(description="`local`, `local/NAME`, `NODE/NAME` or `cloud:NAME/MODEL`.")
    min_prompt_tokens: int | None = Field(None, ge=0, description="Only prompts of about so many tokens or more.")
    max_prompt_tokens: int | None = Field(None, ge=1, description="Only prompts of about so many tokens or fewer.")
    tools: bool | None = Field(None, description="Only requests with tools (true) or without (false).")
    images: bool | None = Field(None, description="Only requests with images (true) or without (false).")
    verified: bool = Field(False, description="Only while `roost models verify` finds its model fit for tools.")
    most_waiting: int | None = Field(None, ge=0, description="Not while more requests than these run or wait there.")
    between: str | None = Field(
        None, pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$", description="Local time: 22:00-06:30."
    )
    on_battery: bool | None = Field(None, description="Only while this machine runs on battery (true) or not (false).")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value


class ClassSettings(Section):
    """`[classes.NAME]`: a kind of work, such as review or pre-commit. A request names it as its model or in the header
    `x-roost-class`; then it goes where the class says."""

    candidates: tuple[CandidateSettings, ...] = Field((), description=CANDIDATES)
    private: bool = Field(False, description=PRIVATE)
    requires: tuple[str, ...] = Field((), description="What the model must be able to do, such as tools or vision.")
    description: str = Field("", description="What it is for, shown in lists.")


class PrivacySettings(Section):
    """What never leaves the machines of yours. Paired machines are yours; a cloud is not."""

    local_only: bool = Field(False, description="No request goes to a cloud, whatever else is set.")
    secrets: Literal["stay", "refuse"] = Field(
        "stay",
        description="A request whose text holds what looks like a secret (a key, a token, a password) never goes to a "
        "cloud. stay: its other candidates serve it; refuse: it is 403 before any cloud would have been asked.",
    )


class WakeSettings(Section):
    """How a machine that sleeps is woken for a request."""

    mac: str | None = Field(
        None, pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", description="Wake-on-LAN: its hardware address."
    )
    command: str | None = Field(None, description="A command line that wakes it. No shell.")


class NodesSettings(Section):
    """This machine among others of yours."""

    name: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,64}$", description="Its name; empty: the host's.")
    listen: str = Field(
        "auto",
        pattern=r"^(auto|off|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5})$",
        description="HOST:PORT where paired machines, and clients with a key, come in over TLS. auto: 0.0.0.0:11443 "
        "with the profile server, nothing on a workstation; off: nothing.",
    )
    advertise: tuple[str, ...] = Field(
        (), description="Names or addresses under which others reach this machine; empty: those that it finds itself."
    )
    look_every_s: float = Field(2.0, gt=0, description="How often a paired machine is asked how it stands.")
    connect_timeout_s: float = Field(3.0, gt=0, description="A machine that takes no connection for so long is away.")
    accept_models: tuple[str, ...] = Field(
        (), description='Paired machines that may put models on this disk, by name; "*": all of them.'
    )
    wake: dict[str, WakeSettings] = Field(
        default_factory=dict, description="Machines that sleep, by name; one is woken for a request, never by a look."
    )

    def door(self, profile: str) -> tuple[str, int] | None:
        """Host and port where others come in, with this profile; None: nowhere."""
        if self.listen == "auto":
            return ("0.0.0.0", DOOR_PORT) if profile == "server" else None
        if self.listen == "off":
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class KeyReference:
    """Where a key lies; `value` is a variable, `SERVICE/USER` or a command line."""

    kind: Literal["env", "keyring", "cmd"]
    value: str


_REFERENCE = re.compile(r"env:(?P<env>[A-Za-z_][A-Za-z0-9_]*)|keyring:(?P<keyring>[^/\s]+/\S+)|cmd:(?P<cmd>.*\S.*)")


def key_reference(text: str) -> KeyReference | None:
    """None for anything else, which may be a key itself: whoever tells of it must not repeat it."""
    if (found := _REFERENCE.fullmatch(text)) is None:
        return None
    match found.lastgroup:
        case "env" | "keyring" as kind:
            return KeyReference(kind, found[kind])
    try:
        words = shlex.split(found["cmd"])
    except ValueError:  # a quotation without an end
        return None
    return KeyReference("cmd", found["cmd"]) if words else None


class CloudModelSettings(Section):
    """What is known of one model of a provider."""

    context_length: int | None = Field(None, ge=1, description="Its window in tokens.")
    capabilities: tuple[str, ...] = Field(("chat", "tools", "vision"), description="What it can do.")
    usd_per_million_input: float | None = Field(None, ge=0, description="Instead of the price that roost knows.")
    usd_per_million_output: float | None = Field(None, ge=0, description="Instead of the price that roost knows.")


class CloudSettings(Section):
    """`[clouds.NAME]`: a provider that requests may go to, where a role or class has it among its candidates."""

    kind: Literal["openai", "anthropic"] = Field("openai", description="The protocol that it speaks.")
    url: str = Field(description="Base URL, with or without /v1.")
    api_key: str = Field(
        description="Reference to its key, looked up at each use: env:NAME, keyring:SERVICE/USER or cmd:COMMAND; never "
        "the key itself."
    )
    models: dict[str, CloudModelSettings] = Field(
        default_factory=dict, description="The models that may be asked there, by id; empty: any."
    )
    max_usd_per_day: float | None = Field(
        None,
        ge=0,
        description="Spent there in a day, at most; unset: no limit. A model whose price nobody knows is "
        "refused while there is a limit.",
    )
    first_byte_s: float = Field(60.0, gt=0, description="An answer that has not begun for so long is given up.")
    idle_s: float = Field(60.0, gt=0, description="A stream that is silent for so long is given up.")
