"""What paired machines say to each other, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from roost.nodes.peers import ADDRESS, MOST_ADDRESSES
from roost.nodes.types import PeerModel

#: Of a model's id, and of a word such as its state.
_LONGEST_ID, _LONGEST_WORD = 512, 40
_MOST_NAMES = 4096
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

    def sound_models(self) -> tuple[PeerModel, ...]:
        """Those that could be asked for; a machine may say anything, and its models are looked through at requests."""
        told = (model for model in self.models if _is_name(model.id) and len(model.state) <= _LONGEST_WORD)
        return tuple(model.seen() for model, _ in zip(told, range(_MOST_NAMES), strict=False))

    def sound_roles(self) -> dict[str, str]:
        told = ((role, to) for role, to in self.roles.items() if _is_name(role) and _is_name(to))
        return {role: to for (role, to), _ in zip(told, range(_MOST_NAMES), strict=False)}


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_ID and text.isprintable()


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
