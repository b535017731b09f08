"""A place in a text from which a grammar reads on. Running out of text is told apart from a wrong text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from roost.toolcalls.calls import clean_name
from roost.toolcalls.literal import Read, read_value
from roost.toolcalls.values import NoCall, Reason, Tool, Tools

#: What may follow the last call: the tokens that end a turn, and the closers of any family.
ENDINGS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|eot|>",
    "</s>",
    "<end_of_turn>",
    "<turn|>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_role|>",
    "[EOS]",
    "[e~[",
    "</function>",
    "</tool_call>",
    "</tool_calls>",
    "</seed:tool_call>",
    "</minimax:tool_call>",
    "<|tool_calls_section_end|>",
    "<tool_call|>",
    "<end_function_call>",
    "</TOOLCALL>",
    "<|END_ACTION|>",
    "[/TOOL_CALLS]",
    "<|tool_call_end|>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "<|tool▁call▁end|>",
    "<|tool▁calls▁end|>",
    "<｜tool_call_end｜>",
    "<｜tool_calls_end｜>",
    "</invoke>",
    "</｜DSML｜invoke>",
    "</｜DSML｜function_calls>",
    "</｜DSML｜tool_calls>",
)
_SPACE = re.compile(r"\s*")
_ENDING = re.compile(r"\s*(?:" + "|".join(map(re.escape, ENDINGS)) + ")")


def is_beginning(rest: str, literals: tuple[str, ...]) -> bool:
    """Whether more text could make this one of the literals."""
    return any(literal.startswith(rest) for literal in literals)


@dataclass
class Cursor:
    text: str
    at: int
    tools: Tools
    #: Nothing comes any more; else a missing closer may still come.
    final: bool = True
    #: The engine stopped at its limit: what is open was cut.
    cut: bool = False
    #: Text for the reader, and thoughts, that stand among the calls.
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    #: What was done besides what each call says.
    steps: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)

    @property
    def next(self) -> str:
        """One character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def space(self) -> Cursor:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self

    def sees(self, *literals: str) -> bool:
        return self.text.startswith(literals, self.at)

    def take(self, *literals: str) -> bool:
        """Steps over the first of the literals that stands here."""
        for literal in literals:
            if self.text.startswith(literal, self.at):
                self.at += len(literal)
                return True
        return False

    def need(self, *literals: str) -> None:
        """Raises NoCall when none of them stands here."""
        if not self.take(*literals):
            raise self.wrong(*literals)

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def wrong(self, *expected: str) -> NoCall:
        """What stands here is none of these: cut, or malformed."""
        return NoCall(Reason.TRUNCATED if is_beginning(self.text[self.at :], expected) else Reason.MALFORMED)

    def value(self, *closing_tags: str) -> Read:
        """The JSON value here. Raises NoCall."""
        read = read_value(self.text, self.at, closing_tags)
        self.at = read.end
        return read

    def tool(self, name: str) -> Tool:
        """The tool that a written name means. Raises NoCall."""
        return self.tools.tool(clean_name(name, self.tools)[0])

    def finish(self, openers: tuple[str, ...]) -> None:
        """Nothing but the end of a turn may follow. Raises NoCall."""
        while self.match(_ENDING):
            pass
        rest = self.text[self.at :].strip()
        if rest:
            more = is_beginning(rest, (*ENDINGS, *openers))
            raise NoCall(Reason.TRUNCATED if more else Reason.TRAILING_TEXT)
