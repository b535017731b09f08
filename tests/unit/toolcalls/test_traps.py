"""Texts that look like calls and are none: not one of them may become one."""

import pytest

from roost.toolcalls.detector import detector
from roost.toolcalls.sieve import Sieve, find
from roost.toolcalls.values import Mode, Reason, Tier, Tools
from tests.unit.toolcalls.corpus import (
    DIM,
    FULL,
    LAMP,
    MARKED,
    SHAPED,
    TOOLS,
    WRITERS,
    bare,
    fence,
    function,
    hermes,
    js,
    mistral,
    named,
    read,
)

CALL = named(*LAMP)
TAGGED = hermes([LAMP])


def no_call(text):
    """It is plain as a whole, and in pieces too."""
    found = find(text, FULL)
    assert not found.calls, text
    assert found.kept == len(text)
    sieve = Sieve(FULL)
    for character in text:
        sieve.feed(character)
    assert sieve.finish() == found
    return found


#: What surrounds any family's text and makes it an example, a quotation, a remark.
SURROUNDINGS = {
    "in a fence": "This is how it looks:\n```\n{}\n```",
    "in a fence of xml": "```xml\n{}\n```",
    "in a fence of tildes": "~~~\n{}\n~~~",
    "in a fence that stays open": "Here:\n```text\n{}",
    "in a longer fence": "````markdown\n```json\n{{}}\n```\n{}\n````",
    "in a quotation": "You wrote:\n> {}",
    "behind a space": "The text {}",
    "behind a bullet": "- {}",
    "in backticks": "Write `{}` to call it.",
    "as inline code at a line's start": "`{}`",
    "in an indented block": "For example:\n\n    {}",
    "with a remark behind it": "{}\n\nThat would turn the lamp on.",
    "between two alternatives": "{}\n\nor\n\n{}",
    "in quotes": '"{}" is what the model should say.',
    "in a table": "| call | {} |",
    "in a heading": "# {}",
}


