"""Each family's way of writing calls is read, however many there are and however the text comes in."""

import pytest

from roost.toolcalls.sieve import Sieve, find
from roost.toolcalls.values import Tier
from tests.unit.toolcalls.corpus import CALLS, DIM, FULL, LAMP, MARKED, SAVE, SHAPED, TIME, TRIP, WRITERS, kimi, read

named = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
marked = pytest.mark.parametrize("write", MARKED, ids=lambda write: write.__name__)


@named
def test_one_call_is_read_with_its_arguments(write):
    for call in CALLS:
        found = find(write([call]), FULL)

        assert read(found) == [call]
        assert found.kept == 0
        assert found.tier is (Tier.SHAPE if write in SHAPED else Tier.MARKER)


@named
def test_several_calls_are_read_in_their_order(write):
    assert read(find(write([LAMP, DIM, TRIP]), FULL)) == [LAMP, DIM, TRIP]


@marked
@pytest.mark.parametrize("between", ["\n\n", ""], ids=("on a line of its own", "attached to a sentence"))
def test_text_before_a_call_is_kept_without_the_space_between(write, between):
    found = find(f"Let me do that.{between}{write([LAMP])}", FULL)

    assert read(found) == [LAMP]
    assert found.kept == len("Let me do that.")


@named
def test_tokens_that_end_a_turn_are_no_text(write):
    for ending in ("<|im_end|>", "\n", "<|eot_id|>\n", "</s>"):
        assert read(find(write([LAMP]) + ending, FULL)) == [LAMP]


@named
def test_any_split_gives_what_the_whole_gives(write):
    text = write([DIM, TIME])
    whole = find(text, FULL)

    assert read(whole) == [DIM, TIME]
    for at in range(1, len(text)):
        assert in_pieces(text[:at], text[at:]) == whole
    assert in_pieces(*text) == whole


def in_pieces(*pieces):
    sieve = Sieve(FULL)
    for piece in pieces:
        sieve.feed(piece)
    return sieve.finish()


@named
@pytest.mark.parametrize("cut", [False, True], ids=("stopped", "cut"))
def test_no_beginning_of_a_text_makes_another_call_than_the_whole(write, cut):
    """Nothing that was cut off is completed: each value that is found is one that the model wrote to its end."""
    calls = [DIM, LAMP]
    text = write(calls)

    for end in range(len(text)):
        for found, (name, arguments) in zip(read(find(text[:end], FULL, cut=cut)), calls, strict=False):
            # A model that stops by itself between two parameters has written the first.
            assert found == (name, arguments) or (not cut and found[1].items() <= arguments.items()), text[:end]


@named
def test_a_call_that_was_cut_is_relayed_as_it_came(write):
    text = write([DIM])
    text = text[: text.index("höhle") + 3]
    found = find(text, FULL, cut=True)

    assert not found.calls
    assert found.kept == len(text)


@pytest.mark.parametrize("write", [write for write in WRITERS if write.__name__ in {
    "hermes", "qwen_coder", "mistral_11", "deepseek_v3", "deepseek_v31", "dsml", "kimi", "glm", "harmony", "minimax",
    "gemma", "function_gemma", "functionary", "functionary_31", "llama", "fences", "bare",
}], ids=lambda write: write.__name__)  # fmt: skip
def test_complete_calls_before_a_cut_are_made(write):
    text = write([LAMP, SAVE])
    found = find(text[: text.index("print")], FULL, cut=True)

    assert read(found) == [LAMP]
    assert "cut_tail" in found.steps


@named
def test_an_unknown_tool_makes_the_text_plain(write):
    text = write([("open_door", {"room": "hall"})])
    found = find(text, FULL)

    assert not found.calls
    assert found.kept == len(text)


@named
def test_arguments_of_a_wrong_type_make_the_text_plain(write):
    text = write([("set_lamp", {"room": ["hall"]})])

    # A value in tags is text, and text is what the schema wants.
    assert read(find(text, FULL)) in ([], [("set_lamp", {"room": '["hall"]'})])


def test_the_ids_of_kimi_are_kept():
    assert [call.id for call in find(kimi([LAMP, DIM]), FULL).calls] == ["functions.set_lamp:0", "functions.set_lamp:1"]
