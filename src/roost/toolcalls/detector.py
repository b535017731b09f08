"""What may open a call in one request: the openers of the families that count, ready to be looked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from roost.toolcalls.calls import finished
from roost.toolcalls.cursor import Cursor
from roost.toolcalls.families import FAMILIES, Family, Opener, families_in, openers_of
from roost.toolcalls.tagged import Grammar
from roost.toolcalls.values import Mode, NoCall, Reason, Refusal, Tier, ToolCall, Tools

#: For the form of a call alone.
_ANY_TOOL = Tools({}, is_open=True)
THOUGHT_BEGINS = ("<think>", "[THINK]", "<seed:think>", "<|START_THINKING|>")
#: Behind these a message begins anew: what came before was thought.
THOUGHT_ENDS = ("</think>", "[/THINK]", "</seed:think>", "<|END_THINKING|>")


@dataclass(frozen=True)
class Parsed:
    """A text that is calls to its end."""

    calls: tuple[ToolCall, ...]
    steps: tuple[str, ...]
    content: str
    reasoning: str


@dataclass(frozen=True)
class Detector:
    """Openers by their spelling. `shapes`: the entire message may be a call without any."""

    tools: Tools
    anywhere: Mapping[str, Grammar]
    at_start: Mapping[str, Grammar]
    shapes: bool
    pattern: re.Pattern[str]
    start_pattern: re.Pattern[str]
    #: Every proper beginning of what `pattern` finds, and of what `start_pattern` finds.
    beginnings: frozenset[str]
    start_beginnings: frozenset[str]
    #: A text without any of these characters holds no opener, nor the beginning of one.
    first: re.Pattern[str]
    longest: int
    #: Behind a marker a tool that was not sent may be called too.
    forwards: bool = False
    #: For these reasons a model may be asked again.
    asks: frozenset[Reason] = frozenset()

    def parse(self, text: str, grammar: Grammar, tier: Tier, *, final: bool, cut: bool = False) -> Parsed:
        """The calls that the text is from its first character to its end. Raises NoCall.

        `cut`: the engine reached its limit. Complete calls count then, and what was cut behind them is dropped.
        """
        # Without a marker it is its declared name that tells a call from a record.
        tools = self.tools.opened() if self.forwards and tier is Tier.MARKER else self.tools
        return self._read(Cursor(text, 0, tools, final, cut), grammar, tier)

    def refusal(self, text: str, grammar: Grammar, tier: Tier, why: NoCall, *, final: bool) -> Refusal | None:
        """Of a text that is no call for this reason: what to ask its model about. None: there is nothing to ask, or
        the text would be none with any tools. `final` as in `parse`; until then it may go on."""
        if why.reason not in self.asks or (why.reason is Reason.UNKNOWN_TOOL and tier is Tier.SHAPE):
            return None
        try:
            self._read(Cursor(text, 0, _ANY_TOOL, final), grammar, tier)
        except NoCall as broken:
            if final or broken.reason is not Reason.TRUNCATED:
                return None
        return Refusal(tier, why.reason, why.detail)

    def _read(self, cursor: Cursor, grammar: Grammar, tier: Tier) -> Parsed:
        calls: list[ToolCall] = []
        steps: dict[str, None] = {}
        try:
            for raw in grammar(cursor):
                call, more = finished(raw, cursor.tools, tier)
                calls.append(call)
                steps.update(dict.fromkeys(more))
            cursor.finish(tuple(self.anywhere))
        except NoCall as refused:
            if not (cursor.cut and cursor.final and calls and refused.reason is Reason.TRUNCATED):
                raise
            steps["cut_tail"] = None
        if not calls:
            raise NoCall(Reason.MALFORMED if cursor.final else Reason.TRUNCATED)
        done = (*cursor.steps, *steps) or ("marker",)
        return Parsed(tuple(calls), tuple(dict.fromkeys(done)), "".join(cursor.content), "".join(cursor.reasoning))


def detector(
    tools: Tools,
    mode: Mode,
    template: str | None,
    *,
    forwards: bool = False,
    asks: frozenset[Reason] = frozenset(),
) -> Detector:
    """What counts under this mode with a model of this chat template; unknown (None), every family counts."""
    if mode is Mode.FULL or template is None:
        families: tuple[Family, ...] = FAMILIES
    else:
        families = families_in(template)
    found = _looking_for(tools, families, shapes=mode is Mode.FULL)
    return replace(found, forwards=forwards, asks=asks) if forwards or asks else found


def _looking_for(tools: Tools, families: Iterable[Family], *, shapes: bool) -> Detector:
    openers = openers_of(families)
    anywhere = _spelt(tools, [opener for opener in openers if not opener.at_start])
    at_start = _spelt(tools, [opener for opener in openers if opener.at_start])
    patterns = _patterns(tuple(anywhere), tuple(at_start))
    return Detector(tools, anywhere, at_start, shapes, *patterns)


def _spelt(tools: Tools, openers: Iterable[Opener]) -> dict[str, Grammar]:
    return {text: opener.grammar for opener in openers for text in opener.spelt(tools)}


_Patterns = tuple[re.Pattern[str], re.Pattern[str], frozenset[str], frozenset[str], re.Pattern[str], int]


@lru_cache(maxsize=64)
def _patterns(anywhere: tuple[str, ...], at_start: tuple[str, ...]) -> _Patterns:
    """An agent sends the same tools with each of its requests: they are compiled once."""
    everywhere = (*anywhere, *THOUGHT_BEGINS, *THOUGHT_ENDS)
    first = "".join(sorted({text[0] for text in everywhere}))
    return (
        _either(everywhere),
        _either(at_start),
        _beginnings(everywhere),
        _beginnings(at_start),
        re.compile(f"[{re.escape(first)}]"),
        max(map(len, everywhere)),
    )


def _either(texts: Iterable[str]) -> re.Pattern[str]:
    """The longest first; of none, nothing."""
    spelt = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spelt)) if spelt else r"(?!)")


def _beginnings(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(text[:end] for text in texts for end in range(1, len(text)))
