"""From what headers say to the ModelSpec of one id. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roost.catalog.digest import fingerprint
from roost.catalog.facts import Facts
from roost.catalog.spec import ModelFile, ModelSpec, Source

#: The model that roost brings along, recognized by its header wherever it lies.
EMBEDDED_ID = "SmolLM2-135M-Instruct-Q4_1"
EMBEDDED_IDENTITY_SHA256 = "4c2c4249b52cc2f8cb27b7c6f394723e32c765c9cced6ddbcb93383d3e7860ab"
EMBEDDED_SIZE_BYTES = 98_362_432

#: `Q4_K_M`, `UD-Q4_K_XL`, `IQ4_XS`, `BF16`, `MXFP4` as a part of a file name.
_QUANTIZATION = re.compile(
    r"(?:^|[-._ ])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|F16|F32|FP16|MXFP4(?:_MOE)?|NVFP4))(?=$|[-._ ])",
    re.IGNORECASE,
)
_UNSAFE = re.compile(r"[\s@\x00-\x1f\x7f]+")


def model_spec(
    model_id: str,
    facts: Facts,
    source: Source,
    *,
    projector: Facts | None = None,
    digests: Mapping[str, str] | None = None,
) -> ModelSpec:
    """The spec of a model, with its projector when one is paired. `digests`: known sha256 by path."""
    files = (*facts.files, *(projector.files if projector else ()))
    fields: dict[str, Any] = {
        key: value for key, value in asdict(facts).items() if key not in ("kind", "template", "projection_length")
    }
    known = digests or {}
    model_files = tuple(ModelFile(**asdict(file), sha256=known.get(file.path)) for file in files)
    return ModelSpec.model_validate(
        fields
        | {
            "id": model_id,
            "source": source,
            "files": model_files,
            "fingerprint": fingerprint(model_files),
            "chat_template": facts.template.text,
            "chat_template_sha256": facts.template.sha256,
            "tool_markers": facts.template.tool_markers,
            "reasoning_markers": facts.template.reasoning_markers,
            "capabilities": _capabilities(facts, projector),
            "projector": Path(projector.path) if projector else None,
            "warnings": (*facts.warnings, *facts.template.warnings),
        }
    )


def adapted_spec(
    model_id: str, base: ModelSpec, adapter: Facts, source: Source, digests: Mapping[str, str] | None = None
) -> ModelSpec:
    """`base+adapter`: a model of its own, with both digests in its fingerprint."""
    known = digests or {}
    files = (*base.files, *(ModelFile(**asdict(file), sha256=known.get(file.path)) for file in adapter.files))
    return base.model_copy(
        update={
            "id": model_id,
            "source": source,
            "files": files,
            "fingerprint": fingerprint(files),
            "base_id": base.id,
            "adapter": Path(adapter.path),
            "weights_bytes": base.weights_bytes + adapter.weights_bytes,
        }
    )


def _capabilities(facts: Facts, projector: Facts | None) -> frozenset[str]:
    vision = {"vision"} if projector and "chat" in facts.capabilities else set()
    spoken = set(facts.template.capabilities) if "chat" in facts.capabilities else set()
    return frozenset({*facts.capabilities, *spoken, *vision})


def is_embedded(facts: Facts) -> bool:
    """Whether this is the model that roost brings along."""
    first = facts.files[0]
    return first.identity_sha256 == EMBEDDED_IDENTITY_SHA256 and first.size_bytes == EMBEDDED_SIZE_BYTES


def quantization_tag(file_name: str) -> str | None:
    """The quantization that a GGUF's name claims, in capitals: it tells the files of one repository apart."""
    found = _QUANTIZATION.findall(re.sub(r"-\d{5}-of-\d{5}", "", Path(file_name).stem))
    return found[-1].upper() if found else None


def safe_id(text: str) -> str:
    """A file or folder name as an id: no white space and no `@`, which names a node."""
    return _UNSAFE.sub("-", text).strip("-") or "model"


def pairs_with(model: Facts, projector: Facts) -> bool:
    """Whether a projector's output fits the model's width; unknown widths fit."""
    width = model.attention.get("embedding_length")
    return projector.projection_length is None or width is None or projector.projection_length == width


def family_name(file_name: str) -> str:
    """A file name without what differs between files of one family: `mmproj`, quantization, separators."""
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", Path(file_name).stem)
    return re.sub(r"mmproj|[-._ ]", "", _QUANTIZATION.sub("-", stem), flags=re.IGNORECASE).lower()


def best_projector(model: Facts, projectors: list[Facts]) -> Facts | None:
    """The projector of a model's folder: of fitting width, named like the model or like nothing; half precision is
    enough, so BF16 and F16 go before F32."""
    family = family_name(Path(model.path).name)
    fitting = [item for item in projectors if pairs_with(model, item) and _related(family, item)]
    return min(fitting, key=lambda item: (_precision_rank(item), item.path), default=None)


def _related(family: str, projector: Facts) -> bool:
    name = family_name(Path(projector.path).name)
    return not name or name in ("model", "vision") or family.startswith(name) or name.startswith(family)


def _precision_rank(projector: Facts) -> int:
    order = ("F16", "BF16", "Q8_0", "F32")
    return order.index(projector.quantization) if projector.quantization in order else len(order)
