"""A provider's address as its requests need it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

#: `/v1beta/openai`, `/api/paas/v4`: an address with a version of its own is complete.
_VERSION = re.compile(r"v\d+\w*")
#: Who reads `max_tokens` no more.
_NEW_CAP_HOSTS = ("api.openai.com",)


@dataclass(frozen=True)
class Address:
    """`base` goes before each path and ends without a slash."""

    base: str
    #: It has a version of its own: the `/v1` of a path is left out.
    versioned: bool

    def path(self, path: str) -> str:
        """Behind `base`, for a path that begins with `/v1`."""
        return path.removeprefix("/v1") if self.versioned else path

    @property
    def host(self) -> str:
        return urlsplit(self.base).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.base).port or (443 if self.is_tls else 80)

    @property
    def is_tls(self) -> bool:
        return self.base.startswith("https:")

    @property
    def max_tokens_field(self) -> str:
        """In which it reads how many tokens may be generated."""
        return "max_completion_tokens" if self.host in _NEW_CAP_HOSTS else "max_tokens"


def address_of(url: str) -> Address:
    """Of a base URL with or without `/v1`."""
    base = url.rstrip("/").removesuffix("/v1").rstrip("/")
    segments = urlsplit(base).path.split("/")
    return Address(base, any(_VERSION.fullmatch(segment) for segment in segments))
