"""Power and busyness on macOS, kept thin: never run by this project's own tests; its parsers are pure, tested on
recorded text."""

from __future__ import annotations

import os
import re
import subprocess

import psutil

from roost.host.power_types import Busyness, Power

_TIMEOUT_S = 5.0


def parse_batteries(text: str) -> tuple[bool | None, int | None]:
    """Whether it runs on battery, and the charge, of `pmset -g batt`. A Mac without a battery draws from AC."""
    source = re.search(r"drawing from '([^']+)'", text)
    charge = re.search(r"(\d+)%;", text)
    return (source[1] == "Battery Power" if source else None, int(charge[1]) if charge else None)


def parse_low_power(text: str) -> bool | None:
    """`lowpowermode` of `pmset -g`; some Macs call it `powermode` and count 1 as low, 2 as high."""
    found = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)", text, re.MULTILINE)
    return found[1] == "1" if found else None


def parse_untouched(text: str) -> float | None:
    """Seconds since the last input, of `ioreg -c IOHIDSystem -d 4`; it counts nanoseconds."""
    found = re.search(r'"HIDIdleTime"\s*=\s*(\d+)', text)
    return int(found[1]) / 1e9 if found else None


class DarwinPower:
    """`PowerSensor` of macOS."""

    def power(self) -> Power:
        on_battery, charge = parse_batteries(_output("pmset", "-g", "batt"))
        return Power(on_battery, charge, parse_low_power(_output("pmset", "-g")))

    def busyness(self) -> Busyness:
        times = psutil.cpu_times()
        used = times.user + times.nice + times.system
        return Busyness(used, os.cpu_count() or 1, parse_untouched(_output("ioreg", "-c", "IOHIDSystem", "-d", "4")))


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
