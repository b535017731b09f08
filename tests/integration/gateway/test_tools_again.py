"""A call in sound form that may not be made: left as text, forwarded under the name that was written, or asked about
once more, whole and streamed, with the tokens of both answers and nothing of the first one in between."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from roost.config.settings import Settings
from roost.engines.types import EngineTraits
from roost.errors import InsufficientMemory
from roost.testing.pool import ALL_SURFACES
from roost.testing.wait import until
from tests.integration.gateway.front import MODEL, Front, front
from tests.integration.gateway.test_demands import TRUSTED, calls, sent
from tests.integration.gateway.test_tools import events
from tests.unit.toolcalls.corpus import LAMP, LISTED, fence, hermes, js, named

DOOR = ("open_door", {"room": "hall"})
BAD = ("set_lamp", {"level": 7})
#: A value that no log may hold.
SECRET = "S3CR3T"
WORSE = ("set_lamp", {"room": {"deep": SECRET}})
REASKS = {"unknown_tool": "reask", "bad_arguments": "reask", "tools": "full"}

both = pytest.mark.parametrize("stream", [False, True], ids=("whole", "streamed"))


def knobs(**engine: Any) -> Settings:
    return Settings.model_validate({"models": {MODEL: {"engine": engine}}})


def pieces(text: str, size: int = 5) -> dict[str, Any]:
    return {"pieces": [text[at : at + size] for at in range(0, len(text), size)]}


def twice(first: str, second: str, stream: bool, **more: Any) -> dict[str, Any]:
    """A request whose first answer is one text, and whose second, with a message more, is another."""
    behave = {
        **pieces(first),
        "by_messages": {"2": {**pieces(second), **more.pop("then", {})}},
        **more.pop("behave", {}),
    }
    usage = {"stream_options": {"include_usage": True}} if stream else {}
    return {"stream": stream, "tools": LISTED, "x_stand_in": behave, **usage, **more}


def text_of(body: bytes, stream: bool) -> str:
    if not stream:
        return json.loads(body)["choices"][0]["message"]["content"] or ""
    chunks = [chunk for chunk in events(body) if chunk.get("choices")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def usage_of(body: bytes, stream: bool) -> dict[str, Any]:
    return (events(body)[-1] if stream else json.loads(body))["usage"]


async def label(gate: Front, count: int = 1) -> str:
    """Of the newest answer, as the counter and the log have it."""
    await gate.row(count)
    async with gate.session.get(f"{gate.url}/metrics") as metrics:
        lines = (await metrics.text()).splitlines()
    return "\n".join(line for line in lines if line.startswith(("roost_tool_answers_total", "roost_tool_reasks_total")))


@both
async def test_by_default_a_call_of_an_unknown_tool_stays_text(gate: Front, stream: bool) -> None:
    text = hermes([DOOR])
    response, body = await gate.chat(**twice(text, hermes([LAMP]), stream))
    assert text_of(body, stream) == text and calls(body, stream) == []
    assert len(gate.engine.recorder.requests) == 1
    assert stream or response.headers["x-roost-tools"] == "unrepaired;reason=unknown_tool"


@both
async def test_it_is_forwarded_under_the_name_that_the_model_wrote(short_path: Path, stream: bool) -> None:
    async with front(short_path, settings=knobs(unknown_tool="forward")) as gate:
        response, body = await gate.chat(**twice(hermes([DOOR, LAMP]), "", stream))
        assert calls(body, stream) == [DOOR, LAMP]
        assert text_of(body, stream) == ""
        assert b'"finish_reason":"tool_calls"' in body.replace(b": ", b":")
        assert stream or response.headers["x-roost-tools"] == "repaired;tier=T1;steps=unknown_tool"
        assert 'outcome="repaired",reason="unknown_tool",tier="T1"} 1.0' in await label(gate)

        _, body = await gate.chat(**twice(hermes([DOOR]), "", stream, tool_choice="required"))
        assert b"unusable_answer" in body, "a demand is for a tool that was sent"


@both
@pytest.mark.parametrize("wrong", [DOOR, BAD], ids=("unknown tool", "bad arguments"))
async def test_the_model_is_asked_again_and_its_second_call_is_answered(
    short_path: Path, stream: bool, wrong: Any
) -> None:
    reason = "unknown_tool" if wrong is DOOR else "schema"
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        response, body = await gate.chat(**twice(hermes([wrong]), hermes([LAMP]), stream))
        assert calls(body, stream) == [LAMP]
        assert text_of(body, stream) == ""
        assert hermes([wrong])[:11].encode() not in body
        assert stream or response.headers["x-roost-tools"] == f"reask;tier=T1;steps=marker;reason={reason}"
        said = await label(gate)
        assert f'outcome="reask",reason="{reason}",tier="T1"}} 1.0' in said
        assert 'roost_tool_reasks_total{model="org/model-a",outcome="answered"} 1.0' in said

        first, second = (json.loads(one.body) for one in gate.engine.recorder.requests)
        assert second["messages"][:-1] == first["messages"]
        note = second["messages"][-1]
        assert note["role"] == "user" and wrong[0] in note["content"]
        assert not any(message["role"] == "assistant" for message in second["messages"])
        assert {**second, "messages": 0} == {**first, "messages": 0}
        assert len(gate.pool.tickets) == 1 and gate.pool.tickets[0].left


@both
async def test_the_tokens_of_both_answers_count(short_path: Path, stream: bool) -> None:
    first, second = hermes([BAD]), hermes([LAMP])
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        _, body = await gate.chat(**twice(first, second, stream))
        tokens = len(pieces(first)["pieces"]) + len(pieces(second)["pieces"])
        usage, row = usage_of(body, stream), await gate.row()
        assert usage["completion_tokens"] == row.completion_tokens == tokens
        assert usage["prompt_tokens"] == row.prompt_tokens
        assert usage["total_tokens"] == usage["prompt_tokens"] + tokens
        assert usage["prompt_tokens"] > 2 * 6, "the second prompt is the longer one"
        assert (row.status, row.finish_reason) == (200, "tool_calls")
        if stream:
            # Without usage in the stream the engine's own ledger is counted.
            asked_without = twice(first, second, stream)
            await gate.chat(**{**asked_without, "stream_options": None})
            assert (await gate.row(2)).completion_tokens == tokens


@both
async def test_prose_is_a_good_second_answer(short_path: Path, stream: bool) -> None:
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        response, body = await gate.chat(**twice(hermes([DOOR]), "There is no door here.", stream))
        assert text_of(body, stream) == "There is no door here."
        assert stream or response.headers["x-roost-tools"] == "reask;reason=unknown_tool"


FRAME = "an error frame"
SECOND_THAT_IS_NONE: dict[str, tuple[str, dict[str, Any]]] = {
    "bad again": (hermes([WORSE]), {}),
    "unknown again": (hermes([DOOR]), {}),
    "prose and a bad call": (f"Well.\n{hermes([BAD])}", {}),
    "cut": (hermes([LAMP])[:-20], {"finish_reason": "length"}),
    "empty": ("", {}),
    "refused": ("", {"status": 500, "body": '{"error": {"message": "roles must alternate"}}'}),
    "broken": (hermes([LAMP]), {"abort_after_tokens": 2}),
    "no JSON": ("", {"raw": "data: nonsense\n\n"}),
    FRAME: (hermes([LAMP]), {"error_frame_after": 1}),
}


@pytest.mark.parametrize(
    ("second", "stream"),
    [(second, stream) for second in SECOND_THAT_IS_NONE for stream in (False, True) if stream or second != FRAME],
)
async def test_a_second_answer_that_is_no_better_leaves_the_first(short_path: Path, stream: bool, second: str) -> None:
    text, then = SECOND_THAT_IS_NONE[second]
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        response, body = await gate.chat(**twice(hermes([BAD]), text, stream, then=then))
        assert response.status == 200
        assert text_of(body, stream) == hermes([BAD]) and calls(body, stream) == []
        assert len(gate.engine.recorder.requests) == 2, "once, and not a second time"
        assert stream or response.headers["x-roost-tools"] == "unrepaired;reason=schema;reask=failed"
        said = await label(gate)
        assert 'outcome="unrepaired",reason="schema",tier=""} 1.0' in said
        assert 'roost_tool_reasks_total{model="org/model-a",outcome="failed"} 1.0' in said
        row = await gate.row()
        assert (row.status, row.finish_reason) == (200, "stop")


async def test_the_first_answer_keeps_its_bytes_in_a_stream(short_path: Path) -> None:
    """But for its usage, which is that of both."""
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        body = twice(hermes([BAD]), "", True)
        del body["stream_options"]
        _, told = await gate.chat(**body)
        gate.state.settings = knobs(tools="full")
        _, plain = await gate.chat(**body)
        assert told == plain


async def test_the_last_chunk_says_what_came_of_it_to_who_asks(short_path: Path) -> None:
    for second, expected in (
        (hermes([LAMP]), "reask;tier=T1;steps=marker;reason=schema"),
        ("", "unrepaired;reason=schema;reask=failed"),
    ):
        async with front(short_path, settings=knobs(**REASKS)) as gate:
            body = {
                "model": "default",
                "messages": [{"role": "user", "content": "go"}],
                **twice(hermes([BAD]), second, True),
            }
            url, headers = f"{gate.url}/v1/chat/completions", {"x-roost-tools": "full;label"}
            async with gate.session.post(url, json=body, headers=headers) as response:
                told = await response.read()
        assert f'"roost":{{"tools":"{expected}"}}'.encode() in told
        (short_path / "c.sock").unlink(missing_ok=True)


@both
@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"bad_arguments": "reask", "tools": "full"}, hermes([DOOR])),
        ({"unknown_tool": "reask", "tools": "full"}, hermes([BAD])),
        (REASKS, fence([DOOR])),
        (REASKS, f"Let me see.\n{hermes([BAD])}"),
        (REASKS, f"{hermes([BAD])}\nThat would do it."),
        (REASKS, f"```\n{hermes([BAD])}\n```"),
        (REASKS, hermes([BAD])[:-20]),
        (REASKS, js({"city": "Köln"})),
        (REASKS, hermes([LAMP])),
        (REASKS, "It is on."),
        (REASKS, ""),
    ],
)
async def test_nothing_else_is_asked_again(
    short_path: Path, stream: bool, settings: dict[str, Any], first: str
) -> None:
    async with front(short_path, settings=knobs(**settings)) as gate:
        _, body = await gate.chat(**twice(first, "another answer", stream))
        assert len(gate.engine.recorder.requests) == 1
        made = [LAMP] if first == hermes([LAMP]) else []
        assert calls(body, stream) == made
        assert text_of(body, stream) == ("" if made else first)


@both
@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "none"},
        {"tool_choice": "required"},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"behave": {"finish_reason": "length"}},
    ],
    ids=("no tools wanted", "a demand", "several answers", "a format", "cut off"),
)
async def test_where_it_is_out_of_place_it_is_not_done(short_path: Path, stream: bool, more: dict[str, Any]) -> None:
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        await gate.chat(**twice(hermes([BAD]), hermes([LAMP]), stream, **more))
        assert len(gate.engine.recorder.requests) == 1


@both
async def test_a_stream_that_has_told_a_thought_is_not_asked_again(short_path: Path, stream: bool) -> None:
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        thinks = {"reasoning": "I should."}
        _, body = await gate.chat(**twice(hermes([BAD]), hermes([LAMP]), stream, behave=thinks))
        assert calls(body, stream) == ([] if stream else [LAMP])
        assert text_of(body, stream) == (hermes([BAD]) if stream else "")


async def test_whether_it_was_told_does_not_hang_on_how_the_network_cuts(short_path: Path) -> None:
    """A thought and the bad call in one packet: as if the thought had come before it."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return f"data: {json.dumps({'id': 'c', 'created': 1, 'model': 'm', 'choices': [choice]})}\n\n"

    raw = chunk({"reasoning_content": "I should."}) + chunk({"content": hermes([BAD])}) + chunk({}, "stop")
    raw += "data: [DONE]\n\n"
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        behave = {"raw": raw, "content_type": "text/event-stream"}
        _, body = await gate.chat(**twice("", "", True, behave=behave))
        assert text_of(body, True) == hermes([BAD])
        assert len(gate.engine.recorder.requests) == 1


