"""Which files of a hub repository make one model. Pure: decides from the listing alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from roost.catalog.compose import quantization_tag
from roost.catalog.gguf_facts import split_stem
from roost.catalog.refusal import ModelRefused

#: Everything else stays on the hub: above all `*.py`, `*.bin` and other pickles.
ALLOWED_PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.gguf")
#: Best first: small enough for most machines, good enough for most work.
PREFERRED_QUANTIZATIONS = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "MXFP4", "MXFP4_MOE", "IQ4_XS", "IQ4_NL", "Q4_1", "Q4_0", "Q5_K_M", "Q5_K_S",
    "Q6_K", "Q8_0", "Q3_K_M", "BF16", "F16", "FP16", "F32",
)  # fmt: skip

_REPOSITORY = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?::(?P<quantization>[\w.-]{1,96}))?"
)
_SHARD = re.compile(r"^model(?:-\d{5}-of-\d{5})?\.safetensors$")
_PROJECTOR_ORDER = ("F16", "BF16", "Q8_0", "F32")


@dataclass(frozen=True)
class HubRequest:
    repository: str
    quantization: str | None

    @property
    def model_id(self) -> str:
        """As it was asked for; the choice may add a quantization."""
        return f"{self.repository}:{self.quantization}" if self.quantization else self.repository


@dataclass(frozen=True)
class Choice:
    model_id: str
    #: Repository paths to fetch, small ones first: a config that is refused costs no weights.
    files: tuple[str, ...]
    #: The first GGUF, or None for a safetensors folder.
    primary: str | None
    projector: str | None = None


def parse_hub_id(text: str) -> HubRequest | None:
    """`org/repo` or `org/repo:QUANT`; None when it is neither."""
    match = _REPOSITORY.fullmatch(text)
    return HubRequest(match["repository"], match["quantization"]) if match else None


def choose(request: HubRequest, sizes: Mapping[str, int]) -> Choice:
    """The files to fetch of a repository listing (path -> bytes). Raises ModelRefused with what is there instead."""
    allowed = [name for name in sorted(sizes) if is_allowed(name)]
    ggufs = [name for name in allowed if name.lower().endswith(".gguf")]
    models = [name for name in ggufs if "mmproj" not in name.lower()]
    if models:
        return _choose_gguf(request, models, [name for name in ggufs if name not in models])
    if request.quantization:
        raise ModelRefused(f"cannot fetch {request.model_id}: {request.repository} holds no GGUF files to choose from")
    return _choose_folder(request, allowed, sizes)


def is_allowed(name: str) -> bool:
    """Whether a repository path may be fetched at all."""
    base = name.rsplit("/", 1)[-1]
    return ".." not in name.split("/") and any(fnmatch(base.lower(), pattern) for pattern in ALLOWED_PATTERNS)


def _choose_gguf(request: HubRequest, models: list[str], projectors: list[str]) -> Choice:
    variants: dict[str, list[str]] = {}
    for name in models:
        variants.setdefault(_variant(name), []).append(name)
    wanted = _wanted(request, variants)
    parts = variants[wanted]
    projector = min(projectors, key=_projector_rank, default=None)
    model_id = request.repository if len(variants) == 1 and _untagged(parts[0]) else f"{request.repository}:{wanted}"
    return Choice(model_id, (*([projector] if projector else []), *parts), parts[0], projector)


def _variant(name: str) -> str:
    """What tells a repository's GGUF models apart: the quantization in the name, else the stem."""
    return quantization_tag(name) or split_stem(name.rsplit("/", 1)[-1])


def _untagged(name: str) -> bool:
    return quantization_tag(name) is None


def _wanted(request: HubRequest, variants: Mapping[str, list[str]]) -> str:
    if request.quantization is None:
        return best_variant(variants)
    for variant in variants:
        if variant.lower() == request.quantization.lower():
            return variant
    raise ModelRefused(
        f"cannot fetch {request.model_id}: {request.repository} has {', '.join(sorted(variants))}; "
        f"add {request.repository}:{best_variant(variants)}"
    )


def best_variant(variants: Iterable[str]) -> str:
    """The preferred one of several quantizations; the first by name when none is known."""

    def rank(variant: str) -> tuple[int, str]:
        known = variant in PREFERRED_QUANTIZATIONS
        return (PREFERRED_QUANTIZATIONS.index(variant) if known else len(PREFERRED_QUANTIZATIONS), variant)

    return min(variants, key=rank)


def _projector_rank(name: str) -> tuple[int, str]:
    tag = quantization_tag(name)
    return (_PROJECTOR_ORDER.index(tag) if tag in _PROJECTOR_ORDER else len(_PROJECTOR_ORDER), name)


def _choose_folder(request: HubRequest, allowed: list[str], sizes: Mapping[str, int]) -> Choice:
    """The repository's top level (and the pooling module of embedding models), as MLX and transformers read it."""
    top = [name for name in allowed if "/" not in name or name == "1_Pooling/config.json"]
    weights = [name for name in top if name.endswith(".safetensors")]
    if not weights or "config.json" not in top:
        raise ModelRefused(
            f"cannot fetch {request.repository}: it holds neither GGUF files nor safetensors with a config.json; "
            "pickles are not read, look for a conversion"
        )
    shards = [name for name in weights if _SHARD.match(name)] or weights
    small = sorted((name for name in top if name not in weights), key=lambda name: (name != "config.json", name))
    return Choice(request.repository, (*small, *sorted(shards, key=lambda name: (sizes[name], name))), None)
