"""Power and busyness on Linux: sysfs and /proc/stat. Parsers are pure; `LinuxPower` reads what they parse."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from roost.host.power_types import Busyness, Power

#: Files of each power supply that are read.
SUPPLY_FILES = ("type", "scope", "online", "status", "capacity")
#: Of the platform profiles, the one that its owner chooses to save power; `quiet` is for the ears.
_SAVING = "low-power"
#: Columns of /proc/stat after the name that count as work: user, nice, system, irq, softirq, steal.
_WORKING = (0, 1, 2, 5, 6, 7)


def power_of(supplies: Iterable[Mapping[str, str]], profile: str) -> Power:
    """From the files of each supply and the text of platform_profile. A battery of a mouse (scope Device) is none of
    the machine's."""
    own = [supply for supply in supplies if supply.get("scope") != "Device"]
    batteries = [supply for supply in own if supply.get("type") == "Battery"]
    plugged = any(supply.get("online") == "1" for supply in own if supply.get("type") != "Battery")
    charges = [int(battery["capacity"]) for battery in batteries if battery.get("capacity", "").isdigit()]
    discharging = any(battery.get("status") == "Discharging" for battery in batteries)
    return Power(
        # A charger that is too weak is plugged in while the battery drains: the wall still pays for most of it.
        on_battery=discharging and not plugged if own else None,
        charge_percent=min(charges, default=None),
        saving=profile == _SAVING if profile else None,
    )


def parse_used_cpu(text: str, ticks_a_second: int) -> float | None:
    """Seconds of work of all cores, from /proc/stat."""
    line = next((line for line in text.splitlines() if line.startswith("cpu ")), "")
    fields = line.split()[1:]
    if len(fields) <= max(_WORKING) or not all(field.isdigit() for field in fields):
        return None
    return sum(int(fields[column]) for column in _WORKING) / ticks_a_second


class LinuxPower:
    """`PowerSensor` of Linux. `proc`, `sys`: other folders in tests."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc, self._sys = proc, sys
        self._ticks = os.sysconf("SC_CLK_TCK")

    def power(self) -> Power:
        folders = sorted((self._sys / "class/power_supply").glob("*"))
        supplies = [{name: _read(folder / name) for name in SUPPLY_FILES} for folder in folders]
        return power_of(supplies, _read(self._sys / "firmware/acpi/platform_profile"))

    def busyness(self) -> Busyness:
        return Busyness(parse_used_cpu(_read(self._proc / "stat"), self._ticks), os.cpu_count() or 1)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
