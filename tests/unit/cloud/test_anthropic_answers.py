"""Anthropic's answers and streams in OpenAI's words, whatever the chunks of the network."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.cloud.anthropic.answers import error_of, whole_chat
from roost.cloud.anthropic.stream import DONE, LARGEST_EVENT_BYTES, BrokenStream, MessageEvents
from roost.testing.cloud_answers import Said, anthropic_error_event, anthropic_events, anthropic_message

SAID = Said("claude-sonnet-5", "Hello «you» there", "Greet 😀 them", ("weather", {"city": "Paris"}))
EVENTS = list(anthropic_events(SAID))


def translated(data, step=None, include_usage=True):
    events = MessageEvents(7, include_usage)
    pieces = [data[at : at + step] for at in range(0, len(data), step)] if step else [data]
    told = b"".join(events.feed(piece) for piece in pieces)
    events.end()
    return told


def chunks(told):
    return [json.loads(line[6:]) for line in told.decode().split("\n\n") if line and line != "data: [DONE]"]


def joined(told, key):
    deltas = [choice["delta"] for chunk in chunks(told) for choice in chunk["choices"]]
    return "".join(delta.get(key) or "" for delta in deltas)


def test_a_whole_message():
    answer = whole_chat(anthropic_message(SAID), 7)
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (SAID.text, SAID.thought)
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["usage"]["prompt_tokens"] == 20
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 8}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_why_it_ended(reason, finish):
    message = {**anthropic_message(Said("m", "x")), "stop_reason": reason}
    assert whole_chat(message, 7)["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("body", [{}, [], {"type": "message"}, {**anthropic_message(SAID), "stop_reason": None}])
def test_what_is_no_message_is_an_error(body):
    with pytest.raises((ValueError, AttributeError)):
        whole_chat(body, 7)


@pytest.mark.parametrize(("status", "ours"), [(429, 429), (529, 503), (500, 500), (400, 400), (401, 401)])
def test_errors_keep_their_status_and_message(status, ours):
    body = json.dumps({"type": "error", "error": {"type": "t_error", "message": "why"}}).encode()
    told, error = error_of(body, status)
    assert (told, error["error"]["message"]) == (ours, "why")


def test_an_error_that_is_a_page_is_one_all_the_same():
    assert error_of(b"<html>", 502) == (
        502,
        {"error": {"message": "the provider answered 502", "type": "server_error", "param": None, "code": None}},
    )


def test_a_stream_says_what_the_whole_message_says():
    told = translated(b"".join(EVENTS))
    assert told.endswith(DONE)
    assert joined(told, "content").strip() == SAID.text
    assert joined(told, "reasoning_content").split() == SAID.thought.split()
    calls = [call for chunk in chunks(told) for one in chunk["choices"] for call in one["delta"].get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0] * len(calls)
    assert (calls[0]["id"], calls[0]["function"]["name"]) == ("toolu_1", "weather")
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"city": "Paris"}
    last, usage = chunks(told)[-2:]
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 20
    assert usage["usage"]["completion_tokens"] == SAID.completion_tokens


def test_half_a_letter_is_replaced():
    half = (
        EVENTS[0]
        + b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\\ud83d"}}'
    )
    assert b'"content":"?"' in MessageEvents(7, True).feed(half + b"\n\n")


def test_nobody_gets_usage_who_did_not_ask():
    assert b"usage" not in translated(b"".join(EVENTS), include_usage=False)


def test_a_call_without_arguments_is_an_empty_object():
    events = [event for event in EVENTS if b"input_json_delta" not in event]
    assert b'"arguments":"{}"' in translated(b"".join(events))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.booleans())
def test_the_chunks_of_the_network_change_nothing(step, crlf):
    data = b"".join(EVENTS).replace(b"\n", b"\r\n") if crlf else b"".join(EVENTS)
    assert translated(data, step) == translated(b"".join(EVENTS))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_stream_that_is_cut_anywhere_never_ends_properly(data):
    whole = b"".join(EVENTS)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    events = MessageEvents(7, True)
    if not events.feed(cut).endswith(DONE):
        with pytest.raises(BrokenStream):
            events.end()
    else:
        assert whole[len(cut) :].strip() == b""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(EVENTS)))
def test_garbage_breaks_it_or_means_nothing_and_never_more(garbage, place):
    events = MessageEvents(7, True)
    try:
        told = events.feed(b"".join(EVENTS[:place]) + b"data: " + garbage + b"\n\n" + b"".join(EVENTS[place:]))
        events.end()
    except BrokenStream:
        return
    assert told.endswith(DONE)


@pytest.mark.parametrize(
    "event",
    [
        b"data: {oops\n\n",
        b"data: []\n\n",
        b'data: {"type": "content_block_delta", "index": 0}\n\n',
        b'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}}\n\n',
        b"data: \xff\xfe\n\n",
    ],
)
def test_an_event_that_cannot_be_read_breaks_it(event):
    events = MessageEvents(7, True)
    events.feed(EVENTS[0])
    with pytest.raises(BrokenStream):
        events.feed(event)


def test_what_comes_before_its_beginning_breaks_it():
    with pytest.raises(BrokenStream):
        MessageEvents(7, True).feed(EVENTS[3])


def test_what_is_newer_than_this_is_passed_over():
    new = b'event: sparkle\ndata: {"type": "sparkle", "index": 0}\n\n'
    block = (
        b'data: {"type": "content_block_start", "index": 9, "content_block": {"type": "hologram"}}\n\n'
        b'data: {"type": "content_block_delta", "index": 9, "delta": {"type": "hologram_delta"}}\n\n'
        b'data: {"type": "content_block_stop", "index": 9}\n\n'
    )
    assert translated(EVENTS[0] + new + block + b"".join(EVENTS[1:])) == translated(b"".join(EVENTS))


def test_an_error_in_the_middle_is_a_frame_with_its_status_and_the_last_thing_told():
    events = MessageEvents(7, True)
    told = events.feed(b"".join(EVENTS[:4]) + anthropic_error_event("Overloaded", "overloaded_error") + EVENTS[4])
    assert json.loads(told.decode().split("\n\n")[-2][6:])["error"] == {
        "message": "Overloaded",
        "type": "overloaded_error",
        "param": None,
        "code": 503,
    }


def test_an_event_without_an_end_does_not_fill_the_memory():
    events = MessageEvents(7, True)
    piece = b"x" * 2**20
    with pytest.raises(BrokenStream, match="no end"):
        for _ in range(LARGEST_EVENT_BYTES // len(piece) + 2):
            events.feed(piece)


def test_a_broken_stream_repeats_nothing_of_the_answer():
    with pytest.raises(BrokenStream) as broken:
        MessageEvents(7, True).feed(b'data: {"type": "x", "secret": "hunter2"\n\n')
    assert "hunter2" not in str(broken.value)
    assert broken.value.__cause__ is None
