"""Arguments that a client sends back: sound ones stay, all others become the text of an object, and nothing is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.toolcalls.replay import UNREAD, replayed


def sent(arguments):
    return replayed(arguments, json.dumps(arguments))


@pytest.mark.parametrize("text", ["{}", '{"a": 1}', ' {"a":1.50}\n', '{"a": 1, "a": 2}', '{"a": "\\ud800"}'])
def test_the_text_of_an_object_stays_as_it_is(text):
    assert sent(text) is None


@pytest.mark.parametrize(
    ("arguments", "becomes", "steps"),
    [
        ({"a": [1]}, {"a": [1]}, ("encoded",)),
        ("", {}, ("empty",)),
        (" \n", {}, ("empty",)),
        (None, {}, ("empty",)),
        (json.dumps('{"a": 1}'), {"a": 1}, ("decoded",)),
        (json.dumps('{"a": 1,}'), {"a": 1}, ("decoded", "trailing_commas")),
        ('{"a": 1,}', {"a": 1}, ("trailing_commas",)),
        ('{"a": "one\ntwo"}', {"a": "one\ntwo"}, ("control_characters",)),
        ("{'a': True, 'b': None}", {"a": True, "b": None}, ("python_literal",)),
    ],
)
def test_what_can_be_read_without_a_guess_is_read(arguments, becomes, steps):
    found = sent(arguments)
    assert found is not None and json.loads(found.arguments) == becomes
    assert found.steps == steps


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Par',
        '{"a": 1',
        "city=Paris",
        "[1, 2]",
        "7",
        '"text"',
        '{"a": NaN}',
        '{"a": 1} and more',
        "{" * 5000,
        '{"a":' * 100 + "1" + "}" * 100 + ",",
        json.dumps(json.dumps('{"a": 1}')),
    ],
)
def test_what_cannot_is_kept_as_text_in_an_object(text):
    found = sent(text)
    assert found is not None and found.steps == ("unparsed",)
    assert json.loads(found.arguments) == {UNREAD: text}


@pytest.mark.parametrize("value", [[1, "a"], 3, True, 1.5])
def test_values_of_another_kind_are_kept_as_their_text(value):
    found = sent(value)
    assert found is not None and json.loads(found.arguments) == {UNREAD: json.dumps(value)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON | st.text() | st.text(alphabet="{}[]\",:\\ \n'aT1"))
def test_whatever_is_sent_comes_to_the_text_of_an_object_and_stays_it(arguments):
    found = sent(arguments)
    text = arguments if found is None else found.arguments
    assert isinstance(text, str) and isinstance(json.loads(text), dict)
    assert sent(text) is None
