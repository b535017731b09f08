"""The settings in force: swapped whole when a file changes; a broken one leaves the old in force and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from roost.config.check import check
from roost.config.findings import Facts
from roost.config.load import LoadedSettings, load
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.errors import BadConfiguration

log = structlog.get_logger(__name__)

#: Changing these needs a new start; until then the old value holds.
FIXED_AT_START = {
    "gateway": ("host", "port", "tls_certificate", "tls_key"),
    "nodes": ("name", "listen"),
}
#: An editor that empties or removes the file before it writes it has written it by then.
SETTLE_S = 0.5


class LiveSettings:
    """`settings()` is read at each request; a value is never changed in place."""

    def __init__(self, paths: Paths, environ: Mapping[str, str], flags: Mapping[str, object]) -> None:
        """Raises BadConfiguration when the files are wrong at the start."""
        self._paths, self._environ, self._flags = paths, environ, flags
        self._loaded: LoadedSettings = load(paths, environ, flags)
        self.problem: str | None = None
        #: Settings of the files that only a restart brings into force.
        self.pending: tuple[str, ...] = ()

    def settings(self) -> Settings:
        return self._loaded.settings

    async def reload(self, changed: frozenset[Path]) -> None:
        if any(_is_bare(path) for path in changed):
            # No settings are valid settings: taken at once, every declared model would be gone, and its worker too.
            await asyncio.sleep(SETTLE_S)
        try:
            loaded = load(self._paths, self._environ, self._flags)
        except BadConfiguration as error:
            self.problem = error.message  # it holds the first of its problems
            log.warning("settings refused", problem=self.problem)
            return
        self.problem = None
        settings, self.pending = _held(self._loaded.settings, loaded.settings)
        self._loaded = LoadedSettings(settings, loaded.origins, loaded.problems)
        log.info("settings taken", pending=self.pending)


def _held(before: Settings, after: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The new settings with what holds from the start on, and the names of what a restart would bring."""
    sections, pending = {}, []
    for section, names in FIXED_AT_START.items():
        old, new = getattr(before, section), getattr(after, section)
        pending += [f"{section}.{name}" for name in names if getattr(old, name) != getattr(new, name)]
        sections[section] = new.model_copy(update={name: getattr(old, name) for name in names})
    return after.model_copy(update=sections), tuple(pending)


def _is_bare(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def refuse_unusable(settings: Settings, *, has_keys: bool) -> None:
    """Raises BadConfiguration for settings that contradict themselves or would open a door."""
    errors = [p for p in check(settings, Facts(has_keys=has_keys)) if p.severity == "error"]
    if errors:
        texts = tuple(f"{p.text}; {p.mend}" if p.mend else p.text for p in errors)
        raise BadConfiguration("cannot start with these settings", problems=texts)
