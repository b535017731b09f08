"""What a requested name means: exactly one physical id, or an error that names what was meant. Pure.

The order: one of the roles that always exist, physical id, a role of the user's own, a redirect (the active profile, a
selector), alias, `name@node`, then an id that only a paired machine has. So a role that somebody names like a model
never serves other weights under that model's id. Nothing is ever substituted: a name that is near is shown in the
error, never taken.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, Protocol

from roost.config.settings import ModelSettings
from roost.errors import ModelNotFound
from roost.registry.types import AUXILIARY_ROLES, CHAT_ROLES, Redirect, Registry, Resolution

#: A name comes from a request and may be as long as its body: no more of it is compared or shown.
_NAME_CHARACTERS = 120
#: Names compared for the nearest one: an error must stay cheap whatever is on the disk.
_COMPARED_NAMES = 500
_CLOSE_ENOUGH = 0.5
_FIXED_ROLES = (*CHAT_ROLES, *AUXILIARY_ROLES)
_NO_ALIASES: Mapping[str, str] = MappingProxyType({})


class Elsewhere(Protocol):
    """The models of paired machines."""

    def knows(self, node: str) -> bool:
        """Whether a paired machine has this name."""
        ...

    def meaning(self, node: str, name: str, requested: str) -> str:
        """The physical id that a role or id means on a paired machine. Raises ModelNotFound."""
        ...

    def who_has(self, model_id: str) -> str | None:
        """The paired machine that has exactly this model; None: none of them."""
        ...


class _Names(NamedTuple):
    """Everything that a name is looked up in."""

    registry: Registry
    known: Container[str]
    known_ids: Iterable[str]
    #: Alias -> physical id.
    aliases: Mapping[str, str]
    local_node: str
    redirects: Sequence[Callable[[str], Redirect | None]] = ()
    elsewhere: Elsewhere | None = None


def aliases_of(models: Mapping[str, ModelSettings]) -> dict[str, str]:
    """The aliases of `settings.models`; of two models that claim one, the first keeps it (`config check` tells)."""
    owners: dict[str, str] = {}
    for model_id, model in models.items():
        for alias in model.aliases:
            owners.setdefault(alias, model_id)
    return owners


def all_roles(registry: Registry, known: Container[str] = ()) -> tuple[str, ...]:
    """The roles that always exist, then the user's own, without those that a model of the same id in `known` hides."""
    return (*_FIXED_ROLES, *(role for role in registry.roles if role not in _FIXED_ROLES and role not in known))


def hidden_roles(registry: Registry, known: Container[str]) -> tuple[str, ...]:
    """The user's own roles by whose name a request gets the model of that id."""
    return tuple(role for role in registry.roles if role not in _FIXED_ROLES and role in known)


def resolve(
    name: str,
    registry: Registry,
    *,
    known: Container[str],
    local_node: str,
    aliases: Mapping[str, str] = _NO_ALIASES,
    known_ids: Iterable[str] = (),
    redirects: Sequence[Callable[[str], Redirect | None]] = (),
    elsewhere: Elsewhere | None = None,
) -> Resolution:
    """The meaning of `name` on this node: a role, a physical id in `known`, an alias, or one of these `@node`.

    `elsewhere`: paired machines count too, and `Resolution.node` may be one of them; None: this machine alone.
    `redirects` are asked in turn for a name that is neither role nor id; what one of them says, only later ones change.
    `known_ids` is walked only for a name that is not found, to show the nearest. Raises ModelNotFound with the nearest
    role and the command that mends it.
    """
    names = _Names(registry, known, known_ids, aliases, local_node, redirects, elsewhere)
    direct = _resolve_plain(name, name, names)
    if direct is not None:
        return direct
    plain, at, node = name.rpartition("@")
    if not at or not plain:
        return _resolve_afar(name, names)
    if node != local_node:
        if elsewhere is None or not elsewhere.knows(node):
            raise _other_node(name, node, local_node)
        return Resolution(name, elsewhere.meaning(node, plain, name), node, None)
    found = _resolve_plain(plain, name, names)
    if found is None:
        raise _not_found(name, names)
    return replace(found, node=node)


def target_of(role: str, registry: Registry) -> tuple[str | None, bool]:
    """The entry that a role uses, and whether it is the default role's; (None, False) when there is none."""
    own = registry.roles.get(role)
    if own is not None or role in AUXILIARY_ROLES or role == "default":
        return own, False
    inherited = registry.roles.get("default")
    return inherited, inherited is not None


def split_node(target: str, known: Container[str]) -> tuple[str, str | None]:
    """`id@node` as its parts; an id that is known with its `@` stays whole."""
    model_id, at, node = target.rpartition("@")
    return (model_id, node) if at and model_id and target not in known else (target, None)


