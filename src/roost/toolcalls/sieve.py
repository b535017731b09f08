"""A text that comes in pieces, and what of it is surely no call: the machine behind streams and whole answers alike.

    START --opener, shape--> HOLD --not a call--> PASS (a shape) or SHUT (a marker) --thought ends--> START
    START --anything else--> PASS --opener where one is meant--> HOLD --end--> calls

What is held is looked at when it reaches certain lengths, never when a piece happens to end: however a text is split,
the same comes of it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum, auto

from roost.toolcalls.detector import THOUGHT_BEGINS, THOUGHT_ENDS, Detector
from roost.toolcalls.lines import Lines
from roost.toolcalls.shape import shape
from roost.toolcalls.tagged import Grammar
from roost.toolcalls.values import Finding, NoCall, Reason, Refusal, Tier

#: A longer call is not waited for.
MOST_HELD = 64 * 1024
#: Nor does more white space wait for what may follow it: some models never stop writing line feeds.
_MOST_SPACE = 256
#: The lengths at which held text is looked at.
_FIRST_LOOK, _NEXT_LOOK = 16, 4
_THOUGHTS = (*THOUGHT_BEGINS, *THOUGHT_ENDS)
_THOUGHT = re.compile("|".join(map(re.escape, _THOUGHTS)))


class _State(Enum):
    START = auto()
    PASS = auto()
    HOLD = auto()
    #: A marker turned out to be text: this message speaks about calls. Only a thought's end changes that.
    SHUT = auto()


class Sieve:
    """One choice's content, or its reasoning. Feed it, pass on what is released, ask for the finding at the end."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._state = _State.START
        self._lines = Lines()
        self._buffer = ""
        #: In HOLD: where the candidate begins in the buffer, how it is read, when it is looked at next.
        self._at = 0
        self._grammar: Grammar = shape
        self._tier = Tier.MARKER
        self._look = _FIRST_LOOK
        self._reason: Reason | None = None
        self._refusal: Refusal | None = None
        #: A thought was begun in a quotation: the next end of one is part of that.
        self._quoted_thought = False
        #: So many characters are plain text for sure.
        self.released = 0

    @property
    def held(self) -> int:
        """Characters that wait."""
        return len(self._buffer)

    def feed(self, text: str) -> None:
        """The next piece."""
        if self._plain(text):
            self._lines = self._lines.after(text)
            self.released += len(text)
            return
        self._buffer += text
        while self._step():
            pass

    def _plain(self, text: str) -> bool:
        """What most pieces are: nothing waits, and nothing in it could begin a marker."""
        if self._state is not _State.PASS or self._buffer or not text or text[-1].isspace():
            return False
        return self._detector.first.search(text) is None

    def finish(self, *, cut: bool = False) -> Finding:
        """Nothing comes any more; `cut`: because the engine reached its limit."""
        while True:
            while self._step():
                pass
            if self._state is not _State.HOLD:
                self._release(len(self._buffer))
                return Finding(self.released, reason=self._reason, refusal=self._refusal)
            try:
                found = self._detector.parse(self._buffer[self._at :], self._grammar, self._tier, final=True, cut=cut)
            except NoCall as why:
                refusal = None if cut else self._refusal_of(self._buffer[self._at :], why, final=True)
                self._refuse(why.reason)
                self._refusal = refusal
                if why.reason is Reason.TRUNCATED:
                    # Whatever markers stand in it are in a value that is still open.
                    self.abandon()
                continue
            return Finding(self.released, found.calls, self._tier, found.steps, None, found.content, found.reasoning)

    def abandon(self) -> None:
        """Whatever is held is plain text: the engine made its calls itself, or something else came in between."""
        self._release(len(self._buffer))
        self._state = _State.SHUT

    def _step(self) -> bool:
        """Whether the state changed, so that there is more to do."""
        match self._state:
            case _State.START:
                return self._start()
            case _State.PASS:
                return self._pass()
            case _State.HOLD:
                return self._hold()
            case _State.SHUT:
                return self._shut()

    def _start(self) -> bool:
        at = len(self._buffer) - len(self._buffer.lstrip())
        rest = self._buffer[at:]
        if not rest:
            self._release(self._without_space(at))
            return False
        detector = self._detector
        if found := detector.pattern.match(self._buffer, at):
            return self._meet(found)
        if found := detector.start_pattern.match(self._buffer, at):
            return self._open(at, detector.at_start[found.group()], len(found.group()))
        if rest in detector.beginnings or rest in detector.start_beginnings:
            return False
        if detector.shapes and rest[0] in "{[`":
            return self._open(at, shape)
        self._state = _State.PASS
        return True

    def _pass(self) -> bool:
        found = self._detector.pattern.search(self._buffer)
        if found is not None:
            if found.group() in _THOUGHTS or self._lines.after(self._buffer[: found.start()]).admits:
                return self._meet(found)
            self._release(found.end())
            self._lines = replace(self._lines, shadowed=True)
            return True
        self._release(self._plain_until())
        return False

    def _plain_until(self) -> int:
        """How far the buffer is plain whatever comes: up to what may be a beginning, and the white space before it."""
        buffer, detector = self._buffer, self._detector
        end = len(buffer)
        at = max(0, end - detector.longest + 1)
        while found := detector.first.search(buffer, at):
            if buffer[found.start() :] in detector.beginnings:
                end = found.start()
                break
            at = found.end()
        return self._without_space(end)

    def _without_space(self, end: int) -> int:
        """So much of the buffer stays if a call begins at `end`."""
        return max(len(self._buffer[:end].rstrip()), end - _MOST_SPACE)

    def _meet(self, found: re.Match[str]) -> bool:
        """An opener where one is meant, or a thought's beginning or end."""
        if found.group() in _THOUGHTS:
            return self._thought(found)
        return self._open(found.start(), self._detector.anywhere[found.group()], len(found.group()))

    def _open(self, at: int, grammar: Grammar, opener_length: int = 0) -> bool:
        plain = self._without_space(at)
        self._release(plain)
        self._state, self._at, self._grammar = _State.HOLD, at - plain, grammar
        self._tier = Tier.MARKER if opener_length else Tier.SHAPE
        self._look = opener_length + _FIRST_LOOK
        return True

    def _hold(self) -> bool:
        while len(self._buffer) - self._at >= self._look:
            if self._look > MOST_HELD:
                return self._refuse(Reason.GAVE_UP)
            candidate = self._buffer[self._at : self._at + self._look]
            self._look = min(self._look * _NEXT_LOOK, MOST_HELD + 1)
            try:
                self._detector.parse(candidate, self._grammar, self._tier, final=False)
            except NoCall as why:
                # A call that its model may be asked about is waited for to its end: nothing of it may be told.
                if why.reason is not Reason.TRUNCATED and self._refusal_of(candidate, why, final=False) is None:
                    return self._refuse(why.reason)
        return False

    def _refusal_of(self, text: str, why: NoCall, *, final: bool) -> Refusal | None:
        """None also once something was said: whoever has begun to answer is not asked again."""
        if self.released:
            return None
        return self._detector.refusal(text, self._grammar, self._tier, why, final=final)

    def _refuse(self, reason: Reason) -> bool:
        """What was held is no call."""
        self._refusal = None
        if self._tier is Tier.SHAPE:
            # JSON of another kind is nothing to speak of.
            self._reason = None if reason is Reason.MALFORMED else reason
            self._state = _State.PASS
            return True
        self._reason = reason
        self._release(self._at + 1)
        self._state = _State.SHUT
        return True

    def _shut(self) -> bool:
        if found := _THOUGHT.search(self._buffer):
            return self._thought(found)
        self._release(self._plain_until())
        return False

    def _thought(self, found: re.Match[str]) -> bool:
        """Where one begins or ends: an end makes the message begin anew, unless it ends what was quoted."""
        begins = found.group() in THOUGHT_BEGINS
        if not begins and not self._quoted_thought:
            self._restart(found.end())
            return True
        self._quoted_thought = begins and not self._lines.after(self._buffer[: found.start()]).admits
        self._release(found.end())
        if self._state is _State.START:
            self._state = _State.PASS
        return True

    def _restart(self, end: int) -> None:
        """A thought is over: what follows is the message."""
        self._release(end)
        self._state, self._lines, self._quoted_thought = _State.START, Lines(), False
        self._reason = self._refusal = None

    def _release(self, count: int) -> None:
        self._lines = self._lines.after(self._buffer[:count])
        self._buffer = self._buffer[count:]
        self.released += count


def find(text: str, detector: Detector, *, cut: bool = False) -> Finding:
    """The finding of a whole text."""
    sieve = Sieve(detector)
    sieve.feed(text)
    return sieve.finish(cut=cut)
