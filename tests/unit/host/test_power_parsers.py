"""What Linux and macOS say of power and of who works, on recorded text."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.host.darwin_power import parse_batteries, parse_low_power, parse_untouched
from roost.host.linux_power import LinuxPower, parse_used_cpu, power_of
from roost.host.power_types import Busyness, Power

MAINS = {"type": "Mains", "online": "1"}
UNPLUGGED = {"type": "Mains", "online": "0"}
DRAINING = {"type": "Battery", "status": "Discharging", "capacity": "41"}


@pytest.mark.parametrize(
    ("supplies", "profile", "expected"),
    [
        ([], "", Power(None, None, None)),
        ([MAINS, {"type": "Battery", "status": "Charging", "capacity": "80"}], "balanced", Power(False, 80, False)),
        ([UNPLUGGED, DRAINING], "low-power", Power(True, 41, True)),
        ([UNPLUGGED, {"type": "USB", "online": "1"}, DRAINING], "quiet", Power(False, 41, False)),
        ([MAINS, DRAINING | {"scope": "Device"}], "", Power(False, None, None)),
        ([UNPLUGGED, DRAINING, DRAINING | {"capacity": "9"}], "", Power(True, 9, None)),
        ([{"type": "Battery", "status": "Full", "capacity": ""}], "", Power(False, None, None)),
    ],
)
def test_a_laptop_is_on_battery_while_it_drains_one_of_its_own(
    supplies: list[dict[str, str]], profile: str, expected: Power
) -> None:
    assert power_of(supplies, profile) == expected


STAT = """\
cpu  1000 50 300 90000 400 10 20 30 7 0
cpu0 500 25 150 45000 200 5 10 15 3 0
intr 12345
"""


def test_waiting_for_a_disk_is_no_work() -> None:
    assert parse_used_cpu(STAT, 100) == (1000 + 50 + 300 + 10 + 20 + 30) / 100


@pytest.mark.parametrize("text", ["", "cpu  1 2 3", "cpu  a b c d e f g h", "intr 1"])
def test_an_unknown_form_tells_nothing(text: str) -> None:
    assert parse_used_cpu(text, 100) is None


def test_a_machine_without_any_of_these_files_tells_nothing(tmp_path: Path) -> None:
    sensor = LinuxPower(tmp_path, tmp_path)
    assert sensor.power() == Power()
    assert sensor.busyness().used_cpu_s is None


def test_the_files_of_a_laptop_are_read(tmp_path: Path) -> None:
    supply = tmp_path / "class/power_supply/BAT0"
    supply.mkdir(parents=True)
    for name, text in {"type": "Battery", "status": "Discharging", "capacity": "55"}.items():
        (supply / name).write_text(text + "\n")
    (tmp_path / "firmware/acpi").mkdir(parents=True)
    (tmp_path / "firmware/acpi/platform_profile").write_text("low-power\n")
    (tmp_path / "stat").write_text(STAT)
    sensor = LinuxPower(tmp_path, tmp_path)
    assert sensor.power() == Power(True, 55, True)
    assert isinstance(sensor.busyness(), Busyness) and (sensor.busyness().used_cpu_s or 0) > 0


ON_BATTERY = """\
Now drawing from 'Battery Power'
 -InternalBattery-0 (id=21823587)\t63%; discharging; 5:12 remaining present: true
"""
ON_MAINS = """\
Now drawing from 'AC Power'
 -InternalBattery-0 (id=21823587)\t100%; charged; 0:00 remaining present: true
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ON_BATTERY, (True, 63)),
        (ON_MAINS, (False, 100)),
        ("Now drawing from 'AC Power'\n", (False, None)),
        ("", (None, None)),
    ],
)
def test_a_mac_tells_what_it_draws_from(text: str, expected: tuple[bool | None, int | None]) -> None:
    assert parse_batteries(text) == expected


PMSET = """\
System-wide power settings:
Currently in use:
 standby              1
 powernap             1
 {line}
 displaysleep         2
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lowpowermode         1", True),
        ("lowpowermode         0", False),
        ("powermode            1", True),
        ("powermode            2", False),
        ("hibernatemode        3", None),
    ],
)
def test_a_mac_tells_its_low_power_mode(line: str, expected: bool | None) -> None:
    assert parse_low_power(PMSET.format(line=line)) is expected


def test_a_mac_tells_since_when_nobody_types() -> None:
    text = '    | |   "HIDIdleTime" = 4512345678\n    | |   "HIDParameters" = {"HIDIdleTime"=1}\n'
    assert parse_untouched(text) == pytest.approx(4.512345678)
    assert parse_untouched("") is None
