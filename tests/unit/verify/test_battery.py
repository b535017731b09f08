"""The cases hold together, and a perfect model passes every one of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from roost.toolcalls.schema import accepts
from roost.toolcalls.values import Tool, Tools
from roost.verify import cases
from roost.verify.door import whole_answer
from roost.verify.judge import judge
from roost.verify.loops import loops
from roost.verify.run import Course, run, size_of
from roost.verify.types import Answer, Arm, Case, Group, Outcome
from tests.oracle import Engine

LISTS = (cases.single, cases.choose, cases.parallel, cases.nested, cases.no_tool, cases.fidelity)
COUNTS = (40, 20, 12, 16, 30, 12)


@pytest.mark.parametrize(("listed", "count"), list(zip(LISTS, COUNTS, strict=True)))
def test_every_expected_call_is_one_that_its_tools_allow(listed: Callable[[], list[Case]], count: int) -> None:
    found = listed()
    assert len(found) == count
    for case in found:
        tools = Tools.of(list(case.tools))
        for call in case.expected:
            tool: Tool = tools.by_name[call.name]
            assert accepts(tool, dict(call.arguments)), case.name


def test_no_question_is_asked_twice() -> None:
    asked = [str(case.messages[-1]["content"]) for listed in LISTS for case in listed()]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("number", range(3))
def test_each_result_of_a_loop_says_the_next_call(number: int) -> None:
    loop = loops(40)[number]
    for step in range(1, 40):
        said = json.dumps(loop.result(step))
        assert all(json.dumps(value) in said for value in loop.call(step + 1).arguments.values()), step
        assert loop.call(step) != loop.call(step + 1)
    assert loop.result(40)["done"] is True


class Oracle:
    """The door to an engine in this process, without a gateway."""

    def __init__(self, how: str = "structured") -> None:
        self.engine, self.asked = Engine(how), 0

    async def whole(self, case: Case, arm: Arm) -> Answer:
        self.asked += 1
        body = {"messages": list(case.messages), "tools": list(case.tools), "max_tokens": case.max_tokens}
        content, calls, finish = self.engine.message({**body, **case.extra})
        message = {"content": content or None, "tool_calls": calls}
        usage = {"prompt_tokens": len(json.dumps(body)) // 4}
        return whole_answer(200, {}, {"choices": [{"message": message, "finish_reason": finish}], "usage": usage})

    async def streamed(self, case: Case, arm: Arm) -> Answer:
        return await self.whole(case, arm)


def quiet(group: Group, done: int, total: int) -> None:
    """Tells nobody."""


async def test_a_perfect_model_is_fit() -> None:
    results = await run(Oracle(), Course(context=8192, thinks=True), quiet)
    wrong = [one for one in results if one.outcome is not Outcome.OK]
    assert wrong == []
    assert judge(results).word == "fit"
    assert {one.group for one in results} == set(Group)


async def test_a_model_that_is_wrong_is_not_asked_to_the_end() -> None:
    oracle = Oracle("wrong")
    results = await run(oracle, Course(context=8192), quiet)
    assert judge(results).word == "unfit"
    assert {one.group for one in results} == {Group.SINGLE} and oracle.asked == 80


async def test_a_model_that_thinks_is_asked_whether_it_can_stop_in_any_case() -> None:
    class NoBudget(Oracle):
        async def whole(self, case: Case, arm: Arm) -> Answer:
            return Answer(400) if "thinking_budget_tokens" in case.extra else await super().whole(case, arm)

    results = await run(NoBudget("wrong"), Course(quick=True, thinks=True), quiet)
    assert [one.outcome for one in results if one.group is Group.THINKING] == [Outcome.OK] * 2
    assert {one.group for one in results} == {Group.SINGLE, Group.THINKING}


async def test_the_whole_course_goes_on() -> None:
    results = await run(Oracle("wrong"), Course(whole=True, quick=True), quiet)
    assert {one.group for one in results} == set(Group) - {Group.LONG, Group.THINKING}


async def test_what_is_told_adds_up() -> None:
    told: dict[Group, tuple[int, int]] = {}

    def tell(group: Group, done: int, total: int) -> None:
        told[group] = (done, total)

    course = Course(quick=True, context=8192, thinks=True)
    await run(Oracle(), course, tell)
    assert told == {group: (size_of(group, course),) * 2 for group in Group}


async def test_a_stream_that_differs_every_time_is_seen_and_one_that_differs_once_is_not() -> None:
    class Differs(Oracle):
        def __init__(self, times: int) -> None:
            super().__init__()
            self.left = times

        async def streamed(self, case: Case, arm: Arm) -> Answer:
            answer = await self.whole(case, arm)
            if self.left and case.name == "single 1":
                self.left -= 1
                return replace(answer, content="something else")
            return answer

    for times, found in ((1, Outcome.OK), (2, Outcome.DIFFERS)):
        results = await run(Differs(times), Course(quick=True), quiet)
        assert next(one for one in results if one.group is Group.STREAM).outcome is found
