"""The families as a table: what opens their calls, which grammar reads them, and which of them a template has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from roost.toolcalls import tagged
from roost.toolcalls.cursor import Cursor
from roost.toolcalls.gemma import gemma
from roost.toolcalls.harmony import harmony, stripped
from roost.toolcalls.markup import M3_PREFIX, dsml, function_tag, minimax, tool_call_tag
from roost.toolcalls.pythonic import lfm
from roost.toolcalls.tagged import Grammar
from roost.toolcalls.values import RawCall, Tools


@dataclass(frozen=True)
class Opener:
    """What a call begins with. `{name}` stands for each declared name."""

    text: str
    grammar: Grammar
    #: Only at the start of the message: without its special tokens it is too near to prose.
    at_start: bool = False

    def spelt(self, tools: Tools) -> list[str]:
        if "{name}" not in self.text:
            return [self.text]
        return [self.text.replace("{name}", name) for name in tools.by_name]


@dataclass(frozen=True)
class Family:
    name: str
    #: One of these in a chat template makes it this family's.
    markers: tuple[str, ...]
    openers: tuple[Opener, ...]


def _any_of(grammar: Grammar, *texts: str, at_start: bool = False) -> tuple[Opener, ...]:
    return tuple(Opener(text, grammar, at_start) for text in texts)


def _gemma_or_granite(cursor: Cursor) -> Iterator[RawCall]:
    """`<|tool_call|>` opens Granite 3's list, and is how Gemma 4 drifts: what comes next tells."""
    behind = cursor.text[cursor.at + len("<|tool_call|>") :].lstrip()
    return (tagged.granite if behind[:1] in ("[", "{") else gemma)(cursor)


FAMILIES: tuple[Family, ...] = (
    Family("tool_call", ("<tool_call>",), _any_of(tool_call_tag, "<tool_call>")),
    Family("function", ("<function=",), _any_of(tool_call_tag, "<tool_call>", "<function={name}>")),
    Family("seed", ("<seed:tool_call>",), _any_of(function_tag, "<seed:tool_call>")),
    Family("llama", ("<|python_tag|>",), _any_of(tagged.llama, "<|python_tag|>")),
    Family("lfm", ("<|tool_call_start|>", "<|tool_list_start|>"), _any_of(lfm, "<|tool_call_start|>")),
    Family(
        "mistral",
        ("[TOOL_CALLS]",),
        (Opener("[TOOL_CALLS]", tagged.mistral), Opener("{name}[ARGS]", tagged.mistral, at_start=True)),
    ),
    Family(
        "deepseek",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
        _any_of(
            tagged.deepseek,
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
            "<|tool▁calls▁begin|>",
            "<|tool▁call▁begin|>",
            "<｜tool_calls_begin｜>",
        ),
    ),
    Family(
        "dsml",
        ("<｜DSML｜",),
        _any_of(dsml, "<｜DSML｜function_calls>", "<｜DSML｜tool_calls>", '<｜DSML｜invoke name="{name}">'),
    ),
    Family(
        "kimi",
        ("<|tool_calls_section_begin|>",),
        _any_of(tagged.kimi, "<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
    ),
    Family(
        "harmony",
        ("<|channel|>", "to=functions."),
        (
            *_any_of(harmony, "<|channel|>", "<|start|>assistant"),
            *_any_of(harmony, "to=functions.{name}<|", at_start=True),
            *_any_of(
                stripped,
                "to=functions.{name} ",
                "to=functions.{name}{",
                "commentary to=functions.{name}",
                "assistantcommentary to=functions.{name}",
                "assistant to=functions.{name}",
                "analysis to=functions.{name}",
                "analysis",
                at_start=True,
            ),
        ),
    ),
    Family(
        "minimax",
        ("<minimax:tool_call>", M3_PREFIX),
        _any_of(
            minimax,
            "<minimax:tool_call>",
            M3_PREFIX + "<tool_call>",
            '<invoke name="{name}">',
            M3_PREFIX + '<invoke name="{name}">',
        ),
    ),
    Family("function-gemma", ("<start_function_call>",), _any_of(gemma, "<start_function_call>")),
    Family(
        "gemma",
        ("<|tool_call>",),
        (Opener("<|tool_call>", gemma), Opener("<|tool_call|>", _gemma_or_granite)),
    ),
    Family("granite", ("<|tool_call|>",), _any_of(_gemma_or_granite, "<|tool_call|>")),
    Family("functionary", (">>>",), _any_of(tagged.functionary, ">>>{name}\n", ">>>all\n")),
    Family("command", ("<|START_ACTION|>",), _any_of(tagged.command, "<|START_ACTION|>")),
    Family("nemotron", ("<TOOLCALL>",), _any_of(tagged.nemotron, "<TOOLCALL>")),
    Family("jamba", ("<tool_calls>",), _any_of(tagged.jamba, "<tool_calls>")),
    Family("phi", ("functools[",), _any_of(tagged.phi, "functools[", at_start=True)),
)


def families_in(template: str) -> tuple[Family, ...]:
    """The families whose markers a chat template has."""
    return tuple(family for family in FAMILIES if any(marker in template for marker in family.markers))


def openers_of(families: Iterable[Family]) -> tuple[Opener, ...]:
    """Their openers, each once."""
    found = {(opener.text, opener.at_start): opener for family in families for opener in family.openers}
    return tuple(found.values())
