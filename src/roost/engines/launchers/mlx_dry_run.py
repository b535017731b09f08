"""What a model takes, asked of the model itself: `ENGINE_PYTHON -I mlx_dry_run.py FOLDER`.

The engine's own loader builds the model lazily: arrays have shapes and nothing behind them, so that a model of any
size answers in seconds and no weight is read. A pass over a few tokens, not evaluated either, fills its caches. One
line of JSON on standard output: parameters in bytes, and each kind of cache with its bytes per token.
"""

import contextlib
import json
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

#: Two lengths tell what grows from what does not; both below any window and above the cache's step of 256.
LENGTHS = (300, 600)
DTYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

Kind = tuple[int, int, int | None]  # bytes of a cell, bytes whatever the length, window


def main(folder: str) -> None:
    config = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if config["data_limit_bytes"] is not None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (config["data_limit_bytes"],) * 2)
    model, dtype = build(Path(folder))
    kinds = Counter(kind for kind in cache_kinds(model) if kind[0] or kind[1])
    answer = {
        "parameter_bytes": sum(size(array) for _, array in tree_flatten(model.parameters())),
        "caches": [
            {"count": count, "cell_bytes": cell, "fixed_bytes": fixed, "window": window}
            for (cell, fixed, window), count in kinds.items()
        ],
        "dtype": dtype,
    }
    print(json.dumps({"roost_dry_run": answer}), flush=True)


def build(folder: Path) -> tuple[Any, str]:
    """The model as the engine would load it, and the element type of its activations. A folder without weights (only
    its config.json) has the type that the config names."""
    model, config = load_model(folder, lazy=True, strict=False)
    if not any(folder.glob("model*.safetensors")):
        text = config.get("text_config") or config
        declared = config.get("torch_dtype") or config.get("dtype") or text.get("torch_dtype") or text.get("dtype")
        model.set_dtype(getattr(mx, declared if declared in DTYPES else "float32"))
    floats: Counter[str] = Counter()
    for _, array in tree_flatten(model.parameters()):
        name = str(array.dtype).rpartition(".")[2]
        if name in DTYPES:
            floats[DTYPES[name]] += size(array)
    return model, floats.most_common(1)[0][0] if floats else "f32"


def cache_kinds(model: Any) -> list[Kind]:
    """One kind for each cache; a layer with several has several."""
    short, long = (flat(filled(model, length)) for length in LENGTHS)
    return [kind_of(one, other) for one, other in zip(short, long, strict=True)]


def filled(model: Any, length: int) -> list[Any]:
    caches = make_prompt_cache(model)
    model(mx.zeros((1, length), dtype=mx.int32), cache=caches)
    return list(caches)


def flat(caches: list[Any]) -> list[Any]:
    """Caches inside of lists of caches."""
    return [leaf for cache in caches for leaf in (flat(list(cache.caches)) if hasattr(cache, "caches") else [cache])]


def kind_of(short: Any, long: Any) -> Kind:
    """By its arrays' own length where it has keys, else by what grew between the two lengths."""
    keys = getattr(long, "keys", None)
    if keys is not None and hasattr(keys, "shape"):
        return held(long) // keys.shape[-2], 0, window_of(long)
    cell = (held(long) - held(short)) // (LENGTHS[1] - LENGTHS[0])
    return cell, held(short) - cell * LENGTHS[0], None


def window_of(cache: Any) -> int | None:
    most = getattr(cache, "max_size", None)
    return most if isinstance(most, int) else None


def held(cache: Any) -> int:
    """Bytes of all arrays of a cache, evaluated or not."""
    arrays = [array for _, array in tree_flatten(list(vars(cache).values())) if isinstance(array, mx.array)]
    return sum(size(array) for array in arrays)


def size(array: Any) -> int:
    return int(array.size) * int(array.dtype.size)


if __name__ == "__main__":
    main(sys.argv[1])
