"""Inspections kept between refreshes: a header is read once, then only its stamp is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from roost.catalog.facts import Facts
from roost.catalog.inspect import dump_facts, inspect_model, parse_facts, stamp
from roost.catalog.refusal import ModelRefused
from roost.catalog.store import Inspection

Inspect = Callable[[Path], Facts]
#: Inspectors at once: each is a process that reads a few megabytes.
_PARALLEL = 4


class Inspections:
    """Facts by path. One owner calls it, under its lock."""

    def __init__(self, inspect: Inspect = inspect_model) -> None:
        self._inspect = inspect
        self._known: dict[str, Inspection] = {}
        self._facts: dict[tuple[str, str], Facts] = {}

    def remember(self, known: Mapping[str, Inspection]) -> None:
        """Take over what the catalog's file holds."""
        self._known |= known

    @property
    def known(self) -> Mapping[str, Inspection]:
        return self._known

    def prepare(self, paths: Iterable[Path]) -> None:
        """Inspect whatever is new or changed, several at once."""
        stale = [(path, now) for path in paths if (now := _stamp(path)) and not self._is_current(path, now)]
        if not stale:
            return
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="inspect") as pool:
            answers = pool.map(lambda item: self._ask(*item), stale)
        self._known |= {str(path): answer for (path, _), answer in zip(stale, answers, strict=True)}

    def facts(self, path: Path) -> Facts:
        """Facts of what lies there now. Raises ModelRefused, or OSError when nothing does."""
        now = stamp(path)
        if not self._is_current(path, now):
            self._known[str(path)] = self._ask(path, now)
        known = self._known[str(path)]
        if known.refused is not None:
            raise ModelRefused(known.refused)
        key = (str(path), now)
        if key not in self._facts:
            self._facts[key] = parse_facts(known.facts, path)
        return self._facts[key]

    def forget(self, keep: Callable[[str], bool]) -> None:
        """Drop what `keep` refuses by path."""
        self._known = {path: item for path, item in self._known.items() if keep(path)}
        self._facts = {key: item for key, item in self._facts.items() if keep(key[0])}

    def _is_current(self, path: Path, now: str) -> bool:
        known = self._known.get(str(path))
        return known is not None and known.stamp == now

    def _ask(self, path: Path, now: str) -> Inspection:
        try:
            return Inspection(stamp=now, facts=dump_facts(self._inspect(path)))
        except ModelRefused as error:
            return Inspection(stamp=now, refused=error.message)


def _stamp(path: Path) -> str | None:
    """The stamp, or None where there is nothing to inspect: the survey says why."""
    try:
        return stamp(path)
    except (OSError, ModelRefused):
        return None
