"""The tool gate's word on each model, as long as it is served as it was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from roost.catalog.spec import ModelSpec
from roost.config.paths import Paths
from roost.config.settings import Settings
from roost.engines.basis import Ground, ground_of
from roost.engines.types import Engine
from roost.errors import RoostError
from roost.host.types import Host
from roost.store.verdicts import Basis, Verdict, VerdictFile

#: A busy daemon asks at each request with tools.
LOOK_S = 1.0


class Verdicts:
    """Asked at each request with tools: what a model stands on is worked out once per settings and reading of it."""

    def __init__(
        self,
        file: VerdictFile,
        settings: Callable[[], Settings],
        ground: Callable[[ModelSpec, Settings], Ground],
    ) -> None:
        self._file, self._settings, self._ground = file, settings, ground
        self._known: dict[str, tuple[ModelSpec, Settings, Basis | None]] = {}

    @classmethod
    def here(
        cls, paths: Paths, settings: Callable[[], Settings], engines: Mapping[str, Engine], host: Host
    ) -> Verdicts:
        """Those of this machine, with the engines that serve on it."""
        apple = host.is_apple_silicon()
        file = VerdictFile(paths.verdicts, look_every_s=LOOK_S)
        return cls(file, settings, lambda spec, now: ground_of(spec, now, engines, apple=apple))

    def of(self, spec: ModelSpec) -> Verdict | None:
        """None: never measured, or something of it has changed since."""
        if self._file.last(spec.id) is None:
            return None
        basis = self._basis(spec)
        return self._file.of(spec.id, basis) if basis else None

    def problem(self) -> str | None:
        return self._file.problem()

    def _basis(self, spec: ModelSpec) -> Basis | None:
        settings = self._settings()
        known = self._known.get(spec.id)
        if known is None or known[0] is not spec or known[1] is not settings:
            known = self._known[spec.id] = (spec, settings, self._work_out(spec, settings))
        return known[2]

    def _work_out(self, spec: ModelSpec, settings: Settings) -> Basis | None:
        """None: nothing would serve it."""
        try:
            return Basis(**asdict(self._ground(spec, settings)))
        except RoostError:
            return None
