"""What paired machines say to each other, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from roost.nodes.peers import ADDRESS, MOST_ADDRESSES
from roost.nodes.types import PeerModel

_Address = Annotated[str, StringConstraints(pattern=ADDRESS)]
_Addresses = Annotated[tuple[_Address, ...], Field(max_length=MOST_ADDRESSES)]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Certificate = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelSaid(Said):
    """A model of the machine that answers."""

    id: str
    fingerprint: str
    state: str
    context_length: int | None
    capabilities: frozenset[str]
    running: int = 0
    queued: int = 0
    verdict: str | None = None

    def seen(self) -> PeerModel:
        return PeerModel(**{name: getattr(self, name) for name in type(self).model_fields})


class PeerStatus(Said):
    """How the machine that answers stands: `GET /roost/v1/peer/status`."""

    name: str
    version: str
    draining: bool
    #: Where it can be reached now.
    addresses: _Addresses = ()
    models: tuple[ModelSaid, ...] = ()
    #: role -> physical id
    roles: dict[str, str] = Field(default_factory=dict)
    budget_bytes: int | None = None
    free_bytes: int | None = None


class News(Said):
    """Body of `POST /roost/v1/peer/renew`: where the machine that asks can be reached now."""

    addresses: _Addresses


class Joining(Said):
    """Body of `POST /roost/v1/peer/join`."""

    invite: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    name: _Name
    #: Its identity certificate, PEM.
    certificate: _Certificate
    addresses: _Addresses = ()
    #: That it knows the secret of the invite, over both keys.
    proof: _Digest = Field(repr=False)
    #: Of its key over the transcript, in hex.
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,300}$")]


class Joined(Said):
    """The answer to it."""

    name: _Name
    certificate: _Certificate
    addresses: _Addresses = ()
    proof: _Digest = Field(repr=False)
