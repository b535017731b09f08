"""A sensor whose machine a test plugs in and out."""

from __future__ import annotations

from dataclasses import dataclass, field

from roost.host.power_types import Busyness, Power


@dataclass
class ScriptedPower:
    """See `host.power_types.PowerSensor`."""

    reading: Power = field(default_factory=lambda: Power(on_battery=False, charge_percent=90, saving=False))
    busy: Busyness = field(default_factory=Busyness)
    looks: int = 0

    def unplug(self, charge_percent: int) -> None:
        self.reading = Power(True, charge_percent, False)

    def plug_in(self) -> None:
        self.reading = Power(False, 90, False)

    def power(self) -> Power:
        self.looks += 1
        return self.reading

    def busyness(self) -> Busyness:
        return self.busy
