"""When a model's memory is suspected to be away."""

from __future__ import annotations

from roost.host.memory_types import ProcessMemory
from roost.workers.warmth import Warmth, cold_text

MIB = 2**20


def process(resident_mib: int, private_mib: int, swapped_mib: int = 0) -> ProcessMemory:
    return ProcessMemory(1, private_mib * MIB, resident_mib * MIB, resident_mib * MIB, swapped_mib * MIB)


def test_what_was_swapped_out_is_away() -> None:
    seen = Warmth().seen([process(300, 200, 700)])
    assert seen.away_bytes == 700 * MIB and seen.suspicious(0.2)


def test_a_macs_footprint_holds_what_was_compressed() -> None:
    assert Warmth().seen([process(300, 1000)]).away_bytes == 700 * MIB


def test_mapped_weights_that_were_dropped_are_missed_against_the_most_ever_seen() -> None:
    warm = Warmth().seen([process(1000, 100)])
    assert warm.away_bytes == 0
    assert warm.seen([process(150, 100)]).away_bytes == 850 * MIB


def test_a_little_is_noise() -> None:
    assert not Warmth().seen([process(1000, 100, 100)]).suspicious(0.2)
    assert not Warmth().seen([process(10, 10, 20)]).suspicious(0.2), "less than any model"
    assert not Warmth().suspicious(0.2)


def test_all_processes_of_a_worker_count() -> None:
    assert Warmth().seen([process(100, 100), process(100, 100, 300)]).away_bytes == 300 * MIB


def test_the_text_has_the_numbers() -> None:
    text = cold_text(Warmth().seen([process(300, 200, 700)]), 2.0)
    assert "700 of 1,000 MiB" in text and "more than 2 s" in text