async def test_what_is_withheld_is_bounded(short_path: Path) -> None:
    """An engine that sends and sends without a word is relayed, and is not asked again."""
    chunk = {"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": None}]}
    empty = f"data: {json.dumps({**chunk, 'pad': 'x' * 2**20})}\n\n"
    said = {"index": 0, "delta": {"content": hermes([BAD])}, "finish_reason": "stop"}
    raw = empty * 9 + f"data: {json.dumps({**chunk, 'choices': [said]})}\n\n" + "data: [DONE]\n\n"
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        gate.engine.state.behave = gate.engine.state.behave.updated({"raw": raw, "content_type": "text/event-stream"})
        _, body = await gate.chat(stream=True, tools=LISTED)
        assert text_of(body, True) == hermes([BAD])
        assert len(gate.engine.recorder.requests) == 1


@both
async def test_a_shape_with_bad_arguments_is_asked_about_and_no_call_is_demanded(
    short_path: Path, stream: bool
) -> None:
    async with front(short_path, settings=knobs(**REASKS), **TRUSTED) as gate:
        _, body = await gate.chat(**twice(fence([BAD]), fence([LAMP]), stream))
        assert calls(body, stream) == [LAMP]
        assert "response_format" not in sent(gate)


@both
async def test_behind_a_marker_an_engine_that_can_be_held_to_a_call_is(short_path: Path, stream: bool) -> None:
    async with front(short_path, settings=knobs(**REASKS), **TRUSTED) as gate:
        response, body = await gate.chat(**twice(hermes([BAD]), named(*LAMP), stream))
        assert calls(body, stream) == [LAMP]
        assert sent(gate)["response_format"]["json_schema"]["schema"]["anyOf"]
        assert "response_format" not in json.loads(gate.engine.recorder.requests[0].body)
        assert stream or response.headers["x-roost-tools"] == "reask;reason=schema"

        _, body = await gate.chat(**twice(hermes([BAD]), "no call", stream))
        assert text_of(body, stream) == hermes([BAD])

        await gate.chat(**twice(hermes([DOOR]), "There is none.", stream))
        assert "response_format" not in sent(gate), "with a wrong name the answer may be that no tool fits"


