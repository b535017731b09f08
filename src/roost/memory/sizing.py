"""The footprint of a model at any window and number of sequences, from one account of its engine or by formula."""

from __future__ import annotations

from dataclasses import dataclass, replace

from roost.catalog.spec import ModelSpec
from roost.memory.dry_footprint import dry_footprint
from roost.memory.footprint import Footprint, Term, TermName, TermSource, Where, in_order
from roost.memory.llama_footprint import llama_footprint
from roost.memory.mlx_footprint import mlx_footprint
from roost.memory.types import DryRun, Ignorance, LoadShape, MlxDryRun, Runtime, Unknown


@dataclass(frozen=True)
class Sizer:
    """One model on one engine; `shape` is what was asked."""

    spec: ModelSpec
    shape: LoadShape
    repacked_types: frozenset[str] = frozenset()
    #: The engine's account of `shape`.
    told: DryRun | None = None

    def asked(self) -> Footprint | Unknown:
        """At the sizes that were asked."""
        return self.at(self.shape)

    def at(self, shape: LoadShape) -> Footprint | Unknown:
        """At other sizes. An MLX account holds for every length; llama.cpp's is moved by what the formulas say that
        the sizes change."""
        if self.told is None:
            return self._formula(shape)
        if isinstance(self.told, MlxDryRun) or shape == self.shape:
            return dry_footprint(self.spec, shape, self.told)
        here, there = self._formula(self.shape), self._formula(shape)
        if isinstance(here, Unknown) or isinstance(there, Unknown):
            return Unknown(Ignorance.ASK_ENGINE, "other sizes than those that were asked need another dry run")
        return _moved(dry_footprint(self.spec, self.shape, self.told), here, there)

    def _formula(self, shape: LoadShape) -> Footprint | Unknown:
        if shape.runtime is Runtime.MLX:
            return mlx_footprint(self.spec, shape)
        return llama_footprint(self.spec, shape, self.repacked_types)


def _moved(told: Footprint, here: Footprint, there: Footprint) -> Footprint:
    """Each term of the account, larger or smaller by as much as the formula's."""
    terms = []
    for name in TermName:
        for where in Where:
            size = _size(told, name, where) + _size(there, name, where) - _size(here, name, where)
            known = _first(told, name, where) or _first(there, name, where)
            if known is not None:
                terms.append(replace(known, size_bytes=max(size, 0), basis=_basis(there, name, where, known)))
    return replace(there, terms=in_order(terms), is_dry_run=True)


def _size(footprint: Footprint, name: TermName, where: Where) -> int:
    return sum(term.size_bytes for term in footprint.terms if term.name is name and term.where is where)


def _first(footprint: Footprint, name: TermName, where: Where) -> Term | None:
    return next((term for term in footprint.terms if term.name is name and term.where is where), None)


def _basis(there: Footprint, name: TermName, where: Where, known: Term) -> str:
    formula = _first(there, name, where)
    if known.source is not TermSource.DRY_RUN or formula is None:
        return known.basis
    return f"{known.basis}, moved to these sizes by formula"


def undeclared_size() -> Unknown:
    """Of a command or external worker roost knows only what the settings declare."""
    return Unknown(Ignorance.UNDECLARED, "size unknown: measured while it runs; declare it with memory_gb")
