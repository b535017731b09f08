"""Property tests: however a text comes in, the same comes out; nothing is lost, nothing waits that cannot be a call."""

from hypothesis import given, settings
from hypothesis import strategies as st

from roost.toolcalls.sieve import MOST_HELD, Sieve, find
from tests.unit.toolcalls.corpus import CALLS, FULL, LAMP, SAVE, WRITERS, hermes

#: Everything that the sieve looks at, and what lies between.
FRAGMENTS = [
    *(write([call]) for write in WRITERS for call in (LAMP, SAVE)),
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|channel|>", "<function=set_lamp>", ">>>", "functools["),
    *("```", "```json\n", "~~~", "\n", "\n" * 300, " ", "> ", "`", ".", ":", "<", "[", "{", "}", "]", '"', "'"),
    *("<think>", "</think>", "[/THINK]", "Hello", "set_lamp", '{"name"', ": ", "analysis", "<|im_end|>", "é", "🦇"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=8).map("".join)


@given(texts, st.lists(st.integers(0, 400), max_size=12), st.booleans())
@settings(max_examples=120, deadline=None)
def test_any_split_gives_what_the_whole_gives(text, cuts, cut):
    places = sorted({min(place, len(text)) for place in cuts})
    sieve = Sieve(FULL)
    released = 0
    for start, end in zip([0, *places], [*places, len(text)], strict=True):
        sieve.feed(text[start:end])
        assert released <= sieve.released <= end
        assert sieve.released + sieve.held == end
        released = sieve.released
    found = sieve.finish(cut=cut)

    assert found == find(text, FULL, cut=cut)
    # What was released is never taken back.
    assert released <= found.kept <= len(text)
    assert found.calls or found.kept == len(text)


@given(texts)
@settings(max_examples=60, deadline=None)
def test_each_character_on_its_own_gives_what_the_whole_gives(text):
    sieve = Sieve(FULL)
    for character in text:
        sieve.feed(character)

    assert sieve.finish() == find(text, FULL)


@given(st.lists(st.sampled_from(CALLS), min_size=1, max_size=3), st.sampled_from(WRITERS), texts)
@settings(max_examples=60, deadline=None)
def test_only_what_was_written_is_called(calls, write, before):
    """Whatever stands before: the calls that are found are those that were written, or none."""
    found = find(f"{before}\n{write(calls)}", FULL)

    # `before` may hold calls of its own, in the same dialect.
    written = {name for name, _ in calls} | {"set_lamp", "save_file"}
    assert {call.name for call in found.calls} <= written


@given(st.text(alphabet=st.characters(blacklist_characters="<[{`]>"), max_size=200))
def test_plain_text_is_released_but_for_white_space_at_its_end(text):
    sieve = Sieve(FULL)
    sieve.feed("Well, ")
    sieve.feed(text)

    assert sieve.released == len(f"Well, {text}".rstrip())


def test_white_space_without_an_end_is_not_held():
    for before in ("", "Hello."):
        sieve = Sieve(FULL)
        sieve.feed(before)
        for _ in range(1000):
            sieve.feed("\n")
            assert sieve.held <= 256
        sieve.feed(hermes([LAMP]))
        found = sieve.finish()

        assert found == find(before + "\n" * 1000 + hermes([LAMP]), FULL)
        assert found.calls


def test_what_is_held_is_bounded():
    sieve = Sieve(FULL)
    text = hermes([("save_file", {"path": "a", "content": "x" * 2 * MOST_HELD})])
    most = 0
    for start in range(0, len(text), 7):
        sieve.feed(text[start : start + 7])
        most = max(most, sieve.held)

    assert most <= MOST_HELD + 32
    assert sieve.finish().kept == len(text)
