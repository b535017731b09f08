"""Names that mean one model now and another later: pins of the active profile, and selectors.

They are names like roles: an id or a role of the same name always wins, and every answer says which model it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from roost.config.settings import SelectorSettings, Settings
from roost.errors import ModelNotFound
from roost.registry.types import Redirect, Resolution
from roost.routing.select import Stage, Target, select
from roost.workers.types import WorkerView

_STAGES = {
    "ready": Stage.READY,
    "loading": Stage.COMING,
    "proving": Stage.COMING,
    "queued": Stage.COMING,
    "draining": Stage.LEAVING,
    "parking": Stage.LEAVING,
    "stopping": Stage.LEAVING,
}
#: In a route's reason.
PROFILE = "profile"


class ActiveProfile:
    """The one choice that is made at run time and lasts until the next start, or until the settings name another."""

    def __init__(self) -> None:
        self._from_settings: str | None = None
        self._name = ""

    def name(self, settings: Settings) -> str | None:
        """None: no profile is active."""
        if settings.profile != self._from_settings:
            self._from_settings = self._name = settings.profile
        return self._name if self._name in settings.profiles else None

    def choose(self, name: str | None, settings: Settings) -> None:
        self._from_settings, self._name = settings.profile, name or ""

    def pins(self, settings: Settings) -> Mapping[str, str]:
        name = self.name(settings)
        return settings.profiles[name].pins if name else {}


def pinned(pins: Mapping[str, str]) -> Callable[[str], Redirect | None]:
    """What the pins of a profile make of a name."""

    def redirect(name: str) -> Redirect | None:
        return Redirect(pins[name], PROFILE) if name in pins else None

    return redirect


def selected(
    selectors: Mapping[str, SelectorSettings],
    meaning: Callable[[str], Resolution],
    views: Callable[[], Iterable[WorkerView]],
    *,
    first_only: bool,
) -> Callable[[str], Redirect | None]:
    """What the selectors make of a name now. `meaning` raises ModelNotFound for a target that nobody has."""

    def redirect(name: str) -> Redirect | None:
        selector = selectors.get(name)
        if selector is None or not selector.targets:
            return None
        if first_only:
            return Redirect(selector.targets[0], selector.strategy.value)
        by_model = {view.model_id: view for view in views()}
        targets = [target for own in selector.targets if (target := _target(own, meaning, by_model))]
        if not targets:
            return Redirect(selector.targets[0], selector.strategy.value)
        return Redirect(select(selector.strategy, targets, selector.spillover).name, selector.strategy.value)

    return redirect


def _target(name: str, meaning: Callable[[str], Resolution], views: Mapping[str, WorkerView]) -> Target | None:
    try:
        view = views.get(meaning(name).model_id)
    except ModelNotFound:
        return None
    if view is None:
        return Target(name, Stage.COLD)
    return Target(name, _STAGES.get(view.state, Stage.COLD), view.running + view.queued)
