"""Endpoint URLs as people write them: with and without `/v1`, with and without a slash at the end."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit, urlunsplit

from roost.errors import BadConfiguration

_SHOWN_CHARACTERS = 120


def root_url(value: str) -> str:
    """The server's address without `/v1`: `http://localhost:11434`.

    Raises BadConfiguration when it is no http(s) URL, or holds a password, a query or a fragment.
    """
    try:
        parts = urlsplit(value.strip())
        refusal = _refusal(parts)
    except ValueError as error:
        raise _unusable(value, str(error)) from error
    if refusal:
        raise _unusable(value, refusal)
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, "", ""))


def api_url(value: str) -> str:
    """The address of the OpenAI routes, always ending in `/v1`. Raises as `root_url`."""
    return f"{root_url(value)}/v1"


def _refusal(parts: SplitResult) -> str | None:
    if parts.scheme.lower() not in ("http", "https"):
        return "it does not begin with http:// or https://"
    if not parts.hostname or parts.port == 0:
        return "it names no host or an impossible port"
    if "@" in parts.netloc:
        return "it holds a user or password, and keys have settings of their own"
    if parts.query or parts.fragment:
        return "it has a query or a fragment"
    return None


def _unusable(value: str, reason: str) -> BadConfiguration:
    # what stands before an @ may be a key
    shown = value.strip().rpartition("@")[2][:_SHOWN_CHARACTERS]
    return BadConfiguration(f"cannot use the endpoint {shown!r}: {reason}; write http://HOST:PORT/v1")
