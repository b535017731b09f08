"""What is said about the calls of an answer: in a header, in the log, in a counter. Never a value of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from roost.toolcalls.values import Reason, Tier


@dataclass
class Label:
    """`passthrough` until something is done, or could not be."""

    outcome: str = "passthrough"
    tier: Tier | None = None
    steps: dict[str, None] = field(default_factory=dict)
    reason: Reason | None = None
    #: The model was asked a second time, because of this; None: it was not.
    asked: Reason | None = None
    #: Its second answer was no better: this is the first one.
    in_vain: bool = False

    def repaired(self, tier: Tier, steps: Iterable[str]) -> None:
        """Calls were made of what was none."""
        self.outcome, self.tier = "repaired", self.tier or tier
        self.steps.update(dict.fromkeys(steps))

    def unrepaired(self, reason: Reason | None) -> None:
        """Something looked like a call and is none."""
        if reason is not None and self.outcome == "passthrough":
            self.outcome, self.reason = "unrepaired", reason

    def constrained(self) -> None:
        """The engine was held to a schema."""
        self.outcome = "constrained"

    def __str__(self) -> str:
        again = self.asked is not None and not self.in_vain
        parts = ["reask" if again else self.outcome]
        if self.outcome == "repaired":
            parts += [f"tier={self.tier}", f"steps={'+'.join(self.steps)}"]
        reason = self.asked if again else self.reason
        if reason is not None:
            parts.append(f"reason={reason}")
        return ";".join([*parts, "reask=failed"] if self.in_vain else parts)
