"""Values of the registry room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: Roles that always exist; without an entry each resolves like `default`.
CHAT_ROLES = ("default", "coding", "quickest", "tool-calling", "large-context", "most-capable", "oss")
#: Roles that never fall back to a chat model.
AUXILIARY_ROLES = ("embedding", "rerank")


@dataclass(frozen=True)
class Registry:
    """One valid reading of registry.json."""

    #: role -> physical id, optionally `id@node`.
    roles: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    endpoints: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: roost's own optional object in the file.
    roost: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    #: sha256 of the bytes it was read from; "" when there is no file.
    digest: str = ""


@dataclass(frozen=True)
class RegistryProblem:
    """Why the file on disk is not the one that serves."""

    message: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class RegistryState:
    """What serves now, and what is wrong with the file if anything."""

    registry: Registry
    problem: RegistryProblem | None = None


@dataclass(frozen=True)
class Resolution:
    """What a requested name means."""

    requested: str
    #: Exactly one physical id, without `@node`.
    model_id: str
    #: The node named by `id@node`, or the paired machine that alone has it; `cloud:NAME` for a provider's; None: here.
    node: str | None
    #: The role that was asked for, None when an id or alias was.
    role: str | None
    #: Set when a chat role had no entry of its own.
    via_default: bool = False
    alias: str | None = None
    #: Why a name that was redirected came to this model, in the order of the redirects; empty: it was not.
    via: tuple[str, ...] = ()


@dataclass(frozen=True)
class Redirect:
    """What a name that is no model's means now."""

    #: A physical id or an alias, or a name that a later redirect knows; "": the name means nothing now.
    target: str
    #: A word for the route's reason.
    why: str
