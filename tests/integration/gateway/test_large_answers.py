"""Whole answers that are too large to be held, and those that have no end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from roost.engines.types import EngineTraits
from roost.testing.engine import Behaviour
from roost.testing.pool import ALL_SURFACES
from roost.testing.wait import until
from tests.integration.gateway.front import MODEL, Front, chat_body, front

MEBIBYTE = 2**20
STREAMED = EngineTraits(cancels_non_stream=False, context_check="none", surfaces=ALL_SURFACES)


async def test_a_large_answer_is_passed_on_under_its_name_with_its_usage_in_the_row(gate: Front) -> None:
    response, body = await gate.chat(x_stand_in={"body_bytes": 20 * MEBIBYTE})
    values = json.loads(body)
    assert response.status == 200 and values["model"] == MODEL and len(values["data"]) > 10**6
    assert response.content_type == "application/json" and response.headers["x-roost-model"] == MODEL
    row = await gate.row()
    assert (row.status, row.prompt_tokens, row.bytes_out) == (200, 7, len(body))


async def test_a_large_answer_that_breaks_off_is_a_broken_connection_and_no_short_answer(gate: Front) -> None:
    gate.engine.state.behave = Behaviour(raw='{"data": [' + "1, " * MEBIBYTE)
    with pytest.raises(aiohttp.ClientPayloadError):
        await gate.chat()
    row = await gate.row()
    assert (row.status, row.code) == (502, "upstream_disconnected")


async def test_a_client_that_leaves_a_large_answer_stops_the_engine(gate: Front) -> None:
    body = chat_body(x_stand_in={"body_bytes": -1})
    async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as response:
        await response.content.readany()
    await until(lambda: gate.engine.recorder.requests[0].disconnected_at is not None)
    assert (await gate.row()).code == "client_closed" and gate.worker.running == 0


async def test_an_answer_without_an_end_is_cut_where_no_real_one_is(
    gate: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost.gateway.whole.MOST_RELAYED_BYTES", 4 * MEBIBYTE)
    async with asyncio.timeout(20):
        with pytest.raises(aiohttp.ClientPayloadError):
            await gate.chat(x_stand_in={"body_bytes": -1})
    row = await gate.row()
    assert (row.status, row.code) == (502, "upstream_disconnected") and row.bytes_out <= 4 * MEBIBYTE


async def test_one_that_says_beforehand_that_it_is_too_long_is_refused_in_words(
    gate: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost.gateway.whole.MOST_RELAYED_BYTES", 4 * MEBIBYTE)
    response, body = await gate.chat(x_stand_in={"tokens": 1, "huge_token_bytes": 5 * MEBIBYTE})
    error = json.loads(body)["error"]
    assert (response.status, error["code"]) == (502, "upstream_disconnected")
    assert "longer than 4 MiB" in error["message"] and response.headers["x-should-retry"] == "false"


async def test_a_large_answer_that_is_no_json_is_refused_before_its_first_byte(gate: Front) -> None:
    gate.engine.state.behave = Behaviour(raw="<html>" + "x" * 2 * MEBIBYTE)
    response, body = await gate.chat()
    assert (response.status, json.loads(body)["error"]["code"]) == (500, "internal_error")


async def assembled(folder: Path, told: dict[str, Any], times: int = 1) -> list[tuple[int, Any]]:
    """Answers that the gateway puts together itself, asked for at once."""
    async with front(folder, worker={"traits": STREAMED, "concurrency": 8}) as gate:
        answers = await asyncio.gather(*(gate.chat(x_stand_in=told) for _ in range(times)))
        found = [(response.status, json.loads(body)) for response, body in answers]
        again, _ = await gate.chat()
        assert again.status == 200, "what was held is given back"
        return found


async def test_an_assembled_answer_is_bounded(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.gateway.held.MOST_HELD_BYTES", 4 * MEBIBYTE)
    told = {"tokens": 100, "huge_token_bytes": MEBIBYTE}
    ((status, body),) = await assembled(short_path, told)
    assert (status, body["error"]["code"]) == (502, "upstream_disconnected") and "4 MiB" in body["error"]["message"]


async def test_answers_that_are_held_are_bounded_together(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.gateway.held.MOST_HELD_TOGETHER_BYTES", 8 * MEBIBYTE)
    told = {"tokens": 6, "huge_token_bytes": MEBIBYTE, "token_delay_s": 0.1}
    found = await assembled(short_path, told, times=4)
    refused = [body["error"]["code"] for status, body in found if status != 200]
    assert refused and set(refused) == {"concurrency_limit"}
    assert {status for status, _ in found} <= {200, 429}


async def test_a_long_assembled_answer_comes_whole(short_path: Path) -> None:
    ((status, body),) = await assembled(short_path, {"tokens": 3, "huge_token_bytes": MEBIBYTE})
    assert status == 200 and len(body["choices"][0]["message"]["content"]) >= 3 * MEBIBYTE


async def test_a_large_answer_is_held_where_it_has_to_be_told_in_another_shape(
    gate: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.engine.state.behave = Behaviour(tokens=1, huge_token_bytes=3 * MEBIBYTE)
    asked = json.dumps({"model": "default", "stream": False, "messages": [{"role": "user", "content": "hi"}]}).encode()
    response, body = await gate.post("/api/chat", asked)
    assert response.status == 200 and len(body["message"]["content"]) >= 3 * MEBIBYTE
    monkeypatch.setattr("roost.gateway.held.MOST_HELD_BYTES", 2 * MEBIBYTE)
    response, body = await gate.post("/api/chat", asked)
    assert response.status == 502 and "longer than 2 MiB" in body["error"]
