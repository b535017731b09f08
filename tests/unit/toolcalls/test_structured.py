"""Calls that the engine made: sound ones pass as they are, the usual faults are mended."""

import json

import pytest

from roost.toolcalls.structured import CallDeltas, mended
from roost.toolcalls.values import Reason
from tests.unit.toolcalls.corpus import TOOLS


def new_id():
    return "call_new"


def call(name="set_lamp", arguments='{"room": "hall"}', **more):
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def one(given):
    found = mended([given], TOOLS, new_id)
    return found.calls[0] if found.calls else None, found.steps


def test_a_sound_call_passes_as_it_is():
    assert one(call()) == (call(), ())


@pytest.mark.parametrize(
    ("given", "step"),
    [
        (call(arguments='"{\\"room\\": \\"hall\\"}"'), "decoded_arguments"),
        (call(arguments={"room": "hall"}), "object_arguments"),
        (call(name="functions.set_lamp"), "name"),
        (call(name="set_lamp<|channel|>commentary"), "name"),
    ],
)
def test_what_engines_get_wrong_is_mended(given, step):
    assert one(given) == (call(), (step,))


def test_an_id_that_is_missing_is_made():
    assert one({"function": {"name": "set_lamp", "arguments": "{}"}})[0]["id"] == "call_new"


def test_empty_arguments_of_a_tool_without_parameters_become_an_object():
    assert one(call("get_time", ""))[0]["function"]["arguments"] == "{}"
    assert one(call("set_lamp", ""))[0]["function"]["arguments"] == ""


def test_a_call_without_a_name_is_none():
    assert one(call(name=""))[0] is None


def test_an_unknown_tool_is_told_and_left():
    found = mended([call(name="open_door")], TOOLS, new_id)

    assert found.calls == [call(name="open_door")]
    assert found.reason is Reason.UNKNOWN_TOOL


def test_arguments_that_were_cut_are_told():
    assert mended([call(arguments='{"room": "ha')], TOOLS, new_id).reason is Reason.TRUNCATED


def stream(*deltas):
    machine = CallDeltas(TOOLS, new_id)
    said = [out for delta in deltas for out in machine.feed([delta])]
    return [*said, *machine.finish()], tuple(machine.steps)


def piece(arguments, index=0, **more):
    return {"index": index, **more, "function": {"arguments": arguments}}


def header(name="set_lamp", arguments="", index=0, id_="call_1"):
    return {"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_sound_deltas_pass_as_they_are():
    deltas = [header(), piece('{"room"'), piece(': "hall"}'), header(index=1, id_="call_2"), piece('{"room": "x"}', 1)]

    assert stream(*deltas) == (deltas, ())


def test_the_header_waits_for_its_name():
    nameless = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "", "arguments": '{"room"'}}
    late = {"index": 0, "function": {"name": "set_lamp", "arguments": ": "}}
    said, steps = stream(nameless, late, piece('"hall"}'))

    assert said[0] == header(arguments='{"room": ')
    assert said[1] == piece('"hall"}')
    assert steps == ("late_name", "repeated_header") or steps == ("late_name",)


def test_empty_names_and_ids_later_are_dropped():
    later = {"index": 0, "id": "", "function": {"name": "", "arguments": '{"room": "hall"}'}}

    assert stream(header(), later) == ([header(), piece('{"room": "hall"}')], ("repeated_header",))


def test_arguments_that_are_encoded_twice_wait_for_their_end():
    quoted = json.dumps('{"room": "hall"}')
    said, steps = stream(header(), piece(quoted[:5]), piece(quoted[5:]))

    assert said == [header(), piece('{"room": "hall"}')]
    assert steps == ("decoded_arguments",)


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_stream_says_what_the_whole_says(size):
    quoted = json.dumps('{"room": "hall"}')
    pieces = [piece(quoted[at : at + size]) for at in range(0, len(quoted), size)]
    said, _ = stream(header(name="functions.set_lamp"), *pieces)

    assert "".join(out["function"].get("arguments", "") for out in said) == '{"room": "hall"}'
    assert said[0]["function"]["name"] == "set_lamp"