@both
async def test_an_engine_that_is_streamed_and_assembled_is_asked_again_too(short_path: Path, stream: bool) -> None:
    traits = EngineTraits(cancels_non_stream=False, context_check="none", surfaces=ALL_SURFACES)
    async with front(short_path, settings=knobs(**REASKS), worker={"traits": traits}) as gate:
        _, body = await gate.chat(**twice(hermes([BAD]), hermes([LAMP]), stream))
        assert calls(body, stream) == [LAMP]
        assert usage_of(body, stream)["completion_tokens"] == (await gate.row()).completion_tokens


@both
async def test_ollamas_clients_get_the_second_answer(short_path: Path, stream: bool) -> None:
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        told = twice(hermes([BAD]), hermes([LAMP]), False)["x_stand_in"]
        gate.engine.state.behave = gate.engine.state.behave.updated({**told, "pieces": tuple(told["pieces"])})
        body = {"model": MODEL, "messages": [{"role": "user", "content": "go"}], "tools": LISTED, "stream": stream}
        async with gate.session.post(f"{gate.url}/api/chat", json=body) as response:
            lines = [json.loads(line) for line in (await response.read()).splitlines()]
        made = [call["function"] for line in lines for call in line["message"].get("tool_calls", ())]
        assert [call["arguments"] for call in made] == [{"room": "hall"}]
        assert "".join(line["message"]["content"] for line in lines) == ""
        assert lines[-1]["eval_count"] == (await gate.row()).completion_tokens
        assert lines[-1]["eval_count"] > len(pieces(hermes([BAD]))["pieces"])


