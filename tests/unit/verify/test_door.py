"""Answers as they come over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from roost.verify.door import Stream, body_of, whole_answer
from roost.verify.types import Answer, Case


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, **function: str) -> dict[str, Any]:
    return {"index": index, "function": function}


def streamed(*chunks: dict[str, Any]) -> Answer:
    stream = Stream()
    for one in chunks:
        stream.feed(one)
    return stream.answer()


def test_a_call_is_put_together() -> None:
    found = streamed(
        chunk(role="assistant", content="Now: "),
        chunk(tool_calls=[call(0, name="f", arguments="")]),
        chunk(tool_calls=[call(0, arguments='{"a"')]),
        chunk(tool_calls=[call(0, arguments=": 1}"), call(1, name="g", arguments="{}")]),
        chunk("tool_calls"),
        {"choices": [], "usage": {}},
    )
    assert found == Answer(200, "Now: ", calls=(("f", '{"a": 1}'), ("g", "{}")), finish="tool_calls")


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ([chunk(tool_calls=[call(0, arguments="{}")]), chunk("tool_calls")], "a call began without its name"),
        ([chunk("stop"), chunk("stop")], "it ended twice"),
        ([chunk(content="x")], "it had no finish_reason"),
    ],
)
def test_what_sdks_trip_over_is_a_fault(chunks: list[dict[str, Any]], fault: str) -> None:
    assert streamed(*chunks).fault == fault


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": {"tool_calls": [{}]}}]}])
def test_an_answer_in_another_shape_is_a_fault(body: dict[str, Any]) -> None:
    assert whole_answer(200, {}, body).fault


def test_the_tier_is_read_from_the_label() -> None:
    message = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    labels = {"repaired;tier=T2;steps=fence": "T2", "unrepaired;reason=schema": None, "passthrough": None, "": None}
    assert {one: whole_answer(200, {"x-roost-tools": one}, message).tier for one in labels} == labels


def test_a_case_can_leave_the_sampling_to_the_server() -> None:
    assert body_of(Case("c", (), ()), "m")["temperature"] == 0
    assert "temperature" not in body_of(Case("c", (), (), extra={"temperature": None}), "m")
