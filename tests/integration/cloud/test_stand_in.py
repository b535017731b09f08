"""The scripted provider is what it stands in for: the official SDKs take its answers, its errors and its faults."""

from __future__ import annotations

import anthropic
import httpx2
import openai
import pytest

from roost.testing.cloud import KEY, CloudStandIn

TOOL = {"name": "weather", "description": "The weather.", "schema": {"type": "object", "properties": {}}}
OPENAI_TOOL = {"type": "function", "function": {"name": "weather", "parameters": TOOL["schema"]}}
ANTHROPIC_TOOL = {"name": "weather", "input_schema": TOOL["schema"]}
#: Each SDK has an error of its own for each of them.
ANY = (openai.OpenAIError, anthropic.AnthropicError, httpx2.HTTPError, ValueError)
ASKED = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def cloud():
    async with CloudStandIn() as stand_in:
        yield stand_in


@pytest.fixture
async def openai_client(cloud):
    async with openai.AsyncOpenAI(base_url=f"{cloud.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(cloud):
    async with anthropic.AsyncAnthropic(base_url=cloud.url, api_key=KEY, max_retries=0) as client:
        yield client


async def test_openais_sdk_reads_a_chat(cloud, openai_client):
    answer = await openai_client.chat.completions.create(model="m", messages=ASKED)
    assert answer.choices[0].message.content == cloud.text
    assert (answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (20, 8)
    assert cloud.requests[0].body["messages"] == ASKED


async def test_openais_sdk_reads_a_stream_of_text_and_calls(cloud, openai_client):
    cloud.next("tools")
    async with openai_client.chat.completions.stream(
        model="m", messages=ASKED, tools=[OPENAI_TOOL], stream_options={"include_usage": True}
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == cloud.text
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Paris"}'
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage.completion_tokens > 0


async def test_openais_sdk_reads_completions_and_embeddings(cloud, openai_client):
    whole = await openai_client.completions.create(model="m", prompt="Hello")
    pieces = [piece async for piece in await openai_client.completions.create(model="m", prompt="H", stream=True)]
    vectors = await openai_client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    assert whole.choices[0].text == "".join(piece.choices[0].text for piece in pieces) == cloud.text
    assert [one.embedding for one in vectors.data] == [[0.6, 0.8]] * 2


async def test_anthropics_sdk_reads_a_message(cloud, anthropic_client):
    cloud.next("thinks")
    answer = await anthropic_client.messages.create(model="m", max_tokens=100, messages=ASKED)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (12, 8)


async def test_anthropics_sdk_reads_a_stream_of_text_and_calls(cloud, anthropic_client):
    cloud.next("tools")
    async with anthropic_client.messages.stream(
        model="m", max_tokens=100, messages=ASKED, tools=[ANTHROPIC_TOOL]
    ) as stream:
        final = await stream.get_final_message()
    assert final.content[-1].input == {"city": "Paris"}
    assert final.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("429", "RateLimitError"),
        ("500", "InternalServerError"),
        ("401", "AuthenticationError"),
        ("529", "APIStatusError"),
    ],
)
async def test_both_sdks_know_its_errors(cloud, openai_client, anthropic_client, what, error):
    cloud.next(what, what)
    with pytest.raises(getattr(openai, error)) as told:
        await openai_client.chat.completions.create(model="m", messages=ASKED)
    assert what in told.value.message
    with pytest.raises(getattr(anthropic, error)) as told:
        await anthropic_client.messages.create(model="m", max_tokens=9, messages=ASKED)
    assert told.value.response.headers.get("Retry-After") == ("7" if what == "429" else None)


async def test_a_wrong_key_is_refused(cloud, openai_client):
    with pytest.raises(openai.AuthenticationError):
        await openai_client.with_options(api_key="wrong").chat.completions.create(model="m", messages=ASKED)


@pytest.mark.parametrize("what", ["truncated", "garbage", "error-frame", "drop"])
async def test_a_broken_stream_breaks_at_both_sdks(cloud, openai_client, anthropic_client, what):
    cloud.next(what, what)
    with pytest.raises(ANY):
        async for _ in await openai_client.chat.completions.create(model="m", messages=ASKED, stream=True):
            pass
    with pytest.raises(ANY):
        async with anthropic_client.messages.stream(model="m", max_tokens=9, messages=ASKED) as stream:
            await stream.get_final_message()


async def test_it_goes_and_comes_back_at_the_same_address(cloud, openai_client):
    url = cloud.url
    await cloud.go_away()
    with pytest.raises(openai.APIConnectionError):
        await openai_client.chat.completions.create(model="m", messages=ASKED)
    await cloud.come_back()
    assert cloud.url == url
    await openai_client.chat.completions.create(model="m", messages=ASKED)


async def test_what_it_cannot_play_is_refused(cloud):
    with pytest.raises(ValueError, match="truncated"):
        cloud.next("dance")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seed": 1}, "seed: Extra inputs"),
        ({"temperature": 0.2, "top_p": 0.5}, "cannot both"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "non-whitespace"),
        ({"messages": [{"role": "system", "content": "x"}]}, "first message"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "max_tokens"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]},
            "unexpected `tool_use_id`",
        ),
    ],
)
async def test_it_refuses_what_anthropic_refuses(cloud, anthropic_client, change, why):
    with pytest.raises(anthropic.BadRequestError, match=why):
        await anthropic_client.messages.create(model="m", max_tokens=9, messages=ASKED, extra_body=change)
