"""Events that are taken by their template come out as if they had been decoded."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.gateway.sse import StreamRewriter
from roost.gateway.stream_template import template_of

PIECES = st.one_of(
    st.text(max_size=12).map(lambda text: json.dumps(text)[1:-1].encode()),
    st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [
            *(b'"', b"\\", b'\\"', b"\\x", b"\\u12", b"\\ud83d", b"\xff", b"\xc3", b"\n", b"\x1f", b"\x7f", b""),
            *(b'"},"finish_reason":"stop","x":{"y":"', b'","content":"', b'\\"model\\":\\"x\\"', b'","model":"b'),
        ]
    ),
)
AROUND = [
    (b'{"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"', b'"},"finish_reason":null}]}'),
    (b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"', b'"}}],"model":"m"}'),
    (b'{"choices":[{"index":1,"delta":{"reasoning_content": "', b'"}}], "model" : "m"}'),
    (b'{"choices":[{"index":0,"text":"', b'"}]}'),
    (b'{"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"', b'"}}]}}]}'),
    (b'{"model":"m","choices":[{"index":0,"delta":{"content":"', b'"},"finish_reason":"stop"}],"usage":{"n":1}}'),
    (b'{"model":"m","choices":[{"index":0,"delta":{"content":"', b'"}}],"timings":{"cache_n":1}}'),
    (b'{"error":{"message":"', b'"}}'),
]


#: Runs of one shape, the first piece of each a valid one: whatever follows may be taken by its template.
RUNS = st.lists(st.tuples(st.sampled_from(AROUND), st.lists(PIECES, min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=400)
@given(RUNS)
def test_a_stream_comes_out_as_if_each_event_had_been_decoded(
    runs: list[tuple[tuple[bytes, bytes], list[bytes]]],
) -> None:
    quick, careful = StreamRewriter("physical"), StreamRewriter("physical", each=lambda chunk: None)
    parts = [(around, piece) for around, pieces in runs for piece in (b"a", *pieces)]
    for (before, after), piece in parts:
        event = b"data: " + before + piece + after + b"\n\n"
        assert quick.rewrite(event) == careful.rewrite(event)
        ours, theirs = quick.facts, careful.facts
        assert (ours.chunks, ours.opened, ours.finished, ours.complete) == (
            theirs.chunks,
            theirs.opened,
            theirs.finished,
            theirs.complete,
        )
        assert (ours.finish_reason, ours.usage, ours.timings, ours.error, ours.broken) == (
            theirs.finish_reason,
            theirs.usage,
            theirs.timings,
            theirs.error,
            theirs.broken,
        )


def test_an_event_of_the_same_shape_is_taken() -> None:
    template = template_of(
        b'data: {"model":"m","choices":[{"delta":{"content":"a"}}]}\n\n',
        b'data: {"model":"physical","choices":[{"delta":{"content":"a"}}]}\n\n',
    )
    assert template is not None
    sent = template.applied('data: {"model":"m","choices":[{"delta":{"content":"\u00e9\\n"}}]}\n\n'.encode())
    assert sent == 'data: {"model":"physical","choices":[{"delta":{"content":"\u00e9\\n"}}]}\n\n'.encode()


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":null}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"a","reasoning_content":"b"}}]}\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_an_event_without_exactly_one_such_string_makes_no_template(event: bytes) -> None:
    assert template_of(event, event) is None
