"""A safetensors folder, as Hugging Face and MLX lay it out: config.json, weights, tokenizer, chat template."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost.catalog.facts import ADAPTER, MODEL, Facts, FileFacts, TemplateFacts, active_parameters, bits_per_weight
from roost.catalog.folder_config import TEXT_CONFIGS, FolderConfig, refuse_code
from roost.catalog.folder_size import measure
from roost.catalog.reading import open_regular, read_exactly
from roost.catalog.refusal import ModelRefused, Truncated
from roost.catalog.safetensors import SafetensorsHeader, StoredTensor, parse_object, read_safetensors
from roost.catalog.samples import identity_sha256
from roost.catalog.template import read_template
from roost.catalog.tokens import longest_in_tokenizer_json
from roost.catalog.weights_shape import folder_weights

#: Loading one of these runs code.
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill"})
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
_CONFIG_LIMIT_BYTES = 4 * 2**20
_INDEX_LIMIT_BYTES = 64 * 2**20
_TOKENIZER_LIMIT_BYTES = 96 * 2**20
_ENTRIES_LIMIT = 10_000
_SHARDS_LIMIT = 1_000
_METADATA_WHOLE_CHARACTERS = 16 * 1024
_METADATA_TEXT_LIMIT = 4096
_METADATA_KEYS_LIMIT = 512
_METADATA_LIST_LIMIT = 512
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class Document:
    """A small JSON or text file that was read whole."""

    content: dict[str, Any]
    facts: FileFacts


def inspect_folder(path: Path) -> Facts:
    """Facts of a safetensors model or adapter folder. Reads headers and small files of that folder only."""
    names = list_names(path)
    refuse_executables(path, names)
    if ADAPTER_CONFIG in names and "config.json" not in names:
        return _adapter(path, names)
    if "config.json" not in names:
        raise ModelRefused(f"cannot use {path}: it holds no config.json, so it is no safetensors model folder")
    return _model(path, names)


def list_names(path: Path) -> list[str]:
    """Names directly inside a folder, sorted; a folder of more than 10,000 is no model."""
    with os.scandir(path) as entries:
        names = [entry.name for _, entry in zip(range(_ENTRIES_LIMIT + 1), entries, strict=False)]
    if len(names) > _ENTRIES_LIMIT:
        raise ModelRefused(f"cannot use {path}: it holds more than {_ENTRIES_LIMIT:,} files")
    return sorted(names)


def refuse_executables(path: Path, names: list[str]) -> None:
    """Raises ModelRefused for a folder with pickles or Python files beside its weights."""
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix in PICKLE_SUFFIXES:
            raise ModelRefused(f"cannot use {path}: {name} is a pickle, loading it runs code; only safetensors is read")
        if suffix == ".py":
            raise ModelRefused(f"cannot use {path}: it brings code of its own ({name}); take a conversion without it")


def _model(path: Path, names: list[str]) -> Facts:
    config_file = _read_json(path / "config.json", "config", _CONFIG_LIMIT_BYTES)
    refuse_code(config_file.content, "config.json")
    config = FolderConfig(config_file.content)
    shards = [_read_shard(path / name, "weights") for name in _weight_names(path, names)]
    tokenizer, template, small_files = _texts(path, names)
    tensors = _tensors(shards)
    size = measure(tensors, config.quantization())
    attention = config.attention()
    return Facts(
        kind=MODEL,
        format="safetensors",
        path=str(path),
        files=(*(facts for _, facts in shards), config_file.facts, *small_files),
        architecture=config.architecture,
        name=_short_text(config_file.content.get("_name_or_path")),
        parameters_total=size.parameters,
        parameters_active=active_parameters(size.parameters, size.in_experts, config.experts, config.experts_used),
        weights_bytes=size.size_bytes,
        quantization=size.quantization,
        bits_per_weight=bits_per_weight(size.size_bytes, size.parameters),
        context_length=config.context_length,
        vocabulary_size=config.vocabulary_size,
        longest_token_bytes=longest_in_tokenizer_json(tokenizer),
        template=template,
        capabilities=config.capabilities(template, pools="modules.json" in names),
        attention=attention,
        weights=folder_weights(tensors, attention["layers"], config.experts, config.experts_used),
        metadata=_metadata(config_file.content),
    )


def _adapter(path: Path, names: list[str]) -> Facts:
    config_file = _read_json(path / ADAPTER_CONFIG, "config", _CONFIG_LIMIT_BYTES)
    refuse_code(config_file.content, ADAPTER_CONFIG)
    weights = [name for name in ("adapter_model.safetensors", "adapters.safetensors") if name in names]
    if not weights:
        raise ModelRefused(f"cannot use {path}: an adapter folder without adapter_model.safetensors")
    header, facts = _read_shard(path / weights[0], "adapter")
    size = measure(header.tensors, {})
    return Facts(
        kind=ADAPTER,
        format="safetensors",
        path=str(path),
        files=(facts, config_file.facts),
        parameters_total=size.parameters,
        weights_bytes=size.size_bytes,
        quantization=size.quantization,
        metadata=_metadata(config_file.content),
    )


def _weight_names(path: Path, names: list[str]) -> list[str]:
    """The files that the index names, else every safetensors directly in the folder (never deeper)."""
    if INDEX not in names:
        found = [name for name in names if name.endswith(".safetensors")]
        if not found:
            raise ModelRefused(f"cannot use {path}: it holds no safetensors")
        return found[:_SHARDS_LIMIT]
    index = _read_json(path / INDEX, "config", _INDEX_LIMIT_BYTES).content
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelRefused(f"cannot use {path}: {INDEX} has no weight_map")
    shards = sorted({str(name) for name in weight_map.values()})
    if len(shards) > _SHARDS_LIMIT or any(not _plain_name(name) for name in shards):
        raise ModelRefused(f"cannot use {path}: {INDEX} names files outside its folder")
    for name in shards:
        if name not in names:
            raise Truncated(f"cannot use {path}: {name} is missing; finish the download")
    return shards


def _plain_name(name: str) -> bool:
    return name.endswith(".safetensors") and "/" not in name and "\\" not in name and "\0" not in name


def _read_shard(path: Path, role: str) -> tuple[SafetensorsHeader, FileFacts]:
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        try:
            header = read_safetensors(file, size_bytes)
        except ModelRefused as error:
            raise type(error)(f"cannot use {path.name}: {error.message}") from error
        return header, FileFacts.of(path, role, file, identity_sha256(file, size_bytes, header.sha256))


def _tensors(shards: list[tuple[SafetensorsHeader, FileFacts]]) -> list[StoredTensor]:
    return [tensor for header, _ in shards for tensor in header.tensors]


def _texts(path: Path, names: list[str]) -> tuple[dict[str, Any], TemplateFacts, list[FileFacts]]:
    """tokenizer.json's content, the chat template, and the facts of every small file that defines either."""
    documents: dict[str, Document] = {}
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json"):
        if name in names:
            documents[name] = _read_json(path / name, "tokenizer", _TOKENIZER_LIMIT_BYTES)
            refuse_code(documents[name].content, name)
    facts = [document.facts for document in documents.values()]
    others = [name for name in _TOKENIZER_FILES if name in names and name not in documents]
    facts += [_whole(path / name, "tokenizer")[1] for name in others]
    text: str | None = None
    if "chat_template.jinja" in names:
        raw, template_facts = _whole(path / "chat_template.jinja", "template", _CONFIG_LIMIT_BYTES)
        text = raw.decode("utf-8", "replace")
        facts.append(template_facts)
    for name in ("chat_template.json", "tokenizer_config.json"):
        if text is None and name in documents:
            text = chat_template(documents[name].content)
    tokenizer = documents["tokenizer.json"].content if "tokenizer.json" in documents else {}
    return tokenizer, read_template(text), facts


