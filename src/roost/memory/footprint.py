"""What one start needs in memory: its terms, each with its size, its place and where the figure comes from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class TermName(StrEnum):
    WEIGHTS = "weights"
    #: A second copy of matrices in an order that suits the CPU.
    REPACKED = "repacked weights"
    KV = "KV cache"
    #: Recurrent layers' state of every sequence.
    STATE = "recurrent state"
    #: Buffers of the computation.
    COMPUTE = "compute"
    #: Logits and embeddings handed back.
    OUTPUTS = "outputs"
    #: Cached prompts beside the running ones, up to their cap.
    PROMPT_CACHE = "prompt cache"
    #: Freed buffers that the engine keeps for reuse, up to their cap.
    REUSE = "freed buffers"
    #: Saved states to go back to, up to their cap.
    CHECKPOINTS = "checkpoints"
    #: Image encoder: its weights and its scratch.
    PROJECTOR = "image encoder"
    DRAFT = "draft model"
    #: What is there twice while the weights load.
    LOADING = "loading"
    #: The process itself: interpreter, libraries, tokenizer.
    BASE = "process"


class TermSource(StrEnum):
    """Where a figure comes from, the surest first."""

    #: Summed over the tensors of the files' headers.
    HEADER = "header"
    #: The cap that roost sets: it cannot become more.
    SETTING = "setting"
    #: The engine's own account of this start.
    DRY_RUN = "dry run"
    #: Measured once for this engine, and added.
    CALIBRATED = "calibrated"
    FORMULA = "formula"
    #: A fixed share, until a peak was measured.
    RESERVE = "reserve"
    #: Somebody's word in the settings.
    DECLARED = "declared"


class Where(StrEnum):
    HOST = "host"
    GPU = "gpu"


@dataclass(frozen=True)
class Term:
    name: TermName
    size_bytes: int
    source: TermSource
    #: How the figure came about, for people.
    basis: str
    where: Where = Where.HOST


#: The driver's own context on a GPU for each process: 518 MiB measured with CUDA on one H100.
GPU_CONTEXT_BYTES = 520 * 2**20

#: Figures that are exact bounds, or were measured as they are: no margin is added to them.
_FIRM = frozenset({TermName.PROMPT_CACHE, TermName.REUSE, TermName.CHECKPOINTS, TermName.BASE})


@dataclass(frozen=True)
class Footprint:
    """All terms of one start."""

    terms: tuple[Term, ...]
    #: What one more token of context costs; 0 where nothing grows.
    kv_bytes_per_token: int = 0
    #: The form of the cache, as people say it.
    family: str = ""
    #: The engine itself said how much it takes.
    is_dry_run: bool = False

    @property
    def total_bytes(self) -> int:
        return sum(term.size_bytes for term in self.terms)

    def on(self, where: Where) -> int:
        return sum(term.size_bytes for term in self.terms if term.where is where)

    def of(self, *names: TermName) -> int:
        """Bytes of these terms together."""
        return sum(term.size_bytes for term in self.terms if term.name in names)

    def estimated_on(self, where: Where) -> int:
        """What a margin applies to."""
        return sum(term.size_bytes for term in self.terms if term.where is where and term.name not in _FIRM)

    def firm_on(self, where: Where) -> int:
        """Caps that roost sets and the process itself."""
        return self.on(where) - self.estimated_on(where)

    def with_terms(self, terms: Iterable[Term], names: Iterable[TermName]) -> Footprint:
        """These terms in place of all that have one of `names`."""
        replaced = frozenset(names)
        kept = [term for term in self.terms if term.name not in replaced]
        return replace(self, terms=in_order([*terms, *kept]))


def gpu_context() -> Term:
    """For every start that has a GPU with memory of its own."""
    return Term(TermName.BASE, GPU_CONTEXT_BYTES, TermSource.CALIBRATED, "the driver's context", Where.GPU)


def in_order(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Terms that take something, in the order of their names' table."""
    order = list(TermName)
    return tuple(sorted((term for term in terms if term.size_bytes > 0), key=lambda term: order.index(term.name)))


def mib(size_bytes: int) -> str:
    """For a basis: `188 MiB`."""
    return f"{size_bytes / 2**20:,.0f} MiB"
