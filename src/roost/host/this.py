"""Chooses the implementation for the OS that runs us."""

from __future__ import annotations

import sys

from roost.host.control_groups import ControlGroups, delegated_groups
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


def this_control_groups() -> ControlGroups | None:
    """Control groups that workers may be put into; None: there are none here."""
    if not sys.platform.startswith("linux"):
        return None
    return delegated_groups()


def counts_private_memory() -> bool:
    """Whether RLIMIT_DATA bounds all that a process has for itself."""
    return sys.platform.startswith("linux")


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
