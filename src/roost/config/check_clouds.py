"""The tables of providers elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from roost.api import Problem
from roost.config.check_models import unknown_capabilities
from roost.config.far import CloudSettings, key_reference
from roost.config.findings import Facts, error, warning
from roost.config.schema import dotted
from roost.config.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_clouds(settings: Settings, facts: Facts) -> Iterator[Problem]:
    for name, cloud in settings.clouds.items():
        place = dotted(("clouds", name))
        if not name or "/" in name or not name.isprintable():
            yield error(f"[{place}]: a candidate could not name this cloud", "use a name without a slash")
        yield from _check_address(f"{place}.url", cloud.url)
        if key_reference(cloud.api_key) is None:
            # The value may be the key itself: it is not repeated here.
            yield error(
                f"{place}.api_key is not a reference: a key never stands in a file",
                'write "env:NAME", "keyring:SERVICE/USER" or "cmd:COMMAND"',
            )
        yield from _check_models(place, cloud)


def _check_address(place: str, url: str) -> Iterator[Problem]:
    """A URL may hold a password, so it is not repeated."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        yield error(f"{place} is not a base URL", "write it like https://api.openai.com/v1")
    elif parts.username is not None or parts.password is not None:
        yield error(f"{place} holds a user or password", "remove it; the key belongs behind api_key")
    elif parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        yield warning(f"{place} is http: key and prompts cross the network in the clear", "write https://")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if url.isascii() and url.isprintable() and " " not in url else None


def _check_models(place: str, cloud: CloudSettings) -> Iterator[Problem]:
    for model_id, model in cloud.models.items():
        own = dotted(("models", model_id))
        yield from unknown_capabilities(f"{place}.{own}.capabilities", model.capabilities)
        if (model.usd_per_million_input is None) != (model.usd_per_million_output is None):
            yield error(f"{place}.{own}: usd_per_million_input and usd_per_million_output belong together", "set both")
