"""What a chat template's text tells: markers, capabilities, and code that has no business in it.

The text alone decides the parser of an engine; nothing is rendered here.
"""

from __future__ import annotations

import hashlib
import re

from roost.catalog.facts import TemplateFacts

#: Openers of tool calls, most specific first.
TOOL_MARKERS = (
    "<tool_call>",
    "<function=",
    "<parameter=",
    "<|tool_call>",
    "<|tool_call|>",
    "<|tool_call_start|>",
    "<tool_calls>",
    "<TOOLCALL>",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[ARGS]",
    "<|python_tag|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜DSML｜",
    "<|tool_calls_section_begin|>",
    "<minimax:tool_call>",
    "<seed:tool_call>",
    "<start_function_call>",
    "<|START_ACTION|>",
    "<arg_key>",
    "functools[",
    "to=functions.",
    "<|call|>",
    ">>>",
)
REASONING_MARKERS = (
    "<think>",
    "</think>",
    "<|channel|>",
    "<|channel>",
    "[THINK]",
    "<seed:think>",
    "<|START_THINKING|>",
    "<thinking>",
    "enable_thinking",
    "thinking_budget",
    "reasoning_effort",
    "/no_think",
)
#: Past this a template is data hiding as a template; the longest in use have about 30 kB.
LENGTH_WARNED = 256 * 1024

_CLOSERS = {"{%": "%}", "{{": "}}", "{#": "#}"}
_OPENER = re.compile(r"\{[%{#]")
_TOOLS_VARIABLE = re.compile(r"\btools\b")
#: What template attacks are made of (CVE-2024-34359, CVE-2024-56326): dunder names, the attr filter, other files.
_SUSPICIOUS = (
    (re.compile(r"__"), "`__`"),
    (re.compile(r"\|\s*attr\b|\battr\s*\("), "`attr`"),
    (re.compile(r"\bimport\b"), "`import`"),
    (re.compile(r"^\W*(?:include|extends)\b"), "`include` or `extends`"),
)


def read_template(text: str | None) -> TemplateFacts:
    """Markers, capabilities and lint of a template; all empty when there is none."""
    if not text:
        return TemplateFacts()
    code = template_code(text)
    tool_markers = tuple(marker for marker in TOOL_MARKERS if marker in text)
    reasoning_markers = tuple(marker for marker in REASONING_MARKERS if marker in text)
    # `>>>` alone is no evidence of tools: it is functionary's opener only beside the variable
    tools = any(_TOOLS_VARIABLE.search(part) for part in code) or bool(set(tool_markers) - {">>>"})
    return TemplateFacts(
        text=text,
        sha256=hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        tool_markers=tool_markers,
        reasoning_markers=reasoning_markers,
        capabilities=tuple(
            name for name, present in (("tools", tools), ("thinking", bool(reasoning_markers))) if present
        ),
        warnings=lint(text),
    )


def template_code(text: str) -> list[str]:
    """The inside of each `{% %}` and `{{ }}`, comments left out. One pass: the text may be hostile."""
    code: list[str] = []
    position = 0
    while opener := _OPENER.search(text, position):
        end = text.find(_CLOSERS[opener.group()], opener.end())
        if end < 0:
            break
        if opener.group() != "{#":
            code.append(text[opener.end() : end])
        position = end + 2
    return code


def lint(text: str) -> tuple[str, ...]:
    """One sentence for each thing in the template's code that a chat template does not need."""
    code = template_code(text)
    found = [
        f"chat template uses {name} in its code: {_excerpt(part)}"
        for pattern, name in _SUSPICIOUS
        for part in _first(code, pattern)
    ]
    if len(text) > LENGTH_WARNED:
        found.append(f"chat template is {len(text):,} characters long")
    return tuple(found)


def _first(code: list[str], pattern: re.Pattern[str]) -> list[str]:
    return next(([part] for part in code if pattern.search(part)), [])


def _excerpt(part: str) -> str:
    text = " ".join(part.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")
