"""A model that thinks: thoughts apart from answers, one switch, a budget, and a word when it never answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roost.config.settings import Settings
from roost.engines.types import EngineTraits
from roost.testing.pool import ALL_SURFACES
from tests.integration.gateway.front import MODEL, Front, front, spec
from tests.integration.gateway.test_demands import both, sent
from tests.integration.gateway.test_tools import asked, calls_in, events, streamed, whole
from tests.unit.toolcalls.corpus import LAMP, hermes

TEMPLATE = "{% if tools %}<tool_call>{% endif %}{% if enable_thinking %}<think>{% endif %}"
PREFILLED = "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
TEXT = "<think>\nTwo and two.\n</think>\n\nIt is four."


def thinker(template: str = TEMPLATE) -> Any:
    return spec(MODEL, "chat", "completion", "thinking", chat_template=template)


def said(body: bytes, stream: bool) -> tuple[str, str]:
    """Thoughts and answer."""
    if not stream:
        message = json.loads(body)["choices"][0]["message"]
        return message.get("reasoning_content") or "", message.get("content") or ""
    deltas = [chunk["choices"][0]["delta"] for chunk in events(body) if chunk["choices"]]
    return tuple("".join(delta.get(key) or "" for delta in deltas) for key in ("reasoning_content", "content"))


@both
@pytest.mark.parametrize("size", [1, 4, 1000])
async def test_thoughts_are_told_apart_where_the_engine_left_them(short_path: Path, stream: bool, size: int) -> None:
    async with front(short_path, model=thinker()) as gate:
        _, body = await gate.chat(stream=stream, **asked(TEXT, size) | {"tools": None})
        assert said(body, stream) == ("Two and two.", "It is four.")
        assert b"<think>" not in body
        assert not stream or body.endswith(b"data: [DONE]\n\n")


@both
async def test_an_answer_that_begins_inside_a_thought_is_told_apart(short_path: Path, stream: bool) -> None:
    async with front(short_path, model=thinker(PREFILLED)) as gate:
        _, body = await gate.chat(stream=stream, **asked(TEXT.removeprefix("<think>\n")) | {"tools": None})
        assert said(body, stream) == ("Two and two.", "It is four.")


@both
async def test_an_engine_that_tells_thoughts_apart_is_believed(short_path: Path, stream: bool) -> None:
    traits = EngineTraits(True, "none", ALL_SURFACES, splits_thoughts=True)
    async with front(short_path, model=thinker(PREFILLED), worker={"traits": traits}) as gate:
        text = "Use <think> like that."
        _, body = await gate.chat(stream=stream, **asked(text, behave={"reasoning": "Hm."}) | {"tools": None})
        assert said(body, stream) == ("Hm.", text)
        _, body = await gate.chat(stream=stream, **asked(text) | {"tools": None})
        assert said(body, stream) == ("", text)


async def test_the_other_name_of_the_field_becomes_the_known_one(short_path: Path) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [{"reasoning": 'Hm, a "reasoning": field.'}, {"content": "Four."}]
    raw = "".join(
        f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]})}\n\n"
        for delta in deltas
    )
    raw += f"data: {json.dumps({**chunk, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
    raw += "data: [DONE]\n\n"
    async with front(short_path, model=thinker()) as gate:
        _, body = await gate.chat(stream=True, x_stand_in={"raw": raw, "content_type": "text/event-stream"})
        assert said(body, True) == ('Hm, a "reasoning": field.', "Four.")


async def test_calls_behind_and_inside_of_thoughts_are_found(short_path: Path) -> None:
    leak = hermes([LAMP])
    for text, thought in ((f"<think>Hm.</think>\n{leak}", "Hm."), (f"<think>\nHm.\n{leak}", "Hm.")):
        async with front(short_path, model=thinker()) as gate:
            for choice in ((await whole(gate, text)).parse().choices[0], (await streamed(gate, text)).choices[0]):
                assert calls_in(choice) == [LAMP]
                assert choice.finish_reason == "tool_calls"
                assert choice.message.reasoning_content == thought
        (short_path / "c.sock").unlink(missing_ok=True)


@both
async def test_a_model_that_only_thought_has_not_answered_and_it_is_told(short_path: Path, stream: bool) -> None:
    async with front(short_path, model=thinker()) as gate:
        cut = {"behave": {"finish_reason": "length"}}
        response, body = await gate.chat(stream=stream, **asked("<think>Hm, and so on", **cut) | {"tools": None})
        assert said(body, stream) == ("Hm, and so on", "")
        assert stream or response.headers["x-roost-thinking"] == "unfinished"
        async with gate.session.get(f"{gate.url}/metrics") as metrics:
            assert f'roost_unfinished_thoughts_total{{model="{MODEL}"}} 1.0' in await metrics.text()

        response, _ = await gate.chat(stream=stream, **asked(f"{TEXT} And", **cut) | {"tools": None})
        assert "x-roost-thinking" not in response.headers


@pytest.mark.parametrize(
    ("template", "more", "arguments"),
    [
        ("{{ enable_thinking }}<think>", {"reasoning_effort": "none"}, {"enable_thinking": False}),
        ("{{ enable_thinking }}<think>", {"reasoning_effort": "high"}, {"enable_thinking": True}),
        ("{% if thinking %}<think>", {"reasoning_effort": "none"}, {"thinking": False}),
        ("{{ reasoning_effort }}<|channel|>", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        (
            "{{ enable_thinking }}<think>",
            {"reasoning_effort": "none", "chat_template_kwargs": {"a": 1, "enable_thinking": True}},
            {"a": 1, "enable_thinking": False},
        ),
        ("{{ enable_thinking }}<think>", {}, None),
        ("{{ enable_thinking }}<think>", {"chat_template_kwargs": {"a": 1}}, {"a": 1}),
    ],
)
async def test_one_field_switches_thinking_whatever_the_template_calls_it(
    short_path: Path, template: str, more: dict[str, Any], arguments: dict[str, Any] | None
) -> None:
    async with front(short_path, model=thinker(template)) as gate:
        response, _ = await gate.chat(**more)
        assert response.status == 200
        assert sent(gate).get("chat_template_kwargs") == arguments


async def test_a_setting_switches_thinking_too(short_path: Path) -> None:
    settings = Settings.model_validate({"models": {MODEL: {"engine": {"thinking": "off"}}}})
    async with front(short_path, model=thinker(), settings=settings) as gate:
        await gate.chat()
        assert sent(gate)["chat_template_kwargs"] == {"enable_thinking": False}
        await gate.chat(reasoning_effort="high")
        assert sent(gate)["chat_template_kwargs"] == {"enable_thinking": True}


async def test_what_cannot_be_switched_or_limited_is_refused(short_path: Path) -> None:
    async with front(short_path, model=thinker(PREFILLED)) as gate:
        for more, field in (
            ({"reasoning_effort": "none"}, "reasoning_effort"),
            ({"reasoning_effort": "much"}, "reasoning_effort"),
            ({"thinking_budget_tokens": -1}, "thinking_budget_tokens"),
            ({"thinking_budget_tokens": 100}, "thinking_budget_tokens"),
        ):
            response, body = await gate.chat(**more)
            assert response.status == 400
            assert json.loads(body)["error"]["param"] == field


@pytest.mark.parametrize("field", ["thinking_budget_tokens", "thinking_token_budget"])
async def test_a_budget_reaches_the_engine_by_the_name_that_it_reads(short_path: Path, field: str) -> None:
    traits = EngineTraits(True, "none", ALL_SURFACES, thinking_budget_field=field)
    settings = Settings.model_validate({"models": {MODEL: {"engine": {"thinking_budget": 70}}}})
    async with front(short_path, model=thinker(), settings=settings, worker={"traits": traits}) as gate:
        await gate.chat()
        assert sent(gate)[field] == 70
        await gate.chat(thinking_budget_tokens=9)
        assert sent(gate)[field] == 9
        assert len([key for key in sent(gate) if "budget" in key]) == 1


async def test_a_model_that_does_not_think_is_left_alone(gate: Front) -> None:
    response, body = await gate.chat(reasoning_effort="none", **asked(TEXT) | {"tools": None})
    assert response.status == 200
    assert json.loads(body)["choices"][0]["message"]["content"] == TEXT
    assert "chat_template_kwargs" not in sent(gate)
