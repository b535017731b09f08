"""What an answer is worth to whoever asked. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roost.verify.types import Answer, Call, Case, Outcome

#: Marks of a call that no reader should meet in a text.
MARKUP = (
    *("<tool_call", "<function=", "<|channel|>", "[TOOL_CALLS]", "<｜", ">>>", "<|tool_call", "<start_function_call>"),
    *("<minimax:tool_call", "<|python_tag|>", '"arguments"'),
)


def outcome(case: Case, answer: Answer) -> Outcome:
    """Of one case."""
    if answer.status != 200 or answer.fault:
        return Outcome.ERROR
    calls = calls_of(answer)
    if calls is None:
        return Outcome.MALFORMED
    if not case.expected:
        return _without_call(calls, answer.content)
    if not calls:
        return Outcome.LEAKED if leaks(case, answer) else Outcome.MISSED
    return _compared(case, calls)


def calls_of(answer: Answer) -> tuple[Call, ...] | None:
    """None: one of them has arguments that are no JSON object."""
    calls = []
    for name, text in answer.calls:
        try:
            arguments = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(arguments, dict):
            return None
        calls.append(Call(name, arguments))
    return tuple(calls)


def leaks(case: Case, answer: Answer) -> bool:
    """Whether the text holds what must have been meant as a call."""
    names = {one.name for one in case.expected}
    text = answer.content + answer.reasoning
    return any(mark in text for mark in MARKUP) or any(f'"{name}"' in text or f"{name}(" in text for name in names)


def _without_call(calls: Sequence[Call], content: str) -> Outcome:
    if calls:
        return Outcome.INVENTED
    return Outcome.MARKUP if any(mark in content for mark in MARKUP) else Outcome.OK


def _compared(case: Case, calls: Sequence[Call]) -> Outcome:
    """The same calls, in whichever order."""
    if sorted(one.name for one in calls) != sorted(one.name for one in case.expected):
        return Outcome.WRONG_NAME if not _covers(case.expected, calls) else Outcome.WRONG_ARGUMENTS
    left = list(case.expected)
    for call in calls:
        same = [one for one in left if one.name == call.name and equal(one.arguments, call.arguments, exact=case.exact)]
        if not same:
            return Outcome.WRONG_ARGUMENTS
        left.remove(same[0])
    return Outcome.OK


def _covers(expected: Iterable[Call], calls: Iterable[Call]) -> bool:
    """Right tools, another number of calls."""
    return {one.name for one in expected} == {one.name for one in calls}


def equal(expected: Any, given: Any, *, exact: bool) -> bool:
    """Equal as JSON values; 5 is 5.0, true is not 1. Not `exact`: strings but for case and outer white space."""
    if isinstance(expected, bool) or isinstance(given, bool):
        return expected is given
    if isinstance(expected, Mapping):
        if not isinstance(given, Mapping) or expected.keys() != given.keys():
            return False
        return all(equal(expected[key], given[key], exact=exact) for key in expected)
    if isinstance(expected, list | tuple):
        if not isinstance(given, list) or len(expected) != len(given):
            return False
        return all(equal(one, other, exact=exact) for one, other in zip(expected, given, strict=True))
    if isinstance(expected, str) and isinstance(given, str) and not exact:
        return expected.strip().casefold() == given.strip().casefold()
    return (type(expected) is type(given) and bool(expected == given)) or _same_number(expected, given)


def _same_number(expected: Any, given: Any) -> bool:
    numbers = isinstance(expected, int | float) and isinstance(given, int | float)
    return numbers and bool(expected == given)