def _resolve_plain(name: str, requested: str, names: _Names) -> Resolution | None:
    if name in _FIXED_ROLES:
        return _resolve_role(name, requested, names)
    if name in names.known:
        return Resolution(requested, name, None, None)
    if name in names.registry.roles:
        return _resolve_role(name, requested, names)
    for number, redirect in enumerate(names.redirects, 1):
        if (found := redirect(name)) is not None:
            return _redirected(found, name, requested, names._replace(redirects=names.redirects[number:]))
    if name in names.aliases and names.aliases[name] in names.known:
        return Resolution(requested, names.aliases[name], None, None, alias=name)
    return None


def _resolve_afar(name: str, names: _Names) -> Resolution:
    node = names.elsewhere.who_has(name) if names.elsewhere is not None else None
    if node is None:
        raise _not_found(name, names)
    return Resolution(name, name, node, None)


def _redirected(redirect: Redirect, name: str, requested: str, names: _Names) -> Resolution:
    if not redirect.target:
        raise ModelNotFound(
            f"cannot serve {_shown(requested)}: the active {redirect.why} makes this name mean nothing", param="model"
        )
    found = _resolve_plain(redirect.target, requested, names)
    if found is None:
        raise ModelNotFound(
            f"cannot serve {_shown(requested)}: {_shown(name)} means {_shown(redirect.target)} now ({redirect.why}), "
            f'which no node has, nothing was substituted; see "roost models"',
            param="model",
        )
    return replace(found, via=(redirect.why, *found.via))


def _resolve_role(role: str, requested: str, names: _Names) -> Resolution:
    target, via_default = target_of(role, names.registry)
    if target is None:
        raise _no_entry(requested, role)
    model_id, node = split_node(target, names.known)
    elsewhere = names.elsewhere
    if node is not None and node != names.local_node:
        if elsewhere is None or not elsewhere.knows(node):
            raise _other_node(requested, node, names.local_node, model_id)
        return Resolution(requested, elsewhere.meaning(node, model_id, requested), node, role, via_default)
    if model_id not in names.known:
        if node is None and elsewhere is not None and (holder := elsewhere.who_has(model_id)) is not None:
            return Resolution(requested, model_id, holder, role, via_default)
        raise _role_without_model(requested, "default" if via_default else role, model_id, names)
    return Resolution(requested, model_id, node, role, via_default)


def _no_entry(requested: str, role: str) -> ModelNotFound:
    if role in AUXILIARY_ROLES:
        why = f"role {role} has no model, and a chat model never takes its place"
        return ModelNotFound(f'cannot serve {_shown(requested)}: {why}; run "roost use {role} ID"', param="model")
    why = "role default has no model" if role == "default" else f"neither role {role} nor role default has a model"
    return ModelNotFound(f'cannot serve {_shown(requested)}: {why}; run "roost use default ID"', param="model")


def _role_without_model(requested: str, role: str, model_id: str, names: _Names) -> ModelNotFound:
    near = _nearest(model_id, names.known_ids)
    hint = f"; nearest model {near}" if near else ""
    return ModelNotFound(
        f"cannot serve {_shown(requested)}: role {role} is {_shown(model_id)}, which no node has, nothing was "
        f'substituted{hint}; run "roost models add {_clipped(model_id)}" or "roost use {role} ID"',
        param="model",
    )


def _other_node(requested: str, node: str, local_node: str, model_id: str | None = None) -> ModelNotFound:
    what = f"{_shown(model_id)} on node" if model_id else "node"
    return ModelNotFound(
        f"cannot serve {_shown(requested)}: it means {what} {_shown(node)}, and this node ({local_node}) is linked to "
        'no node of that name, nothing was substituted; see "roost models"',
        param="model",
    )


def _not_found(name: str, names: _Names) -> ModelNotFound:
    return ModelNotFound(
        f'cannot serve {_shown(name)}: no node has it, nothing was substituted{_hint(name, names)}; see "roost models"',
        param="model",
    )


def _hint(name: str, names: _Names) -> str:
    """The nearest role with its model, else the nearest model, else what role default is."""
    roles = names.registry.roles
    by_model = {target: role for role, target in reversed(tuple(roles.items()))}
    near = _nearest(name, dict.fromkeys((*roles, *by_model, *names.aliases, *names.known_ids)))
    if near is None:
        return f"; role default is {roles['default']}" if "default" in roles else ""
    role = near if near in roles else by_model.get(near)
    return f"; nearest role {role} → {roles[role]}" if role else f"; nearest model {near}"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    """The likeliest meaning: names are compared without case, and by their last part too (`org/name`)."""
    folded: dict[str, str] = {}
    for candidate, _ in zip(names, range(_COMPARED_NAMES), strict=False):
        folded.setdefault(candidate.casefold(), candidate)
        folded.setdefault(candidate.rpartition("/")[2].casefold(), candidate)
    near = difflib.get_close_matches(_clipped(name).casefold(), folded, 1, _CLOSE_ENOUGH)
    return folded[near[0]] if near else None


def _clipped(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"


def _shown(name: str) -> str:
    """In quotes, control characters escaped, cut to a line."""
    return repr(_clipped(name))
