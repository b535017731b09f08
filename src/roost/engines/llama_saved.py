"""llama.cpp's slots on disk: which models are worth it, what a file depends on, saving, restoring, and a check.

llama.cpp takes another model's file with 200, and aborts the process on a file that is cut short: whoever calls
`restore_slots` has compared where the files come from and that they are whole.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roost.catalog.spec import ModelSpec
from roost.config.settings import Knobs
from roost.engines.http import Answer, ask
from roost.engines.llama_shape import LlamaShape
from roost.engines.types import CannotKeep, Restored, WorkerHttp

#: Beginning of a slot's file: `ggsq`, version of the format, number of 32-bit words that follow with the tokens.
_HEADER = struct.Struct("<4sII")
_MAGIC = b"qsgg"
#: So many tokens are asked again to see whether a restored slot is used: few enough that a refusal costs little.
PROBE_TOKENS = 64
#: Shorter conversations are computed again sooner than their files are worth.
LEAST_TOKENS = 128
#: Fields of the shape that no byte of a slot's file depends on.
_IRRELEVANT = ("verbosity", "threads", "prefix_cache_mib", "reasoning_format")


def cache_refusal(spec: ModelSpec, shape: LlamaShape) -> str | None:
    """Why this model's slots are not saved; None: they are."""
    if shape.purpose != "chat" or not shape.prefix_cache:
        return "it reuses no prompt" if shape.purpose == "chat" else "it holds no conversation"
    if spec.attention.hybrid or spec.attention.sliding_window:
        # Checkpoints are not in the file (ggml-org/llama.cpp#25913): the restore succeeds and reuses nothing.
        return "llama.cpp reuses nothing of a restored hybrid, recurrent or sliding-window model"
    if shape.projector is not None:
        return "llama.cpp saves no slot of a model with a projector"
    return None


def cache_facts(
    spec: ModelSpec, shape: LlamaShape, knobs: Knobs, program: Mapping[str, str]
) -> Mapping[str, Any] | CannotKeep:
    """Everything that a slot's file depends on, and some more: too strict costs one prefill, too lax a wrong answer."""
    if refusal := cache_refusal(spec, shape):
        return CannotKeep(refusal)
    settings = {name: value for name, value in dataclasses.asdict(shape).items() if name not in _IRRELEVANT}
    return {
        "weights": spec.fingerprint,
        "template": spec.chat_template_sha256,
        "program": dict(program),
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
        "extra_args": list(knobs.extra_args),
        "env": dict(knobs.env),
    }


async def save_slots(worker: WorkerHttp, folder: Path, max_bytes: int) -> int:
    """Saves what the slots hold into `folder`, the latest first, within the bound; the tokens saved.

    A slot that is still computing is left out: the server would answer only once that request is over.
    """
    slots = (await ask(worker, "GET", "/slots")).json()
    idle = [slot for slot in slots if not slot.get("is_processing")] if isinstance(slots, list) else []
    tokens = taken_bytes = 0
    for slot in sorted(idle, key=lambda slot: int(slot.get("id_task", -1)), reverse=True):
        file = folder / f"slot-{slot['id']}.kv"
        told = _count(await _slot_action(worker, slot["id"], "save", file.name), "n_saved")
        size = file.stat().st_size if file.exists() else 0
        if told < LEAST_TOKENS or taken_bytes + size > max_bytes:
            file.unlink(missing_ok=True)
            continue
        tokens, taken_bytes = tokens + told, taken_bytes + size
    return tokens


async def restore_slots(worker: WorkerHttp, folder: Path, *, check: bool) -> Restored:
    """Restores each file into its slot. `check`: first see whether this build reuses what it restores."""
    tokens = 0
    reused: bool | None = None
    for file in _slot_files(folder):
        slot = int(file.stem.removeprefix("slot-"))
        restored = _count(await _slot_action(worker, slot, "restore", file.name), "n_restored")
        if check and restored and reused is None:
            reused = await _is_reused(worker, slot, file)
            if reused is False:
                return Restored(0, reused=False)
            # The question has cut the slot down to its own few tokens.
            restored = _count(await _slot_action(worker, slot, "restore", file.name), "n_restored")
        tokens += restored
    return Restored(tokens, reused)


def _slot_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("slot-*.kv"))


async def _slot_action(worker: WorkerHttp, slot: int, action: str, name: str) -> Answer:
    return await ask(worker, "POST", f"/slots/{slot}?action={action}", {"filename": name})


def _count(answer: Answer, field: str) -> int:
    told = answer.json()
    count = told.get(field) if answer.status == 200 and isinstance(told, dict) else None
    return count if isinstance(count, int) else 0


async def _is_reused(worker: WorkerHttp, slot: int, file: Path) -> bool | None:
    """Asks for the beginning of the restored prompt and looks at how much of it was computed; None: cannot tell."""
    prefix = first_tokens(file, PROBE_TOKENS)
    if len(prefix) < 2:
        return None
    question = {"prompt": list(prefix), "n_predict": 1, "id_slot": slot, "cache_prompt": True}
    told = (await ask(worker, "POST", "/completion", question)).json()
    timings = told.get("timings") if isinstance(told, dict) else None
    cached = timings.get("cache_n") if isinstance(timings, dict) else None
    return cached >= len(prefix) // 2 if isinstance(cached, int) else None


def first_tokens(file: Path, most: int) -> tuple[int, ...]:
    """The first tokens of a slot's file; empty when it has another form than the builds of 2025 and 2026 write."""
    with file.open("rb") as opened:
        header = opened.read(_HEADER.size)
        words_bytes = opened.read(4 * (most + 3))
    if len(header) < _HEADER.size or header[:4] != _MAGIC:
        return ()
    words = struct.unpack(f"<{len(words_bytes) // 4}i", words_bytes[: len(words_bytes) // 4 * 4])
    count = _HEADER.unpack(header)[2]
    if count > 3 and words[:2] == (-1, 1):  # newer builds put a mark, a version and the count before the tokens
        words, count = words[3:], words[2]
    return words[: min(most, count)] if all(word >= 0 for word in words[: min(most, count)]) else ()
