"""What a model says to itself, told apart from what it answers, where the engine left both in one text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

#: How the families open and close a thought.
PAIRS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|end|>"),
)
#: What harmony writes around an answer; it is none of it.
_WRAPPERS = ("<|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>")
#: So much white space waits for what may follow it.
_MOST_SPACE = 256
_WRAPPER_ENDS = ("<|return|>", "<|end|>")
_OPENINGS = {**dict(PAIRS), **dict.fromkeys(_WRAPPERS, "")}
_BEGINNINGS = frozenset(text[:end] for text in _OPENINGS for end in range(1, len(text)))
_OPENING = re.compile("|".join(re.escape(text) for text in sorted(_OPENINGS, key=len, reverse=True)))
_LAST_PROMPT = "add_generation_prompt"
_OPEN = re.compile(r"<think>(?!(?:\\n|\s)*</think>)|\[THINK\]|<seed:think>")


def opens_in_prompt(template: str) -> bool:
    """Whether the template itself opens a thought, so that an answer begins within one."""
    return _OPEN.search(template.rpartition(_LAST_PROMPT)[2]) is not None and _LAST_PROMPT in template


@dataclass(frozen=True, slots=True)
class Part:
    text: str
    is_thought: bool


class _State(Enum):
    #: Nothing has come, or a thought has just ended.
    BEFORE = auto()
    THOUGHT = auto()
    #: The answer inside a wrapper, whose end is no part of it.
    WRAPPED = auto()
    ANSWER = auto()


class ThoughtSplitter:
    """One choice's text. A thought counts where an answer begins, never in the middle of one."""

    def __init__(self, *, inside: bool = False) -> None:
        self._state = _State.THOUGHT if inside else _State.BEFORE
        self._closing = PAIRS[0][1] if inside else ""
        self._buffer = ""
        #: A thought has come: white space at the start of the answer belongs to the marks.
        self._thought = inside
        self._trimmed = not inside

    @property
    def settled(self) -> bool:
        """All that follows is the answer, as it comes."""
        return self._state is _State.ANSWER and not self._buffer

    def feed(self, text: str) -> list[Part]:
        """What is known now."""
        if self.settled:
            return [Part(text, False)]
        self._buffer += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def finish(self) -> list[Part]:
        """The rest: a thought that never ends stays one."""
        rest, self._buffer = self._buffer, ""
        if self._state is _State.THOUGHT:
            rest = rest[: _trimmed(rest, len(rest))]
            return [Part(rest, True)] if rest else []
        if self._state is _State.BEFORE and self._thought:
            rest = rest.lstrip()
        return [Part(rest, False)] if rest else []

    def settle(self) -> list[Part]:
        """The engine tells thoughts apart itself: what comes as content is the answer."""
        rest = self.finish()
        self._state = _State.ANSWER
        return [Part(part.text, False) for part in rest]

    def _step(self, parts: list[Part]) -> bool:
        match self._state:
            case _State.BEFORE:
                return self._before(parts)
            case _State.THOUGHT:
                return self._until((self._closing,), parts, is_thought=True)
            case _State.WRAPPED:
                return self._until(_WRAPPER_ENDS, parts, is_thought=False)
            case _State.ANSWER:
                self._take(len(self._buffer), parts, is_thought=False)
                return False

    def _before(self, parts: list[Part]) -> bool:
        start = len(self._buffer) - len(self._buffer.lstrip())
        rest = self._buffer[start:]
        if start > _MOST_SPACE:
            self._state = _State.ANSWER
            return True
        if not rest or rest in _BEGINNINGS:
            return False
        if found := _OPENING.match(rest):
            self._closing = _OPENINGS[found.group()]
            self._buffer = rest[found.end() :]
            self._state = _State.THOUGHT if self._closing else _State.WRAPPED
            self._thought = True
            self._trimmed = not self._closing
            return True
        if self._thought:
            self._buffer = rest
        self._state = _State.ANSWER
        return True

    def _until(self, closings: tuple[str, ...], parts: list[Part], *, is_thought: bool) -> bool:
        """Up to the first of the closings; white space inside the marks of a thought belongs to them."""
        if is_thought and not self._trimmed:
            self._buffer = self._buffer.lstrip()
            self._trimmed = bool(self._buffer)
        places = [(at, text) for text in closings if (at := self._buffer.find(text)) >= 0]
        if places:
            at, text = min(places)
            said, self._buffer = self._buffer[:at], self._buffer[at + len(text) :]
            said = said[: _trimmed(said, len(said))] if is_thought else said
            if said:
                parts.append(Part(said, is_thought))
            self._state = _State.BEFORE
            return True
        self._take(self._certain(closings, is_thought), parts, is_thought=is_thought)
        return False

    def _certain(self, closings: tuple[str, ...], is_thought: bool) -> int:
        """How much of the buffer cannot be the beginning of a closing."""
        longest = max(map(len, closings)) - 1
        end = len(self._buffer)
        for size in range(min(longest, end), 0, -1):
            if any(text.startswith(self._buffer[end - size :]) for text in closings):
                end -= size
                break
        return _trimmed(self._buffer, end) if is_thought else end

    def _take(self, count: int, parts: list[Part], *, is_thought: bool) -> None:
        if count:
            parts.append(Part(self._buffer[:count], is_thought))
            self._buffer = self._buffer[count:]


def _trimmed(text: str, end: int) -> int:
    """The end without the white space before it."""
    return max(len(text[:end].rstrip()), end - _MOST_SPACE)


def split(text: str, *, inside: bool = False) -> tuple[str, str]:
    """The thoughts and the answer of a whole text."""
    splitter = ThoughtSplitter(inside=inside)
    parts = [*splitter.feed(text), *splitter.finish()]
    return (
        "".join(part.text for part in parts if part.is_thought),
        "".join(part.text for part in parts if not part.is_thought),
    )


#: Arguments by which templates are told to think or not.
_SWITCHES = ("enable_thinking", "thinking")
_EFFORT = "reasoning_effort"


def switch_of(template: str, effort: str) -> dict[str, object] | None:
    """The template's own argument for this effort (`none`: do not think); None: it has no switch for it."""
    arguments: dict[str, object] = {}
    for name in _SWITCHES:
        if re.search(rf"\b{name}\b", template):
            arguments[name] = effort != "none"
            break
    if re.search(rf"\b{_EFFORT}\b", template):
        if effort == "none" and not arguments:
            return None
        if effort != "none":
            arguments[_EFFORT] = effort
    return arguments or None
