"""One `LlamaShape` as parameters of the embedded server and as flags of a native `llama-server`.

Both renderings stand side by side because they must say the same. `extra_args` are checked here against what roost
sets itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from roost.engines.llama_shape import NAME, LlamaShape

#: Longer than any generation; the gateway ends what makes no progress. 0 would mean "at once" to llama.cpp.
TIMEOUT_S = 7 * 24 * 3600
#: `--sse-ping-interval`: off, so that every byte from the worker means progress; the gateway sends its own comments.
NO_PINGS = -1

Parser = Callable[[str], Any]


def _boolean(text: str) -> bool:
    words = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
    return words[text.lower()]


#: `extra_args` of the embedded server: `name=value`, attributes of its parameters that roost has no knob for and that
#: can break neither the proof (how weights are mapped) nor the promise that nothing is cut silently (ctx_shift).
TUNABLE: dict[str, Parser] = {
    "check_tensors": _boolean,
    "checkpoint_min_step": int,
    "image_max_tokens": int,
    "image_min_tokens": int,
    "main_gpu": int,
    "mmproj_use_gpu": _boolean,
    "moe_cache_size": int,
    "n_cache_reuse": int,
    "n_threads_http": int,
    "no_extra_bufts": _boolean,
    "no_host": _boolean,
    "no_kv_offload": _boolean,
    "no_op_offload": _boolean,
    "prefill_assistant": _boolean,
    "rope_freq_base": float,
    "rope_freq_scale": float,
    "slot_prompt_similarity": float,
    "swa_full": _boolean,
    "yarn_attn_factor": float,
    "yarn_beta_fast": float,
    "yarn_beta_slow": float,
    "yarn_ext_factor": float,
    "yarn_orig_ctx": int,
}
_OWNED = """
-m --model -mu --model-url -hf -hfr --hf-repo --hf-file --docker-repo -a --alias --host --port --reuse-port -c
--ctx-size -ctxcp --ctx-checkpoints --swa-checkpoints -np --parallel -kvu --kv-unified -no-kvu --no-kv-unified -b
--batch-size -ub --ubatch-size -cram --cache-ram --cache-idle-slots --no-cache-idle-slots --cache-prompt
--no-cache-prompt -ctk --cache-type-k -ctv --cache-type-v -cb --cont-batching -nocb --no-cont-batching -ngl
--gpu-layers --n-gpu-layers -t --threads --embedding --embeddings --rerank --reranking --pooling --metrics --props
--slots --no-slots --ui --webui --no-ui --no-webui --cors-origins --api-key --api-key-file --ssl-key-file
--ssl-cert-file --api-prefix --path --timeout -to --sse-ping-interval --offline --warmup --no-warmup --context-shift
-lm --load-mode --mmap --no-mmap --mlock -mm --mmproj -mmu --mmproj-url --lora --lora-scaled -md --model-draft
--spec-draft-model --spec-type --chat-template-kwargs --reasoning-format -lv --verbosity --log-verbosity -v --verbose
--log-file --log-prompts-dir --sleep-idle-seconds --slot-save-path --models-dir --models-max --models-preset --tools
--media-path
"""
#: `cache_idle_slots` of `embedded_config` for llama-server: builds that do not know the flag end at it, and pass over
#: a variable.
NATIVE_ENVIRONMENT = {"LLAMA_ARG_CACHE_IDLE_SLOTS": "0"}
#: Flags of llama-server that roost sets or that would undo what it promises.
OWNED_FLAGS = frozenset(_OWNED.split())


def embedded_config(
    shape: LlamaShape,
    socket: Path,
    extra_args: Iterable[str],
    saved: Path | None = None,
    control: Path | None = None,
) -> dict[str, Any]:
    """What the launcher reads from standard input: plain attributes, and enumerations by their short names."""
    attributes: dict[str, Any] = {
        # One pool of KV cells for all sequences: a single request may use the whole window. Split per sequence,
        # the same promise would reserve `sequences` times the memory (SmolLM2, 8192 tokens, 4 sequences: 180 MiB
        # unified, 720 MiB split). The price: when running requests together outgrow the pool, llama.cpp ends all of
        # them with 500 "Context size has been exceeded."; idle sequences are dropped first.
        "n_ctx": shape.context,
        "kv_unified": True,
        # Its default takes every idle conversation out of the pool as soon as any other request begins, and drops
        # it where it is larger than the cache of prompts (512 MiB: 4,000 tokens of an 8B model). In the pool it costs
        # nothing that is not reserved anyway, and is there when the slots are saved; pressure drops it all the same.
        "cache_idle_slots": False,
        "n_parallel": shape.sequences,
        "n_batch": shape.batch,
        "n_ubatch": shape.batch,
        "embedding": True,
        "cache_ram_mib": shape.prefix_cache_mib,
        "n_ctx_checkpoints": shape.checkpoints,
        "cache_prompt": shape.prefix_cache,
        "cont_batching": shape.continuous_batching,
        "endpoint_metrics": True,
        "endpoint_slots": True,
        "cors_origins": "localhost",
        "ui": False,
        "offline": True,
        "timeout_read": TIMEOUT_S,
        "timeout_write": TIMEOUT_S,
        "sse_ping_interval": NO_PINGS,
        # The caller's first real token warms up what an empty run would, and it is asked for anyway: 2.15 CPU
        # seconds from start to that token without the empty run, 2.60 with it (SmolLM2, 2 cores, median of 5).
        "warmup": False,
        "verbosity": shape.verbosity,
        "default_template_kwargs": {name: json.dumps(value) for name, value in shape.template_args.items()},
        **({"n_gpu_layers": shape.gpu_layers} if shape.gpu_layers is not None else {}),
        # It joins folder and file name as they are.
        **({"slot_save_path": f"{saved}/"} if saved is not None else {}),
        **parsed_extra(extra_args),
    }
    return {
        "socket": str(socket),
        "control": _text(control),
        "alias": shape.alias,
        "attributes": attributes,
        "enumerations": _enumerations(shape),
        "threads": shape.threads,
        "projector": _text(shape.projector),
        "adapter": _text(shape.adapter),
        "draft": _text(shape.draft),
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _enumerations(shape: LlamaShape) -> dict[str, str]:
    """Attribute -> member, without the prefix that each enumeration repeats."""
    chosen = {
        "pooling_type": shape.pooling,
        "cache_type_k": shape.kv_type,
        "cache_type_v": shape.kv_type,
        "reasoning_format": shape.reasoning_format,
    }
    return {name: value.upper().replace("-", "_") for name, value in chosen.items() if value is not None}


def native_flags(shape: LlamaShape, socket: Path, extra_args: Iterable[str], saved: Path | None = None) -> list[str]:
    """The arguments of `llama-server`, in the order of `embedded_config`."""
    optional: list[tuple[object | None, list[str]]] = [
        (shape.pooling, ["--pooling", str(shape.pooling)]),
        (shape.kv_type, ["--cache-type-k", str(shape.kv_type), "--cache-type-v", str(shape.kv_type)]),
        (shape.reasoning_format, ["--reasoning-format", str(shape.reasoning_format)]),
        (shape.gpu_layers, ["--gpu-layers", str(shape.gpu_layers)]),
        (shape.threads, ["--threads", str(shape.threads)]),
        (shape.projector, ["--mmproj", str(shape.projector)]),
        (shape.adapter, ["--lora", str(shape.adapter)]),
        (shape.draft, ["--model-draft", str(shape.draft), "--spec-type", "draft-simple"]),
        (saved, ["--slot-save-path", f"{saved}/"]),
        (shape.template_args or None, ["--chat-template-kwargs", json.dumps(dict(shape.template_args))]),
    ]
    return [
        *("--model", str(shape.model), "--alias", shape.alias, "--host", str(socket)),
        *("--ctx-size", str(shape.context), "--kv-unified", "--parallel", str(shape.sequences)),
        *("--batch-size", str(shape.batch), "--ubatch-size", str(shape.batch)),
        "--reranking" if shape.purpose == "rerank" else "--embeddings",
        *("--cache-ram", str(shape.prefix_cache_mib), "--ctx-checkpoints", str(shape.checkpoints)),
        "--cache-prompt" if shape.prefix_cache else "--no-cache-prompt",
        "--cont-batching" if shape.continuous_batching else "--no-cont-batching",
        *("--metrics", "--slots", "--cors-origins", "localhost", "--no-ui", "--offline"),
        *("--timeout", str(TIMEOUT_S), "--sse-ping-interval", str(NO_PINGS), "--no-warmup"),
        *("--verbosity", str(shape.verbosity)),
        *(flag for value, flags in optional if value is not None for flag in flags),
        *extra_args,
    ]


def parsed_extra(extra_args: Iterable[str]) -> dict[str, Any]:
    """`name=value` as typed attributes; `embedded_problems` must have found nothing."""
    pairs = (argument.partition("=") for argument in extra_args)
    return {name.strip(): TUNABLE[name.strip()](value.strip()) for name, _, value in pairs}


def embedded_problems(extra_args: Iterable[str]) -> list[str]:
    """What is wrong with `extra_args` of the embedded server."""
    return [problem for argument in extra_args if (problem := _embedded_problem(argument))]


def _embedded_problem(argument: str) -> str | None:
    name, equals, value = (part.strip() for part in argument.partition("="))
    parser = TUNABLE.get(name)
    if parser is None or not equals:
        return (
            f"{NAME}: extra_args: {argument!r} is not one of the embedded server's parameters that roost leaves to "
            f"you, written name=value ({', '.join(TUNABLE)}); remove it"
        )
    try:
        parser(value)
    except (ValueError, KeyError):
        return f"{NAME}: extra_args: {name} cannot be {value!r}; write a {parser.__name__.strip('_')}"
    return None


def native_problems(extra_args: Iterable[str]) -> list[str]:
    """What is wrong with `extra_args` of a native llama-server; flags that it does not know end its start."""
    owned = [argument for argument in extra_args if argument.partition("=")[0] in OWNED_FLAGS]
    return [
        f"{NAME}: extra_args: {argument!r} is set by roost; use the knob of that name or remove it"
        for argument in owned
    ]
