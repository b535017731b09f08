"""How many cells of KV an engine allocates for a window of tokens."""

from __future__ import annotations

from roost.memory.cache_form import pad
from roost.memory.types import LoadShape, Runtime

#: Both engines grow and pad by this many cells.
CELLS_STEP = 256


def streams(shape: LoadShape) -> int:
    """Caches of their own: one for all sequences, or one for each."""
    return 1 if shape.unified else shape.sequences


def llama_cells(shape: LoadShape, window: int | None = None) -> int:
    """Cells of one stream in a layer that looks back at `window` tokens (None: at all), as llama.cpp allocates them
    at load. `context` is of one request, so that separate streams have as much each."""
    context = pad(shape.context, CELLS_STEP)
    if window is None or shape.full_window:
        return context
    together = shape.sequences if shape.unified else 1
    return pad(min(context, window * together + shape.step), CELLS_STEP)


def sequence_cells(shape: LoadShape, window: int) -> int:
    """Cells of a windowed layer that one sequence of llama.cpp can fill: what a checkpoint of it holds."""
    return pad(min(pad(shape.context, CELLS_STEP), window + shape.step), CELLS_STEP)


def mlx_cells(tokens: int, window: int | None = None, step: int = 1) -> int:
    """Cells of one sequence of `tokens` in mlx-lm. A windowed layer keeps the window and, while a prompt is computed
    in steps, the rest of the last step."""
    grown = pad(tokens + 1, CELLS_STEP)
    if window is None or tokens < window:
        return grown if window is None else min(grown, window)
    return min(tokens, window + max(step, 1) - 1)


def tokens_held(shape: LoadShape) -> int:
    """Tokens of all sequences together that the cache has room for."""
    return shape.context * (1 if shape.unified and shape.runtime is Runtime.LLAMA_CPP else shape.sequences)
