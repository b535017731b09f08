"""Anthropic's SDK through roost to a provider that speaks its protocol: what it sent arrives as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest

from roost.testing.cloud import CloudStandIn
from tests.integration.gateway.front import MODEL
from tests.integration.gateway.test_privacy import house

TOOL: Any = {"name": "weather", "description": "It", "input_schema": {"type": "object", "properties": {}}}
ASKED: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "Hello?"}],
}


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[anthropic.AsyncAnthropic, CloudStandIn]]:
    async with (
        house() as (url, cloud, _),
        anthropic.AsyncAnthropic(base_url=url, api_key="open-key", max_retries=0) as client,
    ):
        yield client, cloud


async def test_a_message_arrives_as_it_was_sent_and_comes_back_as_it_was_said() -> None:
    async with talking() as (client, cloud):
        raw = await client.messages.with_raw_response.create(**ASKED)
        said = await raw.parse()
    sent = cloud.requests[-1]
    assert sent.path == "/v1/messages"
    assert sent.body == ASKED | {"model": "claude"}
    assert said.content[0].type == "text" and said.content[0].text == cloud.text
    assert raw.headers["x-roost-node"] == "cloud:ant" and raw.headers["x-roost-route"] == "cloud-class"


async def test_a_stream_and_a_call_come_as_the_provider_sends_them() -> None:
    async with talking() as (client, cloud):
        async with client.messages.stream(**ASKED) as stream:
            text = "".join([piece async for piece in stream.text_stream])
        assert text.strip() == cloud.text
        cloud.next("tools")
        async with client.messages.stream(**ASKED, tools=[TOOL]) as stream:
            said = await stream.get_final_message()
        assert said.stop_reason == "tool_use"
        call = next(block for block in said.content if block.type == "tool_use")
        assert (call.name, call.input) == ("weather", dict(cloud.arguments))


@pytest.mark.parametrize("fault", ["500", "529", "429", "401", "drop"])
async def test_a_provider_that_fails_is_followed_by_the_model_here(fault: str) -> None:
    async with talking() as (client, cloud):
        cloud.next(fault)
        raw = await client.messages.with_raw_response.create(**ASKED)
        assert raw.headers["x-roost-node"] == "here" and raw.headers["x-roost-model"] == MODEL
        assert raw.headers["x-roost-tried"].startswith("cloud:ant/claude=")


@pytest.mark.parametrize("fault", ["truncated", "short", "garbage", "error-frame"])
async def test_a_stream_that_breaks_is_an_error_and_no_proper_end(fault: str) -> None:
    async with talking() as (client, cloud):
        cloud.next(fault)
        with pytest.raises(anthropic.APIError):
            async with client.messages.stream(**ASKED) as stream:
                await stream.get_final_message()


async def test_a_bad_request_is_told_in_the_providers_words() -> None:
    async with talking() as (client, cloud):
        cloud.next("400")
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(**ASKED)


async def test_a_secret_does_not_go_there() -> None:
    async with talking() as (client, cloud):
        secret = "sk-ant-api03-abcdefghij0123456789abcdefghij"
        raw = await client.messages.with_raw_response.create(
            **ASKED | {"messages": [{"role": "user", "content": f"Use {secret}"}]}
        )
        assert raw.headers["x-roost-node"] == "here"
        assert not cloud.requests
