"""The course of a battery: which cases, in which order, and where it may end early."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from roost.verify import cases, special
from roost.verify.door import Door
from roost.verify.judge import LEAKING, ROUNDS, shortfalls
from roost.verify.loops import Loop, loops
from roost.verify.score import calls_of, equal, outcome
from roost.verify.special import BUDGET, Special
from roost.verify.types import Answer, Arm, Call, Case, Group, Outcome, Result

Tell = Callable[[Group, int, int], None]
_LISTS: dict[Group, Callable[[], list[Case]]] = {
    Group.SINGLE: cases.single,
    Group.CHOOSE: cases.choose,
    Group.NO_TOOL: cases.no_tool,
    Group.FIDELITY: cases.fidelity,
    Group.PARALLEL: cases.parallel,
    Group.NESTED: cases.nested,
}
_SPECIAL: dict[Group, Callable[[], list[Special]]] = {
    Group.CHOICE: special.choice,
    Group.REPLAY: special.replay,
    Group.THINKING: special.thinking,
}
#: Shares of the context that are filled before the question.
FILLS = (0.25, 0.5, 0.9)
_QUESTIONS_A_FILL = 4
#: Tokens kept free for the tools, the question and the answer.
_ROOM_TOKENS = 700
#: So many wrong rounds in a row, and the rest of a loop counts as wrong.
_LOST = 4
#: The same call so often in a row is a model that runs in circles.
_CIRCLE = 3
_SAMPLED = 20
_REFUSED = 400
_QUICK_SHARE, _QUICK_ROUNDS = 4, 10


@dataclass(frozen=True)
class Course:
    """`quick`: a quarter of everything, which shows the way and decides nothing. `whole`: go on after the verdict is
    known. `context`: tokens of the window that the long group may fill; None: it is unknown, the group is left out."""

    quick: bool = False
    whole: bool = False
    context: int | None = None
    thinks: bool = False

    def groups(self) -> list[Group]:
        left_out = {Group.LONG} if self.context is None else set()
        left_out |= set() if self.thinks else {Group.THINKING}
        return [group for group in Group if group not in left_out]

    def few(self, listed: Sequence[Any]) -> list[Any]:
        return list(listed[::_QUICK_SHARE] if self.quick else listed)


async def run(door: Door, course: Course, tell: Tell) -> list[Result]:
    """Every result, in order. The first group that decides the verdict is the last one about tools, unless the course
    is `whole`; whether a model can stop thinking is seen in any case."""
    results: list[Result] = []
    for group in course.groups():
        decided = any(shortfalls(results)) and not course.whole
        if decided and group is not Group.THINKING:
            continue
        count, total = 0, size_of(group, course)
        tell(group, count, total)
        async for found in _group(group, door, course):
            results += found
            count += 1
            tell(group, count, total)
    return results


def size_of(group: Group, course: Course) -> int:
    """Steps that are told of a group."""
    if group in _LISTS:
        return len(course.few(_LISTS[group]()))
    if group in _SPECIAL:
        return len(course.few(_SPECIAL[group]()))
    return {
        Group.STREAM: sum(size_of(one, course) for one in LEAKING),
        Group.LOOP: 3 * rounds_of(course),
        Group.LONG: len(FILLS) * _QUESTIONS_A_FILL,
        Group.SAMPLED: len(course.few(range(_SAMPLED))),
    }[group]


def rounds_of(course: Course) -> int:
    return _QUICK_ROUNDS if course.quick else ROUNDS


def _group(group: Group, door: Door, course: Course) -> AsyncIterator[list[Result]]:
    if group in _LISTS:
        return _both_arms(group, door, course.few(_LISTS[group]()))
    if group in _SPECIAL:
        return _judged(group, door, course.few(_SPECIAL[group]()))
    match group:
        case Group.STREAM:
            return _streams(door, [case for one in LEAKING for case in course.few(_LISTS[one]())])
        case Group.LOOP:
            return _loops(door, loops(rounds_of(course)))
        case Group.LONG:
            return _long(door, course.context or 0)
    return _sampled(door, course.few(cases.single()[:_SAMPLED]))


async def _both_arms(group: Group, door: Door, listed: Sequence[Case]) -> AsyncIterator[list[Result]]:
    for case in listed:
        found = []
        for arm in Arm:
            answer = await door.whole(case, arm)
            found.append(Result(group, case.name, arm, outcome(case, answer), answer.tier))
        yield found


async def _judged(group: Group, door: Door, listed: Sequence[Special]) -> AsyncIterator[list[Result]]:
    for one in listed:
        answer = await door.whole(one.case, Arm.SERVED)
        if answer.status == _REFUSED and BUDGET in one.case.extra:
            # Its engine knows no such limit: the token limit alone holds it then.
            answer = await door.whole(replace(one.case, extra={}), Arm.SERVED)
        yield [Result(group, one.case.name, Arm.SERVED, one.judged(answer), answer.tier)]


async def _sampled(door: Door, listed: Sequence[Case]) -> AsyncIterator[list[Result]]:
    """With the sampling that the model's makers recommend, as far as its server knows it."""
    for case in listed:
        answer = await door.whole(replace(case, extra={"temperature": None}), Arm.SERVED)
        yield [Result(Group.SAMPLED, case.name, Arm.SERVED, outcome(case, answer), answer.tier)]


