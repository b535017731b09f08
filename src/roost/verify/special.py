"""Cases about the protocol instead of the model's choice: tool_choice, cut answers, replayed history, thinking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roost.verify.score import calls_of
from roost.verify.toolbox import TOOLS, WRITE_FILE
from roost.verify.types import Answer, Case, Outcome

#: Tokens that a model may think, and tokens for the answer behind them.
THINKING_BUDGET_TOKENS = 256
_ANSWER_TOKENS = 256
BUDGET = "thinking_budget_tokens"
Judged = Callable[[Answer], Outcome]


@dataclass(frozen=True)
class Special:
    case: Case
    judged: Judged


def choice() -> list[Special]:
    """none: no call; required and named: a call, whatever was said; cut at the limit: no half of one."""
    lamp, weather = TOOLS["set_lamp"], TOOLS["get_weather"]
    pair = (lamp, weather)
    named = {"type": "function", "function": {"name": "get_weather"}}
    return [
        Special(_case("none", 1, "Set the lamp in the hall to 20 percent.", pair, tool_choice="none"), _no_call),
        Special(_case("none", 2, "What is the weather in Bern, in celsius?", pair, tool_choice="none"), _no_call),
        Special(_case("required", 1, "Set the lamp in the hall to 20 percent.", pair, tool_choice="required"), _called),
        Special(_case("required", 2, "Hello! What can you do?", pair, tool_choice="required"), _called),
        Special(
            _case("named", 1, "What is the weather in Bern, in celsius?", pair, tool_choice=named), _called_weather
        ),
        Special(_case("named", 2, "Hello! What can you do?", pair, tool_choice=named), _called_weather),
        Special(_cut(1, 8), _no_half),
        Special(_cut(2, 24), _no_half),
    ]


def _cut(number: int, max_tokens: int) -> Case:
    text = "Write the file poem.txt with a poem of twenty lines about the sea."
    return Case(f"cut {number}", _asked(text), (WRITE_FILE,), max_tokens=max_tokens)


def _case(kind: str, number: int, text: str, tools: tuple[Mapping[str, Any], ...], **extra: Any) -> Case:
    return Case(f"{kind} {number}", _asked(text), tools, extra=extra)


def _no_call(answer: Answer) -> Outcome:
    if answer.status != 200 or answer.fault:
        return Outcome.ERROR
    return Outcome.INVENTED if answer.calls else Outcome.OK


def _called(answer: Answer) -> Outcome:
    if answer.status != 200 or answer.fault:
        return Outcome.ERROR
    return Outcome.OK if calls_of(answer) else Outcome.MISSED


def _called_weather(answer: Answer) -> Outcome:
    found = _called(answer)
    wrong = any(name != "get_weather" for name, _ in answer.calls)
    return Outcome.WRONG_NAME if found is Outcome.OK and wrong else found


def _no_half(answer: Answer) -> Outcome:
    """Prose that was cut is fine, and so is a whole answer; half a call as a call is not."""
    if answer.status != 200 or answer.fault:
        return Outcome.ERROR
    if answer.calls and (answer.finish == "length" or calls_of(answer) is None):
        return Outcome.MALFORMED
    return Outcome.OK


def replay() -> list[Special]:
    """Histories as clients send them back; each must be answered."""
    ask = {"role": "user", "content": "What is the weather in Rome and in Bern, in celsius?"}
    rome, bern = _call("call_1", "Rome"), _call("call_2", "Bern")
    first, second = _result("call_1", {"degrees": 21}), _result("call_2", {"degrees": 12})
    thanks = {"role": "user", "content": "Thank you. Which one is warmer?"}
    said = {"role": "assistant", "content": "Rome has 21 degrees."}
    kimi = _call("functions.get_weather:0", "Rome")
    histories: tuple[tuple[Mapping[str, Any], ...], ...] = (
        (ask, _made(rome, content=None), first),
        (ask, _made(rome, content=""), first, said, thanks),
        (ask, _made(rome, bern, content=None), first, second),
        (ask, _made(rome, bern, content=None), second, first),
        (ask, _made(kimi, content=None), _result("functions.get_weather:0", {"degrees": 21})),
        (ask, _made(rome, content="I look it up."), first, _made(bern, content=None), second, thanks),
    )
    tools = (TOOLS["get_weather"],)
    return [
        Special(Case(f"replay {number}", messages, tools, max_tokens=64), _answered)
        for number, messages in enumerate(histories, 1)
    ]


def _answered(answer: Answer) -> Outcome:
    return Outcome.OK if answer.status == 200 and not answer.fault else Outcome.ERROR


def _made(*calls: Mapping[str, Any], content: str | None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def _call(call_id: str, city: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city, "unit": "celsius"})
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def _result(call_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": json.dumps(value)}


def thinking() -> list[Special]:
    """A model that thinks must come to an answer within its budget."""
    questions = (
        "What is 17 times 23?",
        "A train leaves at 9:40 and arrives at 12:15. How long does it take?",
        "Which is larger, 9.9 or 9.11?",
        "I have 3 boxes with 4 apples each and eat 5. How many are left?",
        "Name the day two days after the day before Friday.",
        "Is 91 a prime number?",
    )
    extra = {BUDGET: THINKING_BUDGET_TOKENS}
    most = THINKING_BUDGET_TOKENS + _ANSWER_TOKENS
    return [
        Special(Case(f"thinking {n}", _asked(text), (), max_tokens=most, extra=extra), _came_to_an_answer)
        for n, text in enumerate(questions, 1)
    ]


def _came_to_an_answer(answer: Answer) -> Outcome:
    if answer.status != 200 or answer.fault:
        return Outcome.ERROR
    return Outcome.OK if answer.content.strip() else Outcome.MISSED


def _asked(text: str) -> tuple[Mapping[str, Any], ...]:
    return ({"role": "user", "content": text},)
