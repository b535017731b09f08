"""Readings of a machine that somebody may be working at: its power, how busy it is, whether anybody types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Power:
    """None: the machine does not tell, or has no such thing."""

    on_battery: bool | None = None
    charge_percent: int | None = None
    #: The low-power mode that its owner chose.
    saving: bool | None = None


@dataclass(frozen=True)
class Busyness:
    #: CPU seconds that all processes together have used since the machine started; None: not told.
    used_cpu_s: float | None = None
    cores: int = 1
    #: Since somebody last typed or moved the mouse; None: not told.
    untouched_s: float | None = None


class PowerSensor(Protocol):
    """Blocking, for some milliseconds. What cannot be read is None: nobody gives way for what nobody knows."""

    def power(self) -> Power: ...

    def busyness(self) -> Busyness: ...