@pytest.mark.parametrize("surrounding", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_a_call_that_is_shown_is_not_made(surrounding):
    for write in WRITERS:
        text = write([LAMP])
        if "> {}" in surrounding:
            text = text.replace("\n", "\n> ")
        if "    {}" in surrounding:
            text = text.replace("\n", "\n    ")
        no_call(surrounding.replace("{}", text))


@pytest.mark.parametrize("around", ["Sure!\n{}", "{}\nDone.", "I call {} now", "{} {}x"])
def test_a_shape_counts_only_as_the_entire_message(around):
    for write in SHAPED:
        no_call(around.replace("{}", write([LAMP])))


PLAIN = {
    "a record": '{"name": "set_lamp", "arguments": {"room": "hall"}, "created": 17}',
    "a record of another kind": '{"city": "Köln", "population": 1073096}',
    "a package manifest": '{"name": "set_lamp", "version": "1.0.0", "type": "module"}',
    "a definition": js({"name": "set_lamp", "parameters": {"type": "object", "properties": {"room": {}}}}),
    "a definition with a description": js(function("set_lamp", {"room": {"type": "string"}})),
    "a list of definitions": js([function("set_lamp", {"room": {"type": "string"}})["function"]]),
    "a result": '{"name": "set_lamp", "result": {"room": "hall", "on": true}}',
    "a name alone": '{"name": "set_lamp"}',
    "arguments alone": '{"arguments": {"room": "hall"}}',
    "a name that is prose": '{"name": "Set the lamp", "arguments": {"room": "hall"}}',
    "both spellings of arguments": '{"name": "set_lamp", "arguments": {"room": "a"}, "parameters": {"room": "b"}}',
    "a key twice": '{"name": "set_lamp", "name": "get_time", "arguments": {"room": "hall"}}',
    "an argument twice": '{"name": "set_lamp", "arguments": {"room": "hall", "room": "cellar"}}',
    "an argument that is not declared": '{"name": "set_lamp", "arguments": {"room": "hall", "colour": "red"}}',
    "arguments that are a list": '{"name": "set_lamp", "arguments": ["hall"]}',
    "a list of strings": '["set_lamp", "get_time"]',
    "an empty list": "[]",
    "an empty object": "{}",
    "a number": "42",
    "a link": "[set_lamp](https://example.org) is documented there.",
    "a footnote": "[1] See the manual.",
    "a type of another kind": '{"type": "object", "name": "set_lamp", "arguments": {"room": "hall"}}',
    "a lower-case enumeration": "[set_lamp, get_time]",
    "a Python call": 'set_lamp(room="hall")',
    "a Python call in a fence": '```python\nset_lamp(room="hall")\n```',
    "a Python list of calls with positions": '[set_lamp("hall")]',
    "a Python list of other calls": '[open_door(room="hall")]',
    "a Python list with an expression": '[set_lamp(room="ha" + input())]',
    "a Python list with an unpacking": '[set_lamp(**{"room": "hall"})]',
    "a comprehension": '[set_lamp(room=room) for room in ["hall"]]',
    "announced intent": "I will now call set_lamp with room = hall.",
    "a tool's name": "set_lamp",
    "a tool's name with an argument": "set_lamp room=hall",
    "a promise": "Calling `set_lamp`…",
    "YAML": "```yaml\nname: set_lamp\narguments:\n  room: hall\n```",
    "JSON lines of another kind": '{"name": "set_lamp", "arguments": {"room": "hall"}}\n{"status": "ok"}',
    "a fence with a comment": f"```json\n// like this\n{CALL}\n```",
    "a fence of another language": f"```python\n{CALL}\n```",
    "a format with placeholders": '<tool_call>\n{"name": <function-name>, "arguments": <object>}\n</tool_call>',
    "a remark on a tag": "<tool_call> is the tag that Hermes uses.",
    "a tag alone": "<tool_call>",
    "an empty tag": "<tool_call></tool_call>",
    "a tag around prose": "<tool_call>set the lamp in the hall</tool_call>",
    "a tag around another name": '<tool_call>{"name": "open_door", "arguments": {}}</tool_call>',
    "a tag around a record": '<tool_call>{"city": "Köln"}</tool_call>',
    "a tag without arguments that are required": '<tool_call>{"name": "set_lamp"}</tool_call>',
    "flat arguments": '<tool_call>{"name": "set_lamp", "room": "hall"}</tool_call>',
    "a marker of Mistral in prose": "The token [TOOL_CALLS] begins a list of calls.",
    "a marker of Mistral at a line's start": "[TOOL_CALLS] begins a list of calls.",
    "a prompt of a shell": ">>> set_lamp\n{'room': 'hall'}",
    "a prompt of Python": '>>> set_lamp(room="hall")\nTrue',
    "a quotation of a name": ">>>open_door\n{}",
    "a function tag of HTML": '<function=open_door>{"room": "hall"}</function>',
    "an invocation of another tool": '<minimax:tool_call><invoke name="x"></invoke></minimax:tool_call>',
    "a channel without a call": "<|channel|>final<|message|>Hello",
    "analysis as a word": "analysis of the lamp: it is on",
    "commentary as a word": "commentary to=functions.open_door json{}",
    "a string that is open": '<tool_call>{"name": "set_lamp", "arguments": {"room": "hal',
    "a string that is open before a closing tag": '<tool_call>{"name":"set_lamp","arguments":{"room":"hal</tool_call>',
    "three brackets missing": '<tool_call>{"name":"plan-trip","arguments":{"stops":[{"city":"Rom"</tool_call>',
    "a bracket missing without a tag": '{"name": "set_lamp", "arguments": {"room": "hall"}',
    "brackets that do not match": '<tool_call>{"name": "set_lamp", "arguments": {"room": "hall"]}</tool_call>',
    "NaN": '<tool_call>{"name": "plan-trip", "arguments": {"stops": [], "budget": NaN}}</tool_call>',
    "an enumeration's other case": '<tool_call>{"name": "Set_Lamp", "arguments": {"room": "hall"}}</tool_call>',
    "a float for an integer": '<tool_call>{"name":"set_lamp","arguments":{"room":"hall","level":"3.5"}}</tool_call>',
}


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
def test_text_is_not_a_call(text):
    no_call(text)


def test_a_draft_in_a_closed_thought_is_not_made():
    no_call(f"<think>I could call\n{TAGGED}\n</think>\nThe lamp is on already.")
    no_call(f"I could call\n{TAGGED}\n</think>\nThe lamp is on already.")


def test_what_follows_a_thought_is_read_as_the_message():
    assert read(find(f"<think>\n{hermes([DIM])}\nNo.\n</think>\n\n{TAGGED}", FULL)) == [LAMP]
    assert read(find(f"<think>hm</think>\n{fence([LAMP])}", FULL)) == [LAMP]
    assert read(find(f"<think>hm</think>{bare([LAMP])}", FULL)) == [LAMP]


def test_a_call_in_a_thought_that_never_ends_is_made():
    found = find(f"<think>I should turn it on.\n{TAGGED}", FULL)

    assert read(found) == [LAMP]
    assert found.tier is Tier.MARKER


def test_behind_a_marker_that_was_text_there_are_no_calls():
    found = no_call(f"<tool_call> is the tag. For example:\n{TAGGED}")
    assert found.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (hermes([("open_door", {})]), Reason.UNKNOWN_TOOL),
        (hermes([("set_lamp", {"room": 3})]), Reason.SCHEMA),
        (hermes([LAMP]) + " and so on", Reason.TRAILING_TEXT),
        (hermes([LAMP])[:40], Reason.TRUNCATED),
        ("<tool_call>" + '{"a":' * 200, Reason.TOO_DEEP),
        ("<tool_call>{]", Reason.MALFORMED),
        (hermes([("save_file", {"path": "a", "content": "x" * 70_000})]), Reason.GAVE_UP),
        (fence([("open_door", {})]), Reason.UNKNOWN_TOOL),
        ('{"city": "Köln"}', None),
        ("Hello.", None),
    ],
)
def test_why_it_is_no_call_is_told(text, reason):
    assert no_call(text).reason is reason


def test_deep_nesting_ends_no_decoder():
    for opening in ("[", '{"a":', '{"name":"set_lamp","arguments":['):
        assert not find(opening * 100_000, FULL).calls


def test_markers_of_other_families_are_text_to_a_model():
    own = detector(TOOLS, Mode.MARKER, "{% if tools %}<tool_call>{% endif %}")

    assert read(find(TAGGED, own)) == [LAMP]
    assert not find(mistral([LAMP]), own).calls
    assert not find(fence([LAMP]), own).calls
    assert not find(bare([LAMP]), own).calls


def test_a_model_without_tools_in_its_template_has_no_markers():
    none = detector(TOOLS, Mode.MARKER, "{{ messages }}")

    assert not any(find(write([LAMP]), none).calls for write in MARKED)


def test_of_an_unknown_template_every_marker_counts_and_no_shape():
    unknown = detector(TOOLS, Mode.MARKER, None)

    assert read(find(mistral([LAMP]), unknown)) == [LAMP]
    assert not find(fence([LAMP]), unknown).calls


def test_without_tools_nothing_is_a_call():
    nothing = detector(Tools.of([]), Mode.FULL, None)

    assert not any(find(write([LAMP]), nothing).calls for write in WRITERS)