@both
@pytest.mark.parametrize("at", [1, 2], ids=("at the first answer", "at the second answer"))
async def test_a_client_that_leaves_stops_the_engine(short_path: Path, stream: bool, at: int) -> None:
    slow = {"token_delay_s": 0.05}
    more: dict[str, Any] = {"behave": slow} if at == 1 else {"then": {"hang_after_tokens": 1}}
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(gate.chat(**twice(hermes([BAD]) * 4, hermes([LAMP]), stream, **more)))
            await until(lambda: len(gate.engine.recorder.requests) == at)
            await asyncio.sleep(0.1)
            waiting.cancel()
        await until(lambda: gate.engine.recorder.requests[-1].disconnected_at is not None)
        row = await gate.row()
        assert row.status == 499 and len(gate.engine.recorder.requests) == at
        assert gate.pool.tickets[0].left


async def test_heartbeats_go_on_while_it_is_asked_again(short_path: Path) -> None:
    settings = Settings.model_validate({"gateway": {"heartbeat_s": 0.05}, "models": {MODEL: {"engine": REASKS}}})
    async with front(short_path, settings=settings) as gate:
        slow = {"token_delay_s": 0.03}
        _, body = await gate.chat(**twice(hermes([BAD]), hermes([LAMP]), True, behave=slow, then=slow))
        before, _, _ = body.partition(b"data:")
        assert before.count(b": roost") >= 4, "of both answers"
        assert calls(body, True) == [LAMP]


