"""What the tool gate found of models: one file, which the gate writes and a running daemon reads again when it changes.

A verdict holds for exactly what was measured: its `basis` names weights, template, engine and settings, and with
another basis there is no verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from roost.config.files import locked, replace_file
from roost.errors import BadConfiguration

Word = Literal["fit", "fit-with-repair", "unfit"]

_FILE_MODE = 0o600
#: Of older ones the model has probably gone.
_MOST_VERDICTS = 500

Stamp = tuple[int, int, int]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Basis(_Value):
    """What a verdict is about; two that are equal would answer alike."""

    #: Digest of weights, projector and adapter; "" for servers that only their settings name.
    weights: str
    #: Of the template, the tokenizer and the configuration.
    texts: str
    engine: str
    engine_version: str | None
    quantization: str | None
    #: Of every setting that decides what is answered.
    settings: str


class GroupShare(_Value):
    """One line of the battery; shares are passed over count."""

    group: str
    arm: Literal["engine", "served"]
    passed: int
    count: int
    #: What went wrong, and how often.
    others: dict[str, int] = {}


class Verdict(_Value):
    model: str
    basis: Basis
    word: Word
    #: How far the layer must look for this model's calls.
    tools: Literal["marker", "full"]
    reasons: tuple[str, ...] = ()
    groups: tuple[GroupShare, ...] = ()
    #: Unix time, and the version of the battery's program.
    at: float
    version: str

    @property
    def passed(self) -> bool:
        return self.word != "unfit"


class _Content(_Value):
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class _Reading:
    stamp: Stamp | None
    content: _Content
    problem: str | None = None


class VerdictFile:
    """Reading costs one stat at most every `look_every_s`. A file that cannot be read holds no verdict."""

    def __init__(self, path: Path, *, look_every_s: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self._path, self._look_every_s, self._now = path, look_every_s, now
        self._looked_at = now()
        self._reading = _read(path)

    def of(self, model: str, basis: Basis) -> Verdict | None:
        """The valid verdict; None: it was never measured, or something of it has changed since."""
        held = self._current().content.verdicts
        return next((one for one in held if one.model == model and one.basis == basis), None)

    def last(self, model: str) -> Verdict | None:
        """The newest of any basis, to say what there was."""
        held = [one for one in self._current().content.verdicts if one.model == model]
        return max(held, key=lambda one: one.at, default=None)

    def problem(self) -> str | None:
        return self._current().problem

    def keep(self, verdict: Verdict) -> None:
        """In place of the one of this model and basis. Raises BadConfiguration when it cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._path):
                others = [
                    one
                    for one in _read(self._path).content.verdicts
                    if (one.model, one.basis) != (verdict.model, verdict.basis)
                ]
                content = _Content(verdicts=(*others, verdict)[-_MOST_VERDICTS:])
                replace_file(self._path, content.model_dump_json(indent=1).encode(), mode=_FILE_MODE)
        except OSError as error:
            raise BadConfiguration(f"cannot write {self._path}: {error.strerror or error}") from error
        self._reading = _read(self._path)

    def _current(self) -> _Reading:
        if self._now() - self._looked_at >= self._look_every_s:
            self._looked_at = self._now()
            if _stamp(self._path) != self._reading.stamp:
                self._reading = _read(self._path)
        return self._reading


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> _Reading:
    stamp = _stamp(path)
    if stamp is None:
        return _Reading(None, _Content())
    try:
        return _Reading(stamp, _Content.model_validate_json(path.read_bytes()))
    except (OSError, ValidationError) as error:
        kind = "is broken" if isinstance(error, ValidationError) else f"cannot be read: {error.strerror}"
        return _Reading(stamp, _Content(), f"{path} {kind}; verify the models again")
