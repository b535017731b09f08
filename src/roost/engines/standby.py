"""Room for a spare: pure, for the pool that keeps one and for `roost doctor` that advises it."""

from __future__ import annotations

#: Share of the machine's memory that must be free beside a new spare: a convenience never makes it tight.
RESERVE_SHARE = 0.1
#: With less than this share free, a spare is the first thing to go.
TIGHT_SHARE = 0.05


def has_room(spare_bytes: int, available_bytes: int, total_bytes: int) -> bool:
    """Whether a further spare of this size may be started."""
    return available_bytes - spare_bytes >= RESERVE_SHARE * total_bytes


def is_tight(available_bytes: int, total_bytes: int) -> bool:
    """Whether memory is so short that spares must go."""
    return available_bytes < TIGHT_SHARE * total_bytes
