"""A call in sound form that may not be made: of a tool that was not sent, or with arguments that its schema refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.toolcalls.detector import detector
from roost.toolcalls.sieve import Sieve, find
from roost.toolcalls.values import Mode, Reason, Tier
from tests.unit.toolcalls.corpus import (
    LAMP,
    MARKED,
    SHAPED,
    TIME,
    TOOLS,
    WRITERS,
    functionary,
    functionary_31,
    hermes,
    mistral_13,
    qwen_coder_without_opener,
    read,
)
from tests.unit.toolcalls.test_splits import FRAGMENTS

DOOR = ("open_door", {"room": "hall", "wide": True})
BAD = ("set_lamp", {"room": 7})
FORWARDS = detector(TOOLS, Mode.FULL, None, forwards=True)
ASKS = detector(TOOLS, Mode.FULL, None, asks=frozenset({Reason.UNKNOWN_TOOL, Reason.SCHEMA}))
#: Their opener has a declared name in it: without one there is no marker.
NAMED_OPENERS = {qwen_coder_without_opener, functionary, functionary_31}
OPEN = [write for write in MARKED if write not in NAMED_OPENERS]


@pytest.mark.parametrize("write", OPEN)
def test_behind_a_marker_a_call_is_forwarded_under_the_name_that_was_written(write):
    found = find(write([DOOR]), FORWARDS)

    assert read(found) == [DOOR]
    assert found.tier is Tier.MARKER
    assert "unknown_tool" in found.steps


def test_calls_of_known_and_of_unknown_tools_are_answered_together_and_ids_stay():
    assert read(find(hermes([LAMP, DOOR, TIME]), FORWARDS)) == [LAMP, DOOR, TIME]
    (call,) = find(mistral_13([DOOR]), FORWARDS).calls
    assert call.id == "abcd12345"


def test_what_engines_hang_on_a_name_is_no_part_of_it():
    text = hermes([("functions.open_door<|channel|>commentary", {})])
    (call,) = find(text, FORWARDS).calls
    assert call.name == "open_door"


@pytest.mark.parametrize("write", SHAPED)
def test_without_a_marker_only_a_declared_name_makes_a_call(write):
    found = find(write([DOOR]), FORWARDS)
    assert not found.calls and found.kept == len(write([DOOR]))


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>Well, I would say\n</tool_call>",
        "<tool_call>\n</tool_call>",
        hermes([("no name at all", {})]),
        hermes([("", {})]),
        hermes([("x" * 200, {})]),
        hermes([("open_door", {"type": "object", "properties": {"room": {"type": "string"}}})]),
        hermes([DOOR])[:-20],
        f"{hermes([DOOR])} That would open it.",
        f"Like this:\n```\n{hermes([DOOR])}\n```",
        hermes([BAD]),
    ],
)
def test_what_is_no_call_in_sound_form_is_not_forwarded(text):
    found = find(text, FORWARDS)
    assert not found.calls and found.kept == len(text)


def test_by_default_nothing_is_forwarded_and_nothing_is_asked():
    for call in (DOOR, BAD):
        found = find(hermes([call]), detector(TOOLS, Mode.FULL, None))
        assert not found.calls and found.refusal is None


@pytest.mark.parametrize("write", WRITERS)
def test_a_call_with_bad_arguments_may_be_asked_about(write):
    found = find(write([("set_lamp", {"level": 7})]), ASKS)

    assert not found.calls and found.reason is Reason.SCHEMA
    assert found.refusal is not None and found.refusal.reason is Reason.SCHEMA
    assert "room" in found.refusal.detail and "set_lamp" in found.refusal.detail
    assert found.refusal.tier is (Tier.SHAPE if write in SHAPED else Tier.MARKER)


@pytest.mark.parametrize("write", OPEN)
def test_an_unknown_tool_may_be_asked_about_behind_a_marker(write):
    found = find(write([DOOR]), ASKS)
    assert found.refusal is not None and found.refusal.reason is Reason.UNKNOWN_TOOL
    assert "open_door" in found.refusal.detail and "set_lamp, save_file, get_time, plan-trip" in found.refusal.detail


@pytest.mark.parametrize("write", SHAPED)
def test_a_record_with_another_name_is_nothing_to_ask_about(write):
    assert find(write([DOOR]), ASKS).refusal is None


@pytest.mark.parametrize("call", [DOOR, BAD])
@pytest.mark.parametrize(
    "around",
    ["Let me see.\n{}", "{} is how it looks.", "{}\n\nor\n\n{}", "```\n{}\n```", "> {}", "{}{{", "Hm.</think>{}"],
)
def test_only_an_answer_that_is_nothing_but_calls_is_asked_about(call, around):
    assert find(around.format(hermes([call]), hermes([call])), ASKS).refusal is None


def test_what_was_cut_off_is_never_asked_about():
    for text in (hermes([BAD])[:-20], hermes([LAMP]) + hermes([BAD])[:30]):
        assert find(text, ASKS).refusal is None
    assert find(hermes([BAD]), ASKS, cut=True).refusal is None


def test_a_complaint_is_short_however_long_the_arguments_are():
    refusal = find(hermes([("set_lamp", {"room": ["x" * 5000]})]), ASKS).refusal
    assert refusal is not None and len(refusal.detail) < 600
    refusal = find(hermes([("x" * 100, {})]), ASKS).refusal
    assert refusal is not None and len(refusal.detail) < 600


def test_nothing_of_it_is_released_before_its_end_unless_it_goes_on_as_text():
    text = hermes([("save_file", {"path": 1, "content": "x" * 2000})])
    sieve = Sieve(ASKS)
    for character in text:
        sieve.feed(character)
        assert sieve.released == 0
    assert sieve.finish().refusal is not None

    sieve = Sieve(ASKS)
    remark = text + "\nThat is what I would do, if " + "I could, " * 2000
    for start in range(0, len(remark), 9):
        sieve.feed(remark[start : start + 9])
    assert sieve.released > len(text)
    assert sieve.finish().refusal is None


refused = st.sampled_from([write([call]) for write in WRITERS for call in (DOOR, BAD)])
texts = st.lists(refused | st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=5).map("".join)


@given(texts, st.lists(st.integers(0, 400), max_size=12), st.booleans(), st.sampled_from([ASKS, FORWARDS]))
@settings(max_examples=150, deadline=None)
def test_any_split_gives_what_the_whole_gives(text, cuts, cut, wanted):
    places = sorted({min(place, len(text)) for place in cuts})
    sieve = Sieve(wanted)
    released = 0
    for start, end in zip([0, *places], [*places, len(text)], strict=True):
        sieve.feed(text[start:end])
        assert released <= sieve.released <= end
        released = sieve.released
    found = sieve.finish(cut=cut)

    assert found == find(text, wanted, cut=cut)
    assert found.calls or found.kept == len(text)
    # A model is asked again only where nothing of its answer went out.
    assert found.refusal is None or released == 0


@given(texts)
@settings(max_examples=100, deadline=None)
def test_to_be_asked_changes_nothing_of_what_is_called(text):
    plain, asked = find(text, detector(TOOLS, Mode.FULL, None)), find(text, ASKS)
    assert (asked.calls, asked.kept, asked.reason) == (plain.calls, plain.kept, plain.reason)
