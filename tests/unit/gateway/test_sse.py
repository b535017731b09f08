from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.gateway.sse import EventBuffer, StreamRewriter

NAME = "org/model"


def relay(pieces: list[bytes]) -> tuple[bytes, StreamRewriter]:
    buffer, rewriter = EventBuffer(), StreamRewriter(NAME)
    out = [rewriter.rewrite(event) for piece in pieces for event in buffer.feed(piece)]
    return b"".join(out), rewriter


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


def event(value: object, end: str = "\n\n", lead: str = "data: ") -> bytes:
    return f"{lead}{json.dumps(value, ensure_ascii=False)}{end}".encode()


CHUNKS = st.builds(
    lambda content, end, lead, extra: event(
        {"id": "x", "model": "served", "choices": [{"index": 0, "delta": {"content": content}}], **extra}, end, lead
    ),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["\n\n", "\r\n\r\n"]),
    st.sampled_from(["data: ", "data:"]),
    st.sampled_from([{}, {"meta": {"model": "inner"}}, {"note": '"model": "x"'}, {"note": "model"}]),
)
COMMENTS = st.sampled_from([b": keepalive 1/2\n\n", b":\r\n\r\n", b"event: x\n\n", b"data: \n\n"])


@given(st.lists(CHUNKS | COMMENTS, max_size=6), st.lists(st.integers(0, 5000), max_size=12))
def test_any_chunking_gives_the_same_bytes_and_only_the_model_differs(events: list[bytes], places: list[int]) -> None:
    data = b"".join(events)
    whole, _ = relay([data])
    assert relay(cut(data, places))[0] == whole
    assert whole == data.replace(b'"model": "served"', f'"model": "{NAME}"'.encode())


def test_data_over_several_lines_is_one_event() -> None:
    data = b'event: chunk\ndata: {"a":\ndata:"model",\r\ndata: "model":"x"}\nid: 1\n\n'
    out, rewriter = relay([data])
    assert out == data.replace(b'"x"', b'"org/model"')
    assert rewriter.facts.chunks == 1


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ('{"\\u006dodel":"x","a":{"model":"y"}}', '{"\\u006dodel":"org/model","a":{"model":"y"}}'),
        ('{"a":"\\"model","model":"y"}', '{"a":"\\"model","model":"org/model"}'),
        ('{"model":null}', '{"model":"org/model"}'),
        ('{"a":{"model":"y"}}', '{"a":{"model":"y"}}'),
        ('{"model" :\t"y\\"z"}', '{"model" :\t"org/model"}'),
    ],
)
def test_only_the_top_level_model_is_renamed(chunk: str, expected: str) -> None:
    out, _ = relay([f"data: {chunk}\n\n".encode()])
    assert out == f"data: {expected}\n\n".encode()


@pytest.mark.parametrize(
    ("chunks", "complete"),
    [
        ([{"choices": [{"index": 0, "finish_reason": "stop"}]}], True),
        ([{"choices": [{"index": 0, "finish_reason": None}]}], False),
        ([{"choices": [{"index": 0, "finish_reason": "stop"}, {"index": 1}]}], False),
        ([], False),
        ([{"choices": []}], False),
    ],
)
def test_a_stream_is_complete_when_every_choice_has_its_reason(chunks: list[Any], complete: bool) -> None:
    data = b"".join(event(chunk) for chunk in chunks) + b"data: [DONE]\n\n"
    out, rewriter = relay([data])
    assert b"[DONE]" not in out
    assert rewriter.facts.done_event == b"data: [DONE]\n\n"
    assert rewriter.facts.complete is complete


def test_nothing_passes_after_an_error_frame() -> None:
    out, rewriter = relay([event({"a": 1}) + event({"error": "broke"}) + event({"b": 2})])
    assert out == event({"a": 1})
    assert rewriter.facts.error == {"error": {"message": "broke"}}


def test_usage_and_timings_are_kept() -> None:
    _, rewriter = relay([event({"choices": [], "usage": {"prompt_tokens": 3}, "timings": {"cache_n": 1}})])
    assert rewriter.facts.usage == {"prompt_tokens": 3}
    assert rewriter.facts.timings == {"cache_n": 1}
