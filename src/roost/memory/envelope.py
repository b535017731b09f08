"""Whether one more request fits into what a worker's cache was admitted with: sequences times the longest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from roost.memory.types import LoadShape, Runtime


class Passage(StrEnum):
    TAKE = "take"
    #: It fits once others have ended: it waits in a bounded line, beyond which it is 429.
    WAIT = "wait"
    #: It never fits: 400.
    TOO_LONG = "too long"


@dataclass(frozen=True)
class Envelope:
    """What the admitted memory holds; tokens are of prompt and reply together."""

    sequences: int
    #: Of one sequence.
    longest: int
    #: Of all sequences together.
    together: int
    #: Batches are rectangular: each sequence takes as much as the longest.
    is_rectangular: bool = False


def envelope_of(shape: LoadShape) -> Envelope:
    """llama.cpp: one pool for all, or a cache of its own for each. MLX: batch times longest."""
    if shape.runtime is Runtime.LLAMA_CPP and shape.unified:
        return Envelope(shape.sequences, shape.context, shape.context)
    together = shape.context * shape.sequences
    return Envelope(shape.sequences, shape.context, together, is_rectangular=shape.runtime is Runtime.MLX)


def tokens_asked(prompt: int, max_tokens: int | None, cap: int) -> int:
    """A request without a limit may go on to the cap."""
    return prompt + (cap - prompt if max_tokens is None else max_tokens) if prompt < cap else prompt


def passage(envelope: Envelope, running: Sequence[int], asked: int) -> Passage:
    """`running`: tokens that each running request may come to."""
    if asked > min(envelope.longest, envelope.together):
        return Passage.TOO_LONG
    together = _together(envelope, [*running, asked])
    full = len(running) >= envelope.sequences or together > envelope.together
    return Passage.WAIT if full else Passage.TAKE


def _together(envelope: Envelope, sequences: Sequence[int]) -> int:
    return len(sequences) * max(sequences) if envelope.is_rectangular else sum(sequences)
