"""Lists of tools that came before are not translated again, and never taken for one another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roost.errors import InvalidType
from roost.gateway.anthropic.requests import from_messages
from roost.gateway.document import parse_object
from roost.gateway.responses.requests import from_response
from roost.gateway.splice import compose
from roost.gateway.tool_lists import LONGEST_CHARACTERS, MOST_LISTS, ToolLists

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "input": "hi"}


class Counting:
    """A translation that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, given: object) -> tuple[list[dict[str, Any]], list[str]]:
        self.calls += 1
        if not isinstance(given, list):
            raise InvalidType("no list", param="tools")
        return [{"made": each} for each in given], ["foreign"]


def test_a_list_is_translated_once() -> None:
    translate = Counting()
    lists = ToolLists(translate)
    first, second = lists.of([1], "[1]"), lists.of([1], "[1]")
    assert first is second and translate.calls == 1
    assert (first.own, first.foreign, first.texts()) == ([{"made": 1}], ("foreign",), {"tools": '[{"made":1}]'})


def test_the_least_asked_for_list_goes_first() -> None:
    translate = Counting()
    lists = ToolLists(translate)
    for number in range(MOST_LISTS):
        lists.of([number], f"[{number}]")
    lists.of([0], "[0]")
    lists.of([-1], "[-1]")
    assert len(lists) == MOST_LISTS and translate.calls == MOST_LISTS + 1
    lists.of([0], "[0]")
    assert translate.calls == MOST_LISTS + 1
    lists.of([1], "[1]")
    assert translate.calls == MOST_LISTS + 2


def test_what_is_too_long_or_came_as_no_text_is_not_kept() -> None:
    translate = Counting()
    lists = ToolLists(translate)
    for text in (None, "x" * (LONGEST_CHARACTERS + 1)):
        assert lists.of([1], text).texts() == {}
        assert lists.of([1], text).own == [{"made": 1}]
    assert translate.calls == 4 and len(lists) == 0


def test_a_list_that_cannot_be_translated_is_refused_each_time() -> None:
    lists = ToolLists(Counting())
    for _ in range(2):
        with pytest.raises(InvalidType):
            lists.of("x", '"x"')
    assert len(lists) == 0


@pytest.mark.parametrize(("translate", "schema"), [(from_messages, "input_schema"), (from_response, "parameters")])
def test_a_body_is_the_same_whether_its_tools_were_known_or_not(translate: Any, schema: str) -> None:
    def body(tools: object, times: int) -> str:
        asked = parse_object(json.dumps({**ASKED, "tools": tools}).encode(), 64)
        for _ in range(times):
            made = translate(
                asked.values,
                thinks=False,
                can_stop_thinking=False,
                tools_text=asked.text_of("tools") if times else None,
            )
            document = compose(made.body, made.texts)
            assert json.loads(document.text) == document.values == made.body
            for key, member in document.members.items():
                assert json.loads(document.text[member.value_start : member.value_end]) == made.body[key]
        return document.text

    one = [{"type": "function", "name": "a", schema: {"type": "object", "description": "é \ud800"}}]
    other = [{**one[0], "name": "b"}, {"type": "web_search", "name": "web"}]
    if translate is from_messages:
        one, other = [
            [{**tool, "type": "custom"} if "a" <= tool["name"] <= "b" else tool for tool in each]
            for each in (one, other)
        ]
    assert body(one, 1) == body(one, 3)
    assert body(other, 2) != body(one, 2)
    assert '"name":"b"' in body(other, 1) and '"name":"a"' not in body(other, 1)
