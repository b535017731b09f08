"""OpenAI's SDK reads what Anthropic's service says, by way of the translation: nothing but the wire between them."""

from __future__ import annotations

import openai
import pytest
from aiohttp import web

from roost.cloud.money import Books
from roost.cloud.providers import Providers
from roost.config.far import CloudSettings
from roost.testing.cloud import KEY, CloudStandIn

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
async def cloud():
    async with CloudStandIn() as stand_in:
        yield stand_in


@pytest.fixture
async def client(cloud):
    settings = {"claude": CloudSettings(kind="anthropic", url=cloud.url, api_key="env:K")}
    clouds = Providers(lambda: settings, {"K": KEY}, Books(lambda booking: None, lambda: 0.0))

    async def relay(request):
        server = await clouds.reach("claude", "m", key_budget_usd=None, key_name=None)
        posted = await server.wire.post(request.path, await request.read(), keep=True)
        response = web.StreamResponse(status=posted.status, headers={"Content-Type": posted.headers["Content-Type"]})
        try:
            await response.prepare(request)
            while piece := await posted.content.readany():
                await response.write(piece)
            await response.write_eof()
        finally:
            posted.close()
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", relay)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as made:
        yield made
    await runner.cleanup()
    await clouds.close()


async def test_a_chat(client, cloud):
    answer = await client.chat.completions.create(model="m", messages=ASKED, temperature=0.3)
    assert answer.choices[0].message.content == cloud.text
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (20, 8)


async def test_thoughts_where_clients_look_for_them(client, cloud):
    cloud.next("thinks")
    answer = await client.chat.completions.create(model="m", messages=ASKED, reasoning_effort="low")
    assert answer.choices[0].message.reasoning_content == cloud.thought
    assert cloud.requests[0].body["thinking"] == {"type": "adaptive"}


async def test_a_conversation_with_a_call_and_its_result(client, cloud):
    cloud.next("tools")
    first = await client.chat.completions.create(model="m", messages=ASKED, tools=[TOOL])
    said = first.choices[0].message
    assert said.tool_calls[0].function.arguments == '{"city": "Paris"}'
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "sunny"}
    turns = [*ASKED, said.model_dump(exclude_none=True), result]
    second = await client.chat.completions.create(model="m", messages=turns, tools=[TOOL])
    assert second.choices[0].message.content == cloud.text
    assert cloud.requests[1].body["messages"][-1]["content"][0]["type"] == "tool_result"


async def test_a_stream_with_calls_and_usage(client, cloud):
    cloud.next("tools")
    async with client.chat.completions.stream(
        model="m", messages=ASKED, tools=[TOOL], stream_options={"include_usage": True}
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content.strip() == cloud.text
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Paris"}'
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage.completion_tokens > 0


async def test_a_cut_answer_says_so(client, cloud):
    cloud.next("length")
    answer = await client.chat.completions.create(model="m", messages=ASKED)
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("what", "error"), [("429", "RateLimitError"), ("529", "InternalServerError"), ("400", "BadRequestError")]
)
async def test_errors_are_those_that_the_sdk_knows(client, cloud, what, error):
    cloud.next(what)
    with pytest.raises(getattr(openai, error), match=f"the script says {what}"):
        await client.chat.completions.create(model="m", messages=ASKED)


async def test_an_error_in_the_middle_of_a_stream_is_one_for_the_sdk(client, cloud):
    cloud.next("error-frame")
    with pytest.raises(openai.APIError, match="Overloaded"):
        async for _ in await client.chat.completions.create(model="m", messages=ASKED, stream=True):
            pass
