"""Calls that a client sends back with arguments that no engine reads: mended on the way, and only they."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roost.config.settings import Settings
from tests.integration.gateway.front import MODEL, Front, front
from tests.integration.gateway.test_demands import sent
from tests.unit.toolcalls.corpus import LISTED

both = pytest.mark.parametrize("stream", [False, True], ids=("whole", "streamed"))


def turn(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "call_1", "type": "function", "function": {"name": "set_lamp", "arguments": arguments}}
    return [
        {"role": "user", "content": "Light, please. 🦇"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "on"},
    ]


def arguments_in(body: dict[str, Any]) -> Any:
    return json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"])


@both
@pytest.mark.parametrize(
    ("arguments", "read", "label"),
    [
        ({"room": "hall"}, {"room": "hall"}, "mended;steps=encoded"),
        (json.dumps('{"room": "hall"}'), {"room": "hall"}, "mended;steps=decoded"),
        ('{"room": "hall",}', {"room": "hall"}, "mended;steps=trailing_commas"),
        ('{"room": "ha', {"_unparsed": '{"room": "ha'}, "mended;steps=unparsed"),
        ("", {}, "mended;steps=empty"),
    ],
)
async def test_an_engine_that_would_refuse_it_for_ever_answers(
    gate: Front, stream: bool, arguments: Any, read: Any, label: str
) -> None:
    body: dict[str, Any] = {"messages": turn(arguments), "tools": LISTED, "x_stand_in": {"strict_history": True}}
    response, _ = await gate.chat(stream=stream, **body)
    assert response.status == 200
    assert arguments_in(sent(gate)) == read
    assert response.headers["x-roost-history"] == label

    del body["tools"]
    response, _ = await gate.chat(stream=stream, **body)
    assert (response.status, response.headers["x-roost-history"]) == (200, label), "without tools too"


async def test_a_sound_history_keeps_every_byte(gate: Front) -> None:
    body = (
        '{"messages" : [ {"role":"user","content":"\\u00e9 é \\ud83e\\udd87"},\n\t{"role":"assistant","content":null,'
        '"tool_calls":[{"id":"1","function":{"name":"set_lamp","arguments":" {\\"room\\" : 1.50, \\"room\\":2}"}}]}],'
        f'"model":"default" , "tools":{json.dumps(LISTED)}, "seed":1.0}}'
    )
    response, _ = await gate.post("/v1/chat/completions", body.encode())
    assert response.status == 200 and "x-roost-history" not in response.headers
    assert gate.engine.recorder.requests[0].body.decode() == body.replace('"default"', '"stand-in"')


async def test_only_the_broken_arguments_are_other_bytes(gate: Front) -> None:
    sound = '{"id":"1","function":{"name":"set_lamp","arguments":" {\\"level\\" : 1.50}"}}'
    broken = '{"id":"2" , "function":{"arguments" : %s, "name":"set_lamp"}}'
    body = (
        '{"model":"default","messages" : [ {"role":"user","content":"\\u00e9 é"},\n\t'
        '{"role":"assistant", "tool_calls" : [ %s , %s]} ] , "seed":1e0}'
    )
    response, _ = await gate.post("/v1/chat/completions", (body % (sound, broken % '{"level": 1.50 }')).encode())
    assert response.status == 200
    expected = body.replace('"default"', '"stand-in"') % (sound, broken % '"{\\"level\\": 1.50 }"')
    assert gate.engine.recorder.requests[0].body.decode() == expected


async def test_switched_off_the_bytes_go_as_they_came(short_path: Path) -> None:
    settings = Settings.model_validate({"models": {MODEL: {"engine": {"tools": "off"}}}})
    async with front(short_path, settings=settings) as gate:
        response, _ = await gate.chat(messages=turn('{"room": "ha'))
        assert "x-roost-history" not in response.headers
        assert sent(gate)["messages"] == turn('{"room": "ha')


async def test_the_log_says_what_was_done_and_not_what_it_was(gate: Front, capsys: pytest.CaptureFixture[str]) -> None:
    await gate.chat(messages=turn('{"room": "S3CR3T'))
    await gate.row()
    told = "".join(capsys.readouterr())
    assert "mended;steps=unparsed" in told and "S3CR3T" not in told


async def test_a_mended_history_is_asked_again_as_it_was_mended(short_path: Path) -> None:
    settings = Settings.model_validate({"models": {MODEL: {"engine": {"unknown_tool": "reask"}}}})
    bad = '<tool_call>{"name": "open_door", "arguments": {}}</tool_call>'
    async with front(short_path, settings=settings) as gate:
        stand_in = {"text": bad, "strict_history": True, "by_messages": {"4": {"text": "Done."}}}
        _, body = await gate.chat(messages=turn({"room": "hall"}), tools=LISTED, x_stand_in=stand_in)
        assert json.loads(body)["choices"][0]["message"]["content"] == "Done."
        assert arguments_in(sent(gate)) == {"room": "hall"} and len(sent(gate)["messages"]) == 4
