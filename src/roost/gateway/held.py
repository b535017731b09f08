"""Answers that are held as a whole, because they are assembled or translated: bounded one by one, and together."""

from __future__ import annotations

from dataclasses import dataclass

from roost.errors import ConcurrencyLimit, RoostError, UpstreamDisconnected

#: The longest answer that is held: 800 vectors of 4,096 numbers, 250,000 tokens in chunks of their own.
MOST_HELD_BYTES = 64 * 2**20
#: All of them together; decoded they take several times as much.
MOST_HELD_TOGETHER_BYTES = 4 * MOST_HELD_BYTES
#: The longest answer that is relayed: three times 2,048 vectors of 4,096 numbers.
MOST_RELAYED_BYTES = 512 * 2**20


def too_large(model_id: str, most_bytes: int) -> RoostError:
    """An engine that does not come to an end."""
    return UpstreamDisconnected(
        f"the answer of {model_id} is longer than {most_bytes // 2**20} MiB, which no real one is, and was cut; "
        "ask for less at once, and see whether its engine is in order",
        should_retry=False,
    )


@dataclass
class Held:
    """What one daemon holds of answers that are not complete or not sent yet."""

    held_bytes: int = 0

    def hold(self, model_id: str) -> Hold:
        """One answer's share, given back at the end of its `with` block."""
        return Hold(self, model_id)


@dataclass
class Hold:
    held: Held
    model_id: str
    size_bytes: int = 0

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self.held.held_bytes -= self.size_bytes

    def grow(self, more_bytes: int) -> None:
        """Raises UpstreamDisconnected beyond what one answer may have, ConcurrencyLimit beyond what all may."""
        self.size_bytes += more_bytes
        self.held.held_bytes += more_bytes
        if self.size_bytes > MOST_HELD_BYTES:
            raise too_large(self.model_id, MOST_HELD_BYTES)
        if self.held.held_bytes > MOST_HELD_TOGETHER_BYTES:
            raise ConcurrencyLimit(
                f"cannot take the answer of {self.model_id}: the answers that are held now have more than "
                f"{MOST_HELD_TOGETHER_BYTES // 2**20} MiB together; try again shortly, or ask for less at once",
                retry_after_s=1,
            )
