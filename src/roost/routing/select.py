"""Which of its targets a selector means now: a pure function over how these stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from roost.config.settings import Strategy


class Stage(StrEnum):
    READY = "ready"
    #: Loading, or somebody waits for it to be loaded.
    COMING = "coming"
    LEAVING = "leaving"
    COLD = "cold"


@dataclass(frozen=True)
class Target:
    """One candidate, by the name that the selector has for it."""

    name: str
    stage: Stage
    #: Requests that run or wait.
    requests: int = 0


def select(strategy: Strategy, targets: Sequence[Target], spillover: int = 1) -> Target:
    """The target for one more request; `targets` in the order of preference, at least one."""
    match strategy:
        case Strategy.PIN:
            return targets[0]
        case Strategy.WARM:
            return _first(targets, Stage.READY) or _first(targets, Stage.COMING) or targets[0]
        case Strategy.SPILLOVER:
            return _spilt_over(targets, spillover)


def _first(targets: Sequence[Target], stage: Stage) -> Target | None:
    return next((target for target in targets if target.stage is stage), None)


def _spilt_over(targets: Sequence[Target], spillover: int) -> Target:
    active = [target for target in targets if target.stage in (Stage.READY, Stage.COMING)]
    cold = _first(targets, Stage.COLD)
    if not active:
        return cold or targets[0]
    least_busy = min(active, key=lambda target: target.requests)
    return cold if cold and least_busy.requests >= spillover else least_busy
