"""The request that is sent a second time, and the tokens of two answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roost.gateway.document import parse_text
from roost.gateway.splice import Written, apply
from roost.gateway.tools.again import summed, with_note, with_usage
from roost.gateway.tools.label import Label
from roost.toolcalls.values import Reason, Refusal, Tier

REFUSAL = Refusal(Tier.MARKER, Reason.SCHEMA, 'the arguments of "f" are not valid: "é" is no\nnumber')


@pytest.mark.parametrize("messages", ["[]", "[ ]", '[{"role":"user", "content":"\\u00e9 1.50"} ,\n{"n":1e999}]'])
def test_the_note_comes_last_and_every_other_byte_stays(messages: str) -> None:
    text = f'{{"model":"m", "messages" : {messages} , "seed":1.50}}'
    document = parse_text(text)
    told = apply(document, {"messages": with_note(document, None, REFUSAL)}).decode()
    before, after = text.split(messages)
    assert told.startswith(before + messages[:-1]) and told.endswith("]" + after)
    found = json.loads(told)["messages"]
    assert found[:-1] == json.loads(messages)
    assert found[-1]["role"] == "user" and REFUSAL.detail in found[-1]["content"]


def test_it_comes_behind_messages_that_were_mended() -> None:
    document = parse_text('{"messages":[{"role":"user"}]}')
    told = with_note(document, Written('[{"role":"mended"}]'), REFUSAL)
    assert [message["role"] for message in json.loads(told.text)] == ["mended", "user"]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (None, None, None),
        ({"total_tokens": 3}, None, {"total_tokens": 3}),
        (None, {"total_tokens": 3}, {"total_tokens": 3}),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 5, "c": 4}),
        ({"details": {"cached": 1}}, {"details": {"cached": 2, "audio": 0}}, {"details": {"cached": 3, "audio": 0}}),
        ({"details": None, "x": True}, {"details": {"cached": 2}, "x": False}, {"details": {"cached": 2}, "x": False}),
        ({"kind": "a"}, {"kind": "b"}, {"kind": "b"}),
        ({"kind": "a", "n": 1}, {"kind": None}, {"kind": "a", "n": 1}),
        ("nonsense", {"n": 1}, {"n": 1}),
    ],
)
def test_usage_is_added_number_by_number(first: Any, second: Any, both: Any) -> None:
    assert summed(first, second) == both


def test_only_the_event_with_the_usage_is_another() -> None:
    text = b'data: {"choices": [{"delta": {"content": "the \\"usage\\" of a lamp"}}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"total_tokens": 4}}\n\n'
    none = b'data: {"choices": [], "usage": null}\n\n'
    events = [text, none, usage, b": comment\n\n", b"data: [DONE]\n\n"]
    assert list(with_usage(events, None)) == events
    told = list(with_usage(events, {"total_tokens": 3}))
    assert [*told[:2], *told[3:]] == [*events[:2], *events[3:]]
    assert json.loads(told[2][6:])["usage"] == {"total_tokens": 7}


def test_the_label_says_why_it_was_asked_and_what_came_of_it() -> None:
    label = Label(asked=Reason.SCHEMA)
    assert str(label) == "reask;reason=schema"
    label.repaired(Tier.SHAPE, ("fence",))
    assert str(label) == "reask;tier=T2;steps=fence;reason=schema"
    label = Label(asked=Reason.UNKNOWN_TOOL, in_vain=True)
    label.unrepaired(Reason.UNKNOWN_TOOL)
    assert str(label) == "unrepaired;reason=unknown_tool;reask=failed"
