"""Cases, answers and what became of them. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Group(StrEnum):
    """Groups of cases in the order in which they run: those that decide soonest come first."""

    SINGLE = "single"
    CHOOSE = "choose"
    NO_TOOL = "no tool"
    FIDELITY = "fidelity"
    PARALLEL = "parallel"
    NESTED = "nested"
    STREAM = "stream"
    LOOP = "loop"
    LONG = "long context"
    CHOICE = "tool_choice"
    REPLAY = "replay"
    SAMPLED = "sampled"
    THINKING = "thinking"


class Arm(StrEnum):
    """Who is measured; the value is the header `x-roost-tools` that the request carries."""

    #: The engine alone.
    ENGINE = "off"
    #: What clients get.
    SERVED = "full"


class Outcome(StrEnum):
    OK = "ok"
    #: A call is in the text, and nowhere else.
    LEAKED = "leaked"
    #: A call whose arguments are no JSON object.
    MALFORMED = "malformed"
    WRONG_NAME = "wrong name"
    WRONG_ARGUMENTS = "wrong arguments"
    #: A call where none was due.
    INVENTED = "invented"
    #: Text that ends with marks of a call where none was due.
    MARKUP = "markup"
    MISSED = "missed"
    #: The same call for the third time.
    REPEATED = "repeated"
    #: A stream said something else than the whole answer.
    DIFFERS = "differs"
    #: The request was answered with an error, or not as OpenAI's API answers.
    ERROR = "error"


@dataclass(frozen=True)
class Call:
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One question. `expected` empty: no call is right."""

    name: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...]
    expected: tuple[Call, ...] = ()
    #: Strings must be equal byte by byte; else case and outer white space are no difference.
    exact: bool = False
    max_tokens: int = 400
    #: Further members of the request.
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A reply as a client reads it."""

    status: int
    content: str = ""
    reasoning: str = ""
    #: Name, and arguments as the text they came in.
    calls: tuple[tuple[str, str], ...] = ()
    finish: str = ""
    prompt_tokens: int | None = None
    #: The header `x-roost-tools`; streams have none.
    label: str = ""
    #: What is wrong with the form of a stream; "": nothing.
    fault: str = ""

    @property
    def tier(self) -> str | None:
        """Of a repair by the layer: T0, T1 or T2."""
        head, _, more = self.label.partition(";")
        said = dict(part.split("=", 1) for part in more.split(";") if "=" in part)
        return said.get("tier") if head == "repaired" else None


@dataclass(frozen=True)
class Result:
    """What became of one case, or of one round of a loop."""

    group: Group
    case: str
    arm: Arm
    outcome: Outcome
    tier: str | None = None
    #: Of a loop, counted from 1; 0: it is none.
    round: int = 0


@dataclass(frozen=True)
class Tally:
    """Results of one group and arm."""

    group: Group
    arm: Arm
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> int:
        return self.outcomes.count(Outcome.OK)

    @property
    def count(self) -> int:
        return len(self.outcomes)

    @property
    def share(self) -> float:
        """From 0 to 1; 0 of nothing."""
        return self.passed / self.count if self.count else 0.0


def tally(results: Sequence[Result], group: Group, arm: Arm) -> Tally:
    return Tally(group, arm, tuple(one.outcome for one in results if one.group is group and one.arm is arm))
