"""Cases of somebody who had not seen the corpus: what was once missed, invented, or read differently when split."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roost.toolcalls.detector import detector
from roost.toolcalls.sieve import Sieve, find
from roost.toolcalls.values import Finding, Mode, Tools


def tool(name: str, required: tuple[str, ...] = (), **properties: str) -> dict[str, Any]:
    shapes = {key: {"type": kind} for key, kind in properties.items()}
    parameters = {"type": "object", "properties": shapes, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


TOOLS = Tools.of(
    [
        tool("write_file", ("path", "content"), path="string", content="string"),
        tool("run_shell", ("cmd",), cmd="string"),
        tool("list_tables"),
        tool("get_weather", ("city",), city="string"),
        tool("search_code", ("query",), query="string", paths="array", regex="boolean"),
    ]
)
FULL = detector(TOOLS, Mode.FULL, None)
LIST = '<tool_call>{"name":"list_tables","arguments":{}}</tool_call>'
QWEN = "<tool_call>\n<function=run_shell>\n<parameter=cmd>\nls\n</parameter>\n</function>\n</tool_call>"
GLM = "<tool_call>run_shell\n<arg_key>cmd</arg_key>\n<arg_value>ls</arg_value>\n</tool_call>"
MINIMAX = '<minimax:tool_call>\n<invoke name="run_shell">\n<parameter name="cmd">ls</parameter>\n</invoke>\n'


def split(text: str, size: int, *, cut: bool) -> Finding:
    sieve = Sieve(FULL)
    for at in range(0, len(text), size):
        sieve.feed(text[at : at + size])
    return sieve.finish(cut=cut)


def read(text: str, *, cut: bool = False) -> list[tuple[str, Any]]:
    """The calls, the same however the text is split."""
    found = [find(text, FULL, cut=cut), *(split(text, size, cut=cut) for size in (1, 3, 17))]
    told = [[(call.name, json.loads(call.arguments)) for call in one.calls] for one in found]
    assert all(one == told[0] for one in told), "a split makes no difference"
    assert all(one.kept == found[0].kept for one in found)
    return told[0]


@pytest.mark.parametrize(
    "text",
    [
        "<function=run_shell>\n<parameter=cmd>\nrm -rf /tmp/x/</function>",
        "<tool_call>write_file\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n<arg_key>content</arg_key>\n"
        "<arg_value>end with </tool_call>",
        '<minimax:tool_call>\n<invoke name="write_file">\n<parameter name="path">a</parameter>\n'
        '<parameter name="content">end with </invoke>',
        f"<tool_call>\n<function=write_file>\n<parameter=path>\na\n</parameter>\n<parameter=content>\n{QWEN}",
        f"<tool_call>write_file\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n<arg_key>content</arg_key>\n"
        f"<arg_value>{GLM}",
        '<tool_call>{"name":"write_file","arguments":{"path":"a","content":"x</think>\n' + LIST,
    ],
)
def test_what_a_limit_cut_is_not_completed_by_what_stands_in_its_value(text: str) -> None:
    assert read(text, cut=True) == []


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name":"search_code","arguments":{"query":"x","paths":["a.py" "b.py"]}}</tool_call>',
        '```json\n{"name":"search_code","arguments":{"query":"x","paths":["a.py"\n"b.py"]}}\n```',
        '<tool_call>{"name": "run_shell", "arguments": {"cmd": "docker run \\\n  -it img"}}</tool_call>',
        '<tool_call>{"name":"search_code","arguments":{"query":"https:\\/\\/a.b","regex":True}}</tool_call>',
        '<tool_call>{"name":"search_code","arguments":{"query":"C:\\temp\\dir","regex":True}}</tool_call>',
        '[get_weather(city="a", city="b")]',
        '<|tool_call_start|>[get_weather(city="a", city="b")]<|tool_call_end|>',
        "[list_tables(), ｇet_weather(city='a')]",
    ],
)
def test_python_does_not_read_more_or_less_than_was_written(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(
    "text",
    [
        f"> <think>x</think>{LIST}",
        f"Qwen writes:\n```\n<think>\nhm\n</think>\n{LIST}",
        '```\n<think>a</think>\n{"name":"list_tables","arguments":{}}',
        "T:\n```\ncode\n```" + " " * 100 + f"x\n{LIST}",
        "T:\n```" + "x " * 60 + f"\n{LIST}",
    ],
)
def test_a_thought_or_a_fence_that_is_quoted_lets_no_call_in(text: str) -> None:
    assert read(text) == []


def test_backticks_far_behind_a_fence_make_it_a_span_however_it_is_split() -> None:
    assert read("T:\n```" + "x " * 60 + f"`\n{LIST}") == [("list_tables", {})]


@pytest.mark.parametrize(
    "text", [f"I look.</think>\n{LIST}", f"<think>I look.</think>{LIST}", f"So.\n<think>x</think>\n{LIST}"]
)
def test_a_thought_that_is_one_ends(text: str) -> None:
    assert read(text) == [("list_tables", {})]


@pytest.mark.parametrize("size", [*range(40, 60), 200, 229, 230, 231, 940])
def test_a_call_of_deepseek_is_found_wherever_it_is_looked_at_first(size: int) -> None:
    text = (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
        f'{{\n  "city": "{"P" * size}"\n}}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
    )
    assert read(text) == [("get_weather", {"city": "P" * size})]


def test_a_file_that_shows_a_call_of_its_own_family_is_written_whole() -> None:
    content = f"# Format\n{QWEN}\nuse it."
    text = (
        f"<tool_call>\n<function=write_file>\n<parameter=path>\na\n</parameter>\n<parameter=content>\n{content}\n"
        "</parameter>\n</function>\n</tool_call>"
    )
    assert read(text) == [("write_file", {"path": "a", "content": content})]
    content = f"# Format\n{GLM}\nuse it."
    text = (
        "<tool_call>write_file\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n<arg_key>content</arg_key>\n"
        f"<arg_value>{content}</arg_value>\n</tool_call>"
    )
    assert read(text) == [("write_file", {"path": "a", "content": content})]


def test_a_value_that_only_speaks_of_a_call_ends_where_it_ends() -> None:
    text = (
        "<tool_call>\n<function=run_shell>\n<parameter=cmd>\ngrep '<function=' x\n</parameter>\n</function>\n"
        f"</tool_call>\n{QWEN}"
    )
    assert read(text) == [("run_shell", {"cmd": "grep '<function=' x"}), ("run_shell", {"cmd": "ls"})]


@pytest.mark.parametrize(
    "text",
    [
        "to=functions.list_tables " + "\n" * 30_000 + "x",
        "analysisXassistant" + " " * 30_000,
        "```" + " " * 30_000 + "!",
        "<|tool_call>call:" + " " * 30_000 + "{",
    ],
)
def test_white_space_is_read_once(text: str) -> None:
    """With parts that may be missing between runs of it, this took minutes."""
    assert read(text) == []


def test_prose_that_begins_like_a_stripped_header_is_not_held() -> None:
    sieve = Sieve(FULL)
    sieve.feed("analysis of the log: " + "it says nothing of use. " * 40)
    assert sieve.held < 64