def chat_template(config: dict[str, Any]) -> str | None:
    """`chat_template`: a text, or a list of named ones of which `default` counts."""
    value = config.get("chat_template")
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, dict)}
        value = named.get("default") or next(iter(named.values()), None)
    return value if isinstance(value, str) and value else None


def _whole(path: Path, role: str, limit_bytes: int = _TOKENIZER_LIMIT_BYTES) -> tuple[bytes, FileFacts]:
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit_bytes:
            raise ModelRefused(f"cannot use {path}: {size_bytes:,} bytes, at most {limit_bytes:,} are expected there")
        raw = read_exactly(file, size_bytes)
        return raw, FileFacts.of(path, role, file, hashlib.sha256(raw).hexdigest())


def read_config(path: Path) -> dict[str, Any]:
    """A folder's config.json. Raises ModelRefused or OSError."""
    return _read_json(path, "config", _CONFIG_LIMIT_BYTES).content


def _read_json(path: Path, role: str, limit_bytes: int) -> Document:
    raw, facts = _whole(path, role, limit_bytes)
    return Document(parse_object(raw, path.name), facts)


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    """config.json itself when it is short, else its numbers, short texts and short lists, also those of the text
    model in a multimodal config: the KV cache's shape is among them, per-layer quantization tables are not."""
    if len(json.dumps(config)) <= _METADATA_WHOLE_CHARACTERS:
        return config
    nested = {key: _plain_values(config[key]) for key in TEXT_CONFIGS if isinstance(config.get(key), dict)}
    return _plain_values(config) | nested


def _plain_values(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in list(config.items())[:_METADATA_KEYS_LIMIT] if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _METADATA_LIST_LIMIT and all(map(_is_plain_item, value))
    return _is_plain_item(value)


def _is_plain_item(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _METADATA_TEXT_LIMIT)


def _short_text(value: Any) -> str | None:
    return value[:256] if isinstance(value, str) and value else None
