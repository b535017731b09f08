"""From readings to a mode and a claim."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.config.settings import CoexistenceSettings
from roost.host.memory_types import HostMemory, Pressure, Swap
from roost.host.power_types import Busyness, Power
from roost.workers.claim import FULL, Claim, Mode
from roost.workers.coexistence import (
    CALLS_FOR,
    Cause,
    Coexistence,
    Sight,
    Used,
    claim_of,
    may_preload,
    others_percent,
    step,
)

GIB = 2**30
SETTINGS = CoexistenceSettings(rise_s=10, settle_s=60)
MEMORY = HostMemory(16 * GIB, 8 * GIB, Swap(0), Pressure(0.0, 0.0))
MAINS = Sight(0.0, Power(False, 90, False), MEMORY, 5.0)
BATTERY = replace(MAINS, power=Power(True, 62, False))


def follow(*looks: tuple[float, Sight], settings: CoexistenceSettings = SETTINGS) -> Coexistence:
    now = Coexistence()
    for at_s, seen in looks:
        now = step(now, replace(seen, at_s=at_s), settings)
    return now


def test_a_reason_counts_once_it_has_lasted() -> None:
    assert follow((0, BATTERY), (9, BATTERY)).mode is Mode.FULL
    now = follow((0, BATTERY), (10, BATTERY))
    assert (now.mode, now.reasons) == (Mode.MODEST, ("on battery (62 %)",))


def test_a_reason_that_comes_and_goes_never_counts() -> None:
    looks = [(5.0 * number, BATTERY if number % 2 else MAINS) for number in range(40)]
    assert follow(*looks).mode is Mode.FULL


def test_the_mode_lets_go_only_after_it_was_quiet_for_longer() -> None:
    risen = ((0, BATTERY), (10, BATTERY))
    assert follow(*risen, (20, MAINS), (79, MAINS)).mode is Mode.MODEST
    assert follow(*risen, (20, MAINS), (80, MAINS)).mode is Mode.FULL
    assert follow(*risen, (20, MAINS), (70, BATTERY), (80, MAINS), (130, MAINS)).mode is Mode.MODEST


@pytest.mark.parametrize(
    ("seen", "mode", "text"),
    [
        (replace(MAINS, power=Power(False, 90, True)), Mode.MINIMAL, "low-power mode"),
        (replace(MAINS, power=Power(True, 12, False)), Mode.MINIMAL, "the battery is low (12 %)"),
        (replace(MAINS, memory=replace(MEMORY, available_bytes=GIB)), Mode.MINIMAL, "6 % of the memory is available"),
        (
            replace(MAINS, memory=replace(MEMORY, pressure=Pressure(some_percent=3.5))),
            Mode.MINIMAL,
            "programs waited for memory 3.5 % of the time",
        ),
        (
            replace(MAINS, memory=replace(MEMORY, pressure=Pressure(level=2))),
            Mode.MINIMAL,
            "the system warns of memory pressure",
        ),
        (replace(MAINS, others_percent=80.0), Mode.MODEST, "other programs use 80 % of the CPU"),
    ],
)
def test_each_reason_has_its_mode_and_its_numbers(seen: Sight, mode: Mode, text: str) -> None:
    now = follow((0, seen), (10, seen))
    assert now.mode is mode and text in now.reasons


def test_the_worst_of_several_reasons_decides() -> None:
    seen = replace(MAINS, power=Power(True, 12, False), others_percent=90.0)
    now = follow((0, seen), (10, seen))
    assert now.mode is Mode.MINIMAL and len(now.reasons) == 3


def test_others_stay_busy_until_they_are_calm() -> None:
    busy, between, calm = (replace(MAINS, others_percent=share) for share in (70.0, 50.0, 20.0))
    risen = ((0, busy), (10, busy))
    assert follow(*risen, *((10.0 + 20 * number, between) for number in range(1, 9))).mode is Mode.MODEST
    assert follow((0, between), (50, between)).mode is Mode.FULL
    assert follow(*risen, (20, calm), (80, calm)).mode is Mode.FULL


def test_what_a_machine_does_not_tell_is_no_reason() -> None:
    nothing = Sight(0.0)
    assert follow((0, nothing), (1000, nothing)) == Coexistence()


def test_a_look_that_cannot_tell_how_busy_others_are_changes_nothing() -> None:
    busy = replace(MAINS, others_percent=70.0)
    blind = replace(MAINS, others_percent=None)
    now = follow((0, busy), (10, busy), (20, blind), (200, blind))
    assert (now.mode, now.reasons) == (Mode.MODEST, ("other programs use 70 % of the CPU",))


@pytest.mark.parametrize("off", [{"enabled": False}, {"profile": "server"}])
def test_a_server_gives_way_to_nobody(off: dict[str, object]) -> None:
    settings = SETTINGS.model_copy(update=off)
    assert follow((0, BATTERY), (100, BATTERY), settings=settings) == Coexistence()


def test_a_claim_only_ever_shortens() -> None:
    modest, minimal = claim_of(Mode.MODEST, SETTINGS), claim_of(Mode.MINIMAL, SETTINGS)
    assert claim_of(Mode.FULL, SETTINGS) == FULL == Claim()
    assert [claim.ttl_s(0) for claim in (FULL, modest, minimal)] == [0, 300, 20]
    assert [claim.ttl_s(60) for claim in (FULL, modest, minimal)] == [60, 60, 20]
    assert [claim.most(4) for claim in (FULL, modest, minimal)] == [4, 2, 1]
    assert modest.most(1) == 1


def test_nothing_is_loaded_again_before_mains_quiet_and_a_pause() -> None:
    full = Coexistence()
    assert may_preload(full, MAINS, SETTINGS)
    assert not may_preload(full, replace(MAINS, untouched_s=3.0), SETTINGS)
    assert may_preload(full, replace(MAINS, untouched_s=31.0), SETTINGS)
    assert not may_preload(follow((0, BATTERY)), BATTERY, SETTINGS), "the plug was pulled a moment ago"
    assert not may_preload(follow((0, BATTERY), (10, BATTERY)), MAINS, SETTINGS)
    assert not may_preload(full, MAINS, SETTINGS.model_copy(update={"preload": False}))


def used(at_s: float, everybody_s: float | None, own_s: float, cores: int = 4) -> Used:
    return Used(at_s, Busyness(everybody_s, cores), own_s)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, used(10, 100, 0), None),
        (used(0, 100, 0), used(10, 120, 0), 50.0),
        (used(0, 100, 5), used(10, 140, 45), 0.0),
        (used(0, 100, 5), used(10, 140, 25), 50.0),
        (used(0, 100, 50), used(10, 110, 2), None),
        (used(0, None, 0), used(10, 100, 0), None),
        (used(10, 100, 0), used(10, 100, 0), None),
        (used(0, 100, 0), used(10, 200, 0), 100.0),
    ],
)
def test_others_are_everybody_but_roost(before: Used | None, now: Used, expected: float | None) -> None:
    assert others_percent(before, now) == expected


sights = st.builds(
    lambda battery, charge, saving, others: replace(MAINS, power=Power(battery, charge, saving), others_percent=others),
    st.sampled_from([None, True, False]),
    st.none() | st.integers(0, 100),
    st.sampled_from([None, True, False]),
    st.none() | st.floats(0, 100),
)


@given(st.lists(st.tuples(st.floats(0.1, 200), sights), max_size=40))
def test_a_mode_is_always_called_for_by_what_counts_and_quiet_ends_it(looks: list[tuple[float, Sight]]) -> None:
    now, at_s = Coexistence(), 0.0
    for pause_s, seen in looks:
        at_s += pause_s
        before, now = now, step(now, replace(seen, at_s=at_s), SETTINGS)
        assert now.mode is max((CALLS_FOR[cause] for cause in now.counting), key=list(Mode).index, default=Mode.FULL)
        assert len(now.reasons) == len(now.counting)
        assert all(at_s - since < SETTINGS.settle_s for since in now.since.values())
        assert (before.counting ^ now.counting) <= set(Cause)
    for later_s in (1.0, 62.0):
        now = step(now, replace(MAINS, at_s=at_s + later_s), SETTINGS)
    assert now == Coexistence()