# Streams.


async def _streams(door: Door, listed: Sequence[Case]) -> AsyncIterator[list[Result]]:
    """A stream must say what the whole answer says. Engines are not exact to the last bit: who differs is asked once
    more, both ways."""
    for case in listed:
        found = await _compared(door, case)
        if found is Outcome.DIFFERS:
            found = await _compared(door, case)
        yield [Result(Group.STREAM, case.name, Arm.SERVED, found)]


async def _compared(door: Door, case: Case) -> Outcome:
    whole, streamed = await door.whole(case, Arm.SERVED), await door.streamed(case, Arm.SERVED)
    if whole.status != 200 or whole.fault:
        return Outcome.ERROR
    return Outcome.OK if not streamed.fault and _same(whole, streamed) else Outcome.DIFFERS


def _same(whole: Answer, streamed: Answer) -> bool:
    told, heard = calls_of(whole), calls_of(streamed)
    if told is None or heard is None:
        return told is heard
    same = len(told) == len(heard) and all(
        one.name == other.name and equal(one.arguments, other.arguments, exact=True)
        for one, other in zip(told, heard, strict=True)
    )
    return same and whole.content == streamed.content and whole.finish == streamed.finish


# Loops.


async def _loops(door: Door, listed: Sequence[Loop]) -> AsyncIterator[list[Result]]:
    for loop in listed:
        async for found in _rounds(door, loop):
            yield [found]


async def _rounds(door: Door, loop: Loop) -> AsyncIterator[Result]:
    """A wrong call is answered with what would have been right, and the loop goes on, until the model is lost."""
    messages: list[Mapping[str, Any]] = [
        {"role": "system", "content": loop.system},
        {"role": "user", "content": loop.user},
    ]
    made: list[tuple[str, str]] = []
    wrong = 0
    for number in range(1, loop.rounds + 1):
        found, tier = Outcome.MISSED, None
        if wrong < _LOST:
            expected = loop.call(number)
            case = Case(f"{loop.name} {number}", tuple(messages), loop.tools, (expected,), max_tokens=200)
            answer = await door.whole(case, Arm.SERVED)
            found, tier = outcome(case, answer), answer.tier
            made += answer.calls[:1]
            if found is not Outcome.OK and len(made) >= _CIRCLE and len(set(made[-_CIRCLE:])) == 1:
                found = Outcome.REPEATED
            messages += _next_messages(number, answer, expected, loop.result(number), right=found is Outcome.OK)
            wrong = 0 if found is Outcome.OK else wrong + 1
        yield Result(Group.LOOP, loop.name, Arm.SERVED, found, tier, number)


def _next_messages(
    number: int, answer: Answer, expected: Call, result: Mapping[str, Any], *, right: bool
) -> list[dict[str, Any]]:
    """The answer and its result, as a client adds them. A wrong one is told the right call, and its result."""
    value = result if right else {"error": "not the call that was due", "due": vars(expected), "its_result": result}
    text = json.dumps(value, default=dict)
    if not answer.calls:
        said = answer.content or "(nothing)"
        return [{"role": "assistant", "content": said}, {"role": "user", "content": f"Go on. {text}"}]
    calls = [
        {"id": f"call_{number}_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(answer.calls)
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": text} for call in calls]
    return [{"role": "assistant", "content": answer.content or None, "tool_calls": calls}, *results]


# Long context.


async def _long(door: Door, context: int) -> AsyncIterator[list[Result]]:
    """The questions of the first group behind so many lines of a log, which is measured by the server's own count."""
    questions = cases.single()
    per_line = await _tokens_per_line(door, questions[0])
    for place, fill in enumerate(FILLS):
        lines = max(0, int((context * fill - _ROOM_TOKENS) / per_line)) if per_line else 0
        for case in questions[place * _QUESTIONS_A_FILL : (place + 1) * _QUESTIONS_A_FILL]:
            system = {"role": "system", "content": _log(lines)}
            long = replace(case, name=f"{fill:.0%}: {case.name}", messages=(system, *case.messages))
            answer = await door.whole(long, Arm.SERVED)
            yield [Result(Group.LONG, long.name, Arm.SERVED, outcome(long, answer), answer.tier)]


async def _tokens_per_line(door: Door, case: Case) -> float | None:
    """None: the server counts nothing."""
    counts = []
    for lines in (0, 20):
        system = {"role": "system", "content": _log(lines)}
        asked = replace(case, messages=(system, *case.messages), max_tokens=1)
        counts.append((await door.whole(asked, Arm.SERVED)).prompt_tokens)
    first, second = counts
    return (second - first) / 20 if first is not None and second is not None and second > first else None


def _log(lines: int) -> str:
    told = (f"{number:05d} info worker {number % 7} finished job {number * 37 % 1000}" for number in range(lines))
    return "\n".join(("You help a person with their home and work. The log of the last hours:", *told))
