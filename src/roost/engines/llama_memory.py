"""How a llama.cpp start is sized, and how llama.cpp itself says what that start would take.

Its server fits its parameters to the machine before each load: it builds model and context without memory and logs
what each device would hold (common/fit.cpp). With `no_alloc` the load after it cannot happen: the process ends itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from roost.catalog.spec import ModelSpec
from roost.engines.llama_flags import embedded_config, native_flags, parsed_extra
from roost.engines.llama_program import Embedded, Native, Program
from roost.engines.llama_shape import NAME, LlamaShape
from roost.memory.types import LlamaDryRun, LoadShape, Part, Runtime

#: Everything but tokens: buffer sizes with their decimals are debug messages while it fits.
DRY_RUN_VERBOSITY = 5
#: Private memory of a dry run, many times what the account itself takes; should a build ignore `no_alloc`, the load
#: ends here. A GPU's libraries reserve far more, so it holds for the CPU only.
DRY_RUN_DATA_BYTES = 4 * 2**30
#: The abort at its end would start a debugger for a backtrace.
DRY_RUN_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1"}
_MIB = 2**20


def load_shape(
    shape: LlamaShape, program: Program | None, extra_args: Iterable[str], draft: ModelSpec | None
) -> LoadShape:
    """The sizes that `llama_flags` writes into a start."""
    extra = _extra(extra_args, native=isinstance(program, Native))
    return LoadShape(
        engine=NAME,
        runtime=Runtime.LLAMA_CPP,
        device=program.device if program else "cpu",
        context=shape.context,
        sequences=shape.sequences,
        unified=True,
        step=shape.batch,
        # Both renderings serve embeddings, which reserves logits for every token of a step.
        output_rows=shape.batch,
        kv_type=shape.kv_type,
        cache_bytes=shape.prefix_cache_mib * _MIB,
        checkpoints=shape.checkpoints,
        full_window=bool(extra.get("swa_full", False)),
        keeps_order=bool(extra.get("no_extra_bufts", False)),
        gpu_layers=shape.gpu_layers,
        draft=draft,
    )


def _extra(extra_args: Iterable[str], *, native: bool) -> Mapping[str, Any]:
    """Sizes among the arguments that a user appends, by the embedded server's names."""
    if not native:
        return parsed_extra(extra_args)
    words = set(extra_args)
    return {"swa_full": "--swa-full" in words, "no_extra_bufts": bool(words & {"-nr", "--no-repack"})}


def dry_run_command(
    program: Program, shape: LlamaShape, socket: Path, extra_args: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """argv and the launcher's configuration. A native server has no `no_alloc`: it is ended once it has answered."""
    loud = replace(shape, verbosity=DRY_RUN_VERBOSITY)
    if isinstance(program, Embedded):
        config = embedded_config(loud, socket, extra_args)
        config["attributes"] |= {"no_alloc": True, "fit_params": True}
        config["data_limit_bytes"] = DRY_RUN_DATA_BYTES if program.device == "cpu" else None
        return (program.where, "-I", str(program.launcher), str(shape.model)), config
    return (program.where, *native_flags(loud, socket, extra_args), "--fit", "on"), None


#: `| memory breakdown [MiB] | …` opens a table; each device is a row. On a GPU: total = free + (self = model + context
#: + compute) + unaccounted; elsewhere: self = model + context + compute.
_TABLE = re.compile(r"memory_breakdown_print: \| memory breakdown \[MiB\]")
_ROW = re.compile(r"memory_breakdown_print: \|\s+- (\S+)(?: \([^|]*\))?\s*\|([^|]*)\|")
_FIGURES = re.compile(r"(\d+)\s*=\s*(\d+)\s*\+\s*(\d+)\s*\+\s*(\d+)")
_GPU_FIGURES = re.compile(r"\(\s*\d+\s*=\s*(\d+)\s*\+\s*(\d+)\s*\+\s*(\d+)\s*\)")
#: The account is complete: what follows is what llama.cpp makes of it.
_COMPLETE = re.compile(r"common_params_fit_impl: projected (?:to use|memory use)")
#: Exact figures, while nothing is allocated.
_KV = re.compile(r"llama_kv_cache: size =\s+([\d.]+) MiB")
_STATE = re.compile(r"llama_memory_recurrent: size =\s+([\d.]+) MiB")
_COMPUTE = re.compile(r"sched_reserve:\s+\S+ compute buffer size =\s+([\d.]+) MiB")


def parse_dry_run(text: str) -> LlamaDryRun | None:
    """llama.cpp's account in its log so far; None: not complete yet, or in no form that is known."""
    complete = _COMPLETE.search(text) if "projected" in text else None
    tables = list(_TABLE.finditer(text, 0, complete.start())) if complete else []
    if complete is None or not tables:
        return None
    ends = [*(table.start() for table in tables[1:]), complete.start()]
    first = text[: tables[0].start()]
    sections = [_parts(text[table.start() : end]) for table, end in zip(tables, ends, strict=True)]
    return LlamaDryRun(
        parts=_refined(sections[0], first),
        draft=tuple(_generous(part) for part in sections[1]) if len(sections) > 1 else (),
        state_bytes=_sum(_STATE, first),
    )


def _parts(section: str) -> tuple[Part, ...]:
    found = []
    for row in _ROW.finditer(section):
        name, figures = row.groups()
        on_gpu = _GPU_FIGURES.search(figures)
        plain = _FIGURES.search(figures)
        if on_gpu:
            sizes = on_gpu.groups()
        elif plain:
            sizes = plain.groups()[1:]
        else:
            continue
        model, context, compute = (int(size) * _MIB for size in sizes)
        copied = on_gpu is None and name != "Host"
        found.append(Part(name, model, context, compute, is_gpu=on_gpu is not None, is_repacked=copied))
    return tuple(found)


def _refined(parts: tuple[Part, ...], log: str) -> tuple[Part, ...]:
    """The table is cut to whole MiB. Where one device holds all of the cache and the buffers, the log's own lines say
    them exactly; elsewhere each figure may be a MiB more."""
    holders = [part for part in parts if part.context_bytes or part.compute_bytes]
    context, compute = _sum(_KV, log) + _sum(_STATE, log), _sum(_COMPUTE, log)
    if len(holders) != 1 or not (context and compute):
        return tuple(_generous(part) for part in parts)
    exact = replace(holders[0], context_bytes=context, compute_bytes=compute)
    return tuple(
        replace(exact, model_bytes=_more(part.model_bytes)) if part is holders[0] else _generous(part) for part in parts
    )


def _generous(part: Part) -> Part:
    return replace(
        part,
        model_bytes=_more(part.model_bytes),
        context_bytes=_more(part.context_bytes),
        compute_bytes=_more(part.compute_bytes),
    )


def _more(size_bytes: int) -> int:
    return size_bytes + _MIB if size_bytes else 0


def _sum(pattern: re.Pattern[str], text: str) -> int:
    """Bytes of all lines of a kind; llama.cpp rounds MiB to two decimals, so that each may be half a hundredth more."""
    return sum(round((float(size) + 0.005) * _MIB) for size in pattern.findall(text) if float(size))