async def test_what_waits_when_the_engine_dies_goes_out_before_the_error(short_path: Path) -> None:
    settings = Settings.model_validate({"gateway": {"heartbeat_s": 0.05}, "models": {MODEL: {"engine": REASKS}}})
    async with front(short_path, settings=settings) as gate:
        dies = {"token_delay_s": 0.05, "abort_after_tokens": 4}
        _, body = await gate.chat(**twice(hermes([BAD]), hermes([LAMP]), True, behave=dies))
        said = "".join(one["choices"][0]["delta"].get("content") or "" for one in events(body) if "choices" in one)
        assert said == hermes([BAD])[:20]
        assert events(body)[0]["choices"][0]["delta"].get("role") == "assistant"
        assert b"upstream_disconnected" in body and b"[DONE]" not in body
        assert len(gate.engine.recorder.requests) == 1


async def test_a_request_that_is_cancelled_for_memory_while_asked_again_gets_its_first_answer(short_path: Path) -> None:
    short = InsufficientMemory("a was stopped in mid-answer: memory is short", should_retry=True, retry_after_s=30)
    async with front(short_path, settings=knobs(**REASKS)) as gate, asyncio.TaskGroup() as group:
        waits = {"then": {"delay_s": 60.0}}
        waiting = group.create_task(gate.chat(**twice(hermes([BAD]), hermes([LAMP]), True, **waits)))
        await until(lambda: len(gate.engine.recorder.requests) == 2)
        await until(lambda: gate.worker.on_revoked is not None)
        if (told := gate.worker.on_revoked) is not None:
            told(short)
        _, body = await asyncio.wait_for(waiting, 10)
        assert text_of(body, True) == hermes([BAD])


async def test_no_log_has_arguments_in_it(short_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stream in (False, True):
        async with front(short_path, settings=knobs(**REASKS)) as gate:
            await gate.chat(**twice(hermes([WORSE]), hermes([WORSE]), stream))
            await gate.row()
            assert SECRET in json.dumps(sent(gate)["messages"][-1]), "the model is told what it wrote"
        (short_path / "c.sock").unlink(missing_ok=True)
    told = capsys.readouterr()
    assert "request" in told.out + told.err
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_however_the_engine_cuts_its_chunks_the_same_comes_of_it(short_path: Path, size: int) -> None:
    async with front(short_path, settings=knobs(**REASKS)) as gate:
        for split in (None, 11):
            body = twice(hermes([BAD]), hermes([LAMP]), True)
            body["x_stand_in"] |= {**pieces(hermes([BAD]), size), "split_bytes": split}
            _, told = await gate.chat(**body)
            assert calls(told, True) == [LAMP]
            assert text_of(told, True) == ""
