"""Chooses the implementation for the OS that runs us."""

from __future__ import annotations

import sys

from roost.host.memory_types import MemorySensor
from roost.host.power_types import PowerSensor
from roost.host.types import Host


def this_host() -> Host:
    """The machine we run on. Raises NotImplementedError elsewhere than on Linux and macOS."""
    if sys.platform == "darwin":
        from roost.host.darwin import DarwinHost

        return DarwinHost()
    if sys.platform.startswith("linux"):
        from roost.host.linux import LinuxHost

        return LinuxHost()
    raise NotImplementedError(f"cannot run on {sys.platform}: roost supports Linux and macOS")


def this_memory() -> MemorySensor:
    """Readings of this machine's memory. Raises NotImplementedError elsewhere than on Linux and macOS."""
    if sys.platform == "darwin":
        from roost.host.darwin_memory import DarwinMemory

        return DarwinMemory()
    if sys.platform.startswith("linux"):
        from roost.host.linux_memory import LinuxMemory

        return LinuxMemory()
    raise NotImplementedError(f"cannot run on {sys.platform}: roost supports Linux and macOS")


def this_power() -> PowerSensor:
    """Readings of this machine's power and load. Raises NotImplementedError elsewhere than on Linux and macOS."""
    if sys.platform == "darwin":
        from roost.host.darwin_power import DarwinPower

        return DarwinPower()
    if sys.platform.startswith("linux"):
        from roost.host.linux_power import LinuxPower

        return LinuxPower()
    raise NotImplementedError(f"cannot run on {sys.platform}: roost supports Linux and macOS")
