"""Thoughts are told apart from answers, in pieces of any length, and a text without any stays as it is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.toolcalls.thoughts import PAIRS, ThoughtSplitter, opens_in_prompt, split, switch_of

FRAGMENTS = ("Hm", "\n", "\n" * 300, " ", "<", "[", ".")
HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four.<|return|>"


@pytest.mark.parametrize(("opening", "closing"), PAIRS, ids=[opening for opening, _ in PAIRS])
def test_each_familys_thought_is_told_apart(opening, closing):
    assert split(f"{opening}\nHm, two.\n{closing}\n\nFour.\n") == ("Hm, two.", "Four.\n")
    assert split(f"\n{opening}Hm{closing}Four.") == ("Hm", "Four.")
    assert split(f"{opening}\n\n{closing}\n\nFour.") == ("", "Four.")


def test_harmonys_wrappers_are_no_answer():
    assert split(HARMONY) == ("Hm.", "Four.")
    assert split("<|channel|>final<|message|>Four.") == ("", "Four.")


def test_a_call_of_harmony_is_left_for_who_reads_calls():
    call = '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    assert split(f"<|channel|>analysis<|message|>Hm.<|end|>{call}") == ("Hm.", call)


def test_a_thought_that_never_ends_is_one():
    assert split("<think>Hm, and so on") == ("Hm, and so on", "")


def test_an_answer_may_begin_inside_a_thought():
    assert split("Hm.\n</think>\n\nFour.", inside=True) == ("Hm.", "Four.")
    assert split("Hm", inside=True) == ("Hm", "")


@pytest.mark.parametrize("text", ["Four.", "  Four.\n", "Use <think> so: <think>x</think>", "<b>", "<", "", "\n"])
def test_any_other_text_is_the_answer_as_it_is(text):
    assert split(text) == ("", text)


@given(
    st.lists(
        st.sampled_from(
            [*(part for pair in PAIRS for part in pair), HARMONY, "Hm", "\n", "\n" * 300, " ", "<", "[", "."]
        )
    ),
    st.lists(st.integers(0, 200)),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_any_split_gives_what_the_whole_gives(fragments, cuts, inside):
    text = "".join(fragments)
    places = sorted({min(place, len(text)) for place in cuts})
    splitter = ThoughtSplitter(inside=inside)
    parts = []
    for start, end in zip([0, *places], [*places, len(text)], strict=True):
        parts += splitter.feed(text[start:end])
    parts += splitter.finish()
    told = tuple("".join(part.text for part in parts if part.is_thought is which) for which in (True, False))

    assert told == split(text, inside=inside)


def test_a_template_that_opens_the_thought_itself_is_known():
    prompt = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n"
    assert opens_in_prompt(prompt + "<think>\\n' }}{% endif %}")
    assert not opens_in_prompt(prompt + "' }}{% endif %}")
    assert not opens_in_prompt(
        prompt + "' }}{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    )
    assert not opens_in_prompt("{{ '<think>' }}")


@pytest.mark.parametrize(
    ("template", "effort", "arguments"),
    [
        ("{{ enable_thinking }}", "none", {"enable_thinking": False}),
        ("{{ enable_thinking }}", "high", {"enable_thinking": True}),
        ("{% if thinking %}", "none", {"thinking": False}),
        ("{{ reasoning_effort }}", "low", {"reasoning_effort": "low"}),
        ("{{ reasoning_effort }}", "none", None),
        ("{{ enable_thinking }}{{ reasoning_effort }}", "high", {"enable_thinking": True, "reasoning_effort": "high"}),
        ("{{ enable_thinking }}{{ reasoning_effort }}", "none", {"enable_thinking": False}),
        ("<think>", "none", None),
    ],
)
def test_the_switch_has_the_templates_own_name(template, effort, arguments):
    assert switch_of(template, effort) == arguments
