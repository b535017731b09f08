"""Whether a start may begin: it fits, it fits with smaller sizes, or it is refused with what would fit.

Pure. The caller reserves in the ledger what is admitted here, before it starts anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from roost.errors import InsufficientMemory
from roost.memory.budget import GIB, HOST, Budget
from roost.memory.devices import DeviceSet, NoRoom, place
from roost.memory.needs import Need
from roost.memory.types import Ignorance, LoadShape, Runtime, Unknown

#: Nobody is served by a window that is shorter.
LEAST_CONTEXT = 2048
CONTEXT_STEP = 256
#: Another try makes sense once something else has ended.
RETRY_AFTER_S = 30.0

#: What a start of this shape needs.
Needs = Callable[[LoadShape], Need | Unknown]


@dataclass(frozen=True)
class Fit:
    """The largest sizes that would fit, each with the other as it was asked; None: none does."""

    context: int | None
    sequences: int | None


@dataclass(frozen=True)
class Admit:
    need: Need
    devices: DeviceSet


@dataclass(frozen=True)
class AdmitAlone:
    """Nobody knows its size: it gets the machine for itself, is measured and guarded."""

    reason: str
    #: What it was seen to take on the host, which is more than there is now; 0: nothing was seen.
    seen_bytes: int = 0


@dataclass(frozen=True)
class Clamp:
    """It fits with these sizes in place of those that were asked."""

    shape: LoadShape
    need: Need
    devices: DeviceSet


@dataclass(frozen=True)
class Refuse:
    #: One sentence with the numbers, the term that binds and the next step.
    reason: str
    #: Waiting cannot help.
    permanent: bool
    #: None where the need is not known.
    need: Need | None = None
    fit: Fit | None = None

    def error(self, model_id: str) -> InsufficientMemory:
        """As a client sees it."""
        return InsufficientMemory(
            f"cannot load {model_id}: {self.reason}",
            should_retry=not self.permanent,
            retry_after_s=None if self.permanent else RETRY_AFTER_S,
        )


Verdict = Admit | AdmitAlone | Clamp | Refuse


def admit(
    asked: LoadShape,
    needs: Needs,
    budgets: Mapping[str, Budget],
    *,
    fixed: Sequence[str] = (),
    allow_clamp: bool = False,
) -> Verdict:
    """The verdict on one start. `needs` is asked again for smaller sizes."""
    need = needs(asked)
    if isinstance(need, Unknown):
        return verdict_on_unknown(need)
    placed = place(need, budgets, fixed)
    if isinstance(placed, DeviceSet):
        return Admit(need, placed)
    if allow_clamp and (clamped := _clamped(asked, needs, budgets, fixed)):
        return clamped
    fit = largest_fit(asked, needs, budgets, fixed)
    bare = needs(replace(asked, cache_bytes=0)) if asked.cache_bytes else need
    without_cache = isinstance(bare, Need) and isinstance(place(bare, budgets, fixed), DeviceSet)
    return Refuse(_reason(asked, need, placed, fit, without_cache), placed.is_permanent, need, fit)


def admit_declared(need: Need, budgets: Mapping[str, Budget]) -> Admit | Refuse:
    """A start whose size somebody gave: there is nothing to clamp."""
    placed = place(need, budgets)
    if isinstance(placed, DeviceSet):
        return Admit(need, placed)
    reason = f"{_shortage(need, placed)}; {_wait_or_raise(placed)}"
    return Refuse(reason, placed.is_permanent, need)


def verdict_on_unknown(unknown: Unknown) -> AdmitAlone | Refuse:
    """A start of which nobody knows the size: never guessed."""
    if unknown.kind is Ignorance.UNDECLARED:
        return AdmitAlone(unknown.reason)
    return Refuse(f"{unknown.reason}; set memory_gb of this model to the size that it takes", permanent=True)


def largest_fit(
    asked: LoadShape,
    needs: Needs,
    budgets: Mapping[str, Budget],
    fixed: Sequence[str] = (),
    *,
    most_context: int | None = None,
    most_sequences: int | None = None,
) -> Fit:
    """The longest window at the sequences asked, and the most sequences at the window asked; no further than asked,
    or than the bounds given."""

    def fits(shape: LoadShape) -> bool:
        need = needs(shape)
        return not isinstance(need, Unknown) and isinstance(place(need, budgets, fixed), DeviceSet)

    longest = max(most_context or 0, asked.context)
    steps = _most(longest // CONTEXT_STEP, lambda count: fits(replace(asked, context=count * CONTEXT_STEP)))
    most = max(most_sequences or 0, asked.sequences)
    sequences = _most(most, lambda count: fits(replace(asked, sequences=count)))
    context = max(steps * CONTEXT_STEP, asked.context if fits(asked) else 0)
    return Fit(context or None, sequences or None)


def _most(asked: int, fits: Callable[[int], bool]) -> int:
    """The largest count from 1 to `asked` that fits, 0 if none does; whatever fits, less of it fits too."""
    low, high = 0, asked
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _clamped(asked: LoadShape, needs: Needs, budgets: Mapping[str, Budget], fixed: Sequence[str]) -> Clamp | None:
    """Fewer sequences first, then a shorter window, then also no cached prompts."""
    for start in (asked, replace(asked, cache_bytes=0)):
        for shape in _smaller(start, needs, budgets, fixed):
            need = needs(shape)
            placed = None if isinstance(need, Unknown) else place(need, budgets, fixed)
            if isinstance(placed, DeviceSet) and not isinstance(need, Unknown):
                return Clamp(shape, need, placed)
    return None


def _smaller(
    start: LoadShape, needs: Needs, budgets: Mapping[str, Budget], fixed: Sequence[str]
) -> Sequence[LoadShape]:
    shapes = [start]
    fit = largest_fit(start, needs, budgets, fixed)
    if fit.sequences:
        shapes.append(replace(start, sequences=fit.sequences))
    single = replace(start, sequences=1)
    if (context := largest_fit(single, needs, budgets, fixed).context) and context >= LEAST_CONTEXT:
        shapes.append(replace(single, context=context))
    if fit.context and fit.context >= LEAST_CONTEXT and start.runtime is Runtime.LLAMA_CPP:
        # A pool is shared: its length, not the number of sequences, is what it takes.
        shapes.insert(1, replace(start, context=fit.context))
    return shapes


def _reason(asked: LoadShape, need: Need, short: NoRoom, fit: Fit, without_cache: bool) -> str:
    parts = [_shortage(need, short)]
    if fit.context and fit.context < asked.context:
        parts.append(f"a context of {fit.context:,} would fit (engine.context)")
    if fit.sequences and fit.sequences < asked.sequences:
        parts.append(f"{fit.sequences} at once would fit (engine.max_sequences)")
    if without_cache:
        parts.append("it would fit without cached prompts (engine.prefix_cache_mb)")
    return "; ".join([*parts, _wait_or_raise(short)])


def _shortage(need: Need, short: NoRoom) -> str:
    where = "" if short.device == HOST else f" on {short.device}"
    margin_bytes = need.host.margin_bytes + need.gpu.margin_bytes
    margin = (
        f", of it {_gib(margin_bytes)} margin on a {need.basis.value}"
        if margin_bytes
        else f" by its {need.basis.value}"
    )
    return (
        f"needs {_gib(short.needed_bytes)}{where}{margin}, {_gib(short.free_bytes)} can be had now; "
        f"what binds is {short.binding}"
    )


def _wait_or_raise(short: NoRoom) -> str:
    if short.is_permanent:
        return "choose a smaller model or quantization, or raise that limit"
    return 'run "roost unload", or wait until others have ended'


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GIB:.1f} GiB"
