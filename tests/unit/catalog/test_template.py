"""What a chat template's text gives away."""

import time

import pytest

from roost.catalog.template import lint, read_template, template_code

HERMES = "{%- if tools %}<tool_call>{{ tools | tojson }}</tool_call>{% endif %}<think>"


def test_markers_become_capabilities():
    facts = read_template(HERMES)
    assert facts.tool_markers == ("<tool_call>",)
    assert facts.reasoning_markers == ("<think>",)
    assert facts.capabilities == ("tools", "thinking")
    assert facts.warnings == ()


def test_a_template_that_takes_tools_without_a_marker_has_tools():
    assert read_template("{% if tools is not none %}{{ tools }}{% endif %}").capabilities == ("tools",)


def test_the_word_tools_outside_of_code_means_nothing():
    assert read_template("You have no tools. {{ message }} {# tools #}").capabilities == ()


def test_no_template_is_no_facts():
    assert read_template(None).sha256 is None
    assert read_template("").text is None


def test_the_digest_changes_with_the_text():
    assert read_template("a").sha256 != read_template("b").sha256


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{{ x.__class__.__mro__ }}", "`__`"),
        ("{{ x['__globals__'] }}", "`__`"),
        ("{{ x|attr('y') }}", "`attr`"),
        ("{% import 'x' as y %}", "`import`"),
        ("{% from 'x' import y %}", "`import`"),
        ("{% include 'x' %}", "`include`"),
    ],
)
def test_code_that_no_chat_needs_is_named(text, name):
    assert [warning for warning in lint(text) if name in warning]


def test_the_same_words_in_plain_text_or_comments_are_fine():
    assert lint("import __this__ attr( {# {{ x.__class__ }} #} {{ message }}") == ()


def test_a_very_long_template_is_named():
    assert "characters" in lint("a" * 300_000)[0]


@pytest.mark.parametrize("piece", ["{#", "{{", "{%", "{", "{% a %}"])
def test_reading_takes_one_pass_whatever_the_text(piece):
    started = time.process_time()
    template_code(piece * 300_000)
    assert time.process_time() - started < 5.0
