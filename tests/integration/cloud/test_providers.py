"""The way to a scripted provider over real sockets, in both protocols, through everything that goes wrong there."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from roost.cloud.health import FIRST_PAUSE_S
from roost.cloud.money import Books
from roost.cloud.providers import Providers
from roost.cloud.secrets import UNSEARCHED
from roost.config.far import CloudSettings
from roost.errors import CloudRefused, ModelNotFound, Refused
from roost.testing.cloud import KEY, CloudStandIn

CHAT = "/v1/chat/completions"
KINDS = ("openai", "anthropic")
PRICED = {"m": {"usd_per_million_input": 1000.0, "usd_per_million_output": 2000.0}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class World:
    """Providers over settings that a test may change at any time."""

    def __init__(self, url):
        self.clock, self.day, self.kept = Clock(), Clock(), []
        self.environ = {"CLOUD_KEY": KEY}
        self.settings = {
            kind: CloudSettings(kind=kind, url=url, api_key="env:CLOUD_KEY", models=PRICED) for kind in KINDS
        }
        self.clouds = Providers(
            lambda: self.settings, self.environ, Books(self.kept.append, self.day), clock=self.clock
        )

    def change(self, kind, **more):
        self.settings = self.settings | {kind: CloudSettings(**(self.settings[kind].model_dump() | more))}

    async def reach(self, kind, *, budget=None, key=None):
        return await self.clouds.reach(kind, "m", key_budget_usd=budget, key_name=key)

    async def ask(self, kind, path=CHAT, **more):
        server = await self.reach(kind)
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **more}
        return await server.wire.post(path, json.dumps(body).encode(), keep=False)

    def view(self, kind):
        return next(view for view in self.clouds.views() if view.name == kind)


@pytest.fixture
async def cloud():
    async with CloudStandIn() as stand_in:
        yield stand_in


@pytest.fixture
async def world(cloud):
    made = World(cloud.url)
    yield made
    await made.clouds.close()


async def body_of(posted):
    pieces = []
    try:
        while piece := await posted.content.readany():
            pieces.append(piece)
    finally:
        posted.close()
    return b"".join(pieces)


async def answer_of(posted):
    return json.loads(await body_of(posted))


def events_of(body):
    return [json.loads(line[6:]) for line in body.decode().split("\n\n") if line and line != "data: [DONE]"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_chat_is_answered_in_openais_words(cloud, world, kind):
    posted = await world.ask(kind)
    assert posted.status == 200
    answer = await answer_of(posted)
    assert answer["choices"][0]["message"]["content"] == cloud.text
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 8
    assert cloud.requests[0].path == ("/v1/messages" if kind == "anthropic" else CHAT)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_is_openais_to_its_end(cloud, world, kind):
    cloud.next("tools")
    body = await body_of(await world.ask(kind, stream=True, stream_options={"include_usage": True}, tools=[TOOL]))
    assert body.endswith(b"data: [DONE]\n\n")
    events = events_of(body)
    said = "".join(one["delta"].get("content") or "" for event in events for one in event["choices"])
    assert said.strip() == cloud.text
    calls = [call for event in events for one in event["choices"] for call in one["delta"].get("tool_calls", ())]
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"city": "Paris"}
    assert events[-1]["usage"]["prompt_tokens"] == 20


async def test_bytes_to_an_openai_provider_are_those_that_were_posted(cloud, world):
    server = await world.reach("openai")
    body = b'{"model":  "m", "messages": [], "odd": 1e3}'
    await body_of(await server.wire.post(CHAT, body, keep=True))
    assert cloud.requests[0].raw == body
    assert cloud.requests[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_embeddings_and_completions_go_to_openai_providers_only(cloud, world):
    vectors = await answer_of(await world.ask("openai", "/v1/embeddings", input=["a", "b"]))
    assert len(vectors["data"]) == 2
    assert (await answer_of(await world.ask("openai", "/v1/completions", prompt="x")))["choices"][0]["text"]
    assert (await world.reach("anthropic")).surfaces == {"chat", "messages"}
    with pytest.raises(Refused):
        await world.ask("anthropic", "/v1/embeddings", input="a")


async def test_what_anthropic_cannot_be_asked_is_refused_before_it_is(cloud, world):
    with pytest.raises(Refused):
        await world.ask("anthropic", n=3)
    assert cloud.requests == []


async def test_connections_are_kept_for_the_next_request(cloud, world):
    for _ in range(3):
        await body_of(await world.ask("openai", stream=True))
    assert len((await world.reach("openai")).session.connector._conns) == 1
    assert sum(len(held) for held in (await world.reach("openai")).session.connector._conns.values()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("what", "status"), [("429", 429), ("500", 500), ("529", None), ("400", 400), ("401", 401)])
async def test_refusals_keep_status_message_and_pause(cloud, world, kind, what, status):
    cloud.next(what)
    posted = await world.ask(kind)
    assert posted.status == (status or (503 if kind == "anthropic" else 529))
    assert posted.headers.get("Retry-After") == ("7" if what == "429" else None)
    answer = await answer_of(posted)
    assert f"the script says {what}" in answer["error"]["message"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["truncated", "drop"])
async def test_a_connection_that_breaks_is_a_broken_answer(cloud, world, kind, what):
    cloud.next(what)
    with pytest.raises(aiohttp.ClientError):
        await body_of(await world.ask(kind, stream=True))


@pytest.mark.parametrize("what", ["garbage", "short"])
async def test_a_stream_of_anthropic_that_is_none_is_a_broken_one(cloud, world, what):
    cloud.next(what)
    with pytest.raises(aiohttp.ClientPayloadError):
        await body_of(await world.ask("anthropic", stream=True))


async def test_an_answer_of_anthropic_that_is_none_is_a_broken_one(cloud, world):
    cloud.next("garbage")
    with pytest.raises(aiohttp.ClientPayloadError):
        await world.ask("anthropic")


async def test_an_error_in_the_middle_of_a_stream_is_a_frame(cloud, world):
    cloud.next("error-frame")
    events = events_of(await body_of(await world.ask("anthropic", stream=True)))
    assert events[-1]["error"]["code"] == 503
    assert not any("finish_reason" in one and one["finish_reason"] for event in events[:-1] for one in event["choices"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["hang", "stops"])
async def test_a_request_that_is_given_up_is_given_up_there(cloud, world, kind, what):
    cloud.next(what)

    async def asked():
        await body_of(await world.ask(kind, stream=True))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(asked())
        await cloud.waiting.wait()
        asking.cancel()
    await asyncio.wait_for(cloud.left.wait(), 5)
    assert world.clouds.books.promised_at(kind) == 0


async def test_nobody_listening_is_offline_at_once_and_coming_back_is_noticed(cloud, world):
    await cloud.go_away()
    with pytest.raises(aiohttp.ClientConnectorError):
        await world.ask("openai")
    assert world.view("openai").closed == "offline"
    assert world.view("anthropic").closed is None
    with pytest.raises(CloudRefused, match="offline: connection refused"):
        await world.reach("openai")
    world.clock.now += 1
    await world.clouds.look_again()
    assert world.view("openai").closed == "offline"
    await cloud.come_back()
    await world.clouds.look_again()
    assert world.view("openai").closed == "offline", "a look before it is due"
    world.clock.now += 2
    await world.clouds.look_again()
    assert world.view("openai").closed is None
    assert (await answer_of(await world.ask("openai")))["choices"]


async def test_a_name_that_nobody_knows_is_offline(world):
    world.change("openai", url="http://no-such-host.invalid/v1")
    with pytest.raises(aiohttp.ClientError):
        await world.ask("openai")
    assert world.view("openai").closed == "offline"


async def test_failures_close_it_and_the_others_stay_open(world):
    for _ in range(3):
        world.clouds.note("openai", failed=True)
    assert world.view("openai").closed == "it failed again and again"
    assert world.view("anthropic").closed is None
    with pytest.raises(CloudRefused) as refused:
        await world.reach("openai")
    assert refused.value.retry_after_s == FIRST_PAUSE_S
    world.clock.now += FIRST_PAUSE_S
    await world.reach("openai")
    world.clouds.note("nobody", failed=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pause_that_it_asks_for_is_kept(cloud, world, kind):
    cloud.next("429")
    (await world.ask(kind)).close()
    assert (world.view(kind).closed, world.view(kind).again_s) == ("it asked for a pause", 7)
    world.clock.now += 7
    assert world.view(kind).closed is None


async def test_without_a_key_it_is_not_asked(cloud, world):
    del world.environ["CLOUD_KEY"]
    assert world.view("openai").closed == "no key"
    with pytest.raises(CloudRefused, match="CLOUD_KEY is not set"):
        await world.reach("openai")
    world.change("openai", api_key="cmd:false")
    with pytest.raises(CloudRefused, match=r"its command (cannot be run|ended)"):
        await world.reach("openai")
    assert world.view("openai").closed == "no key"
    world.clock.now += 6
    assert world.view("openai").closed is None
    assert cloud.requests == []


async def test_only_the_models_of_the_settings_may_be_asked(world):
    with pytest.raises(ModelNotFound, match=r"may not be asked for .x.; its models are m"):
        await world.clouds.reach("openai", "x", key_budget_usd=None, key_name=None)
    with pytest.raises(ModelNotFound, match="no cloud is called"):
        world.clouds.model("nobody", "m")
    world.change("openai", models={})
    assert world.clouds.model("openai", "x").id == "x"


async def test_what_a_request_cost_is_booked(world):
    assert world.clouds.spent("openai", "m", "ci", 1000, 500, 100) == pytest.approx(1.2)
    assert world.view("openai").spent_today_usd == pytest.approx(1.2)
    assert world.kept[0].key_name == "ci"
    world.change("openai", models={})
    assert world.clouds.spent("openai", "m", "ci", 1000, 500, 100) is None


async def test_a_budget_of_the_day_ends_at_midnight(world):
    world.change("openai", max_usd_per_day=1.0)
    await world.reach("openai")
    world.clouds.spent("openai", "m", None, 1000, 0, 100)
    assert world.view("openai").closed == "its budget of the day is spent"
    with pytest.raises(CloudRefused, match=r"\$1\.2000 of the \$1\.00"):
        await world.reach("openai")
    world.day.now += 86_400
    await world.reach("openai")


async def test_a_key_has_a_budget_of_its_own_at_all_clouds(world):
    world.clouds.spent("anthropic", "m", "ci", 1000, 0, 100)
    with pytest.raises(CloudRefused, match="with key ci"):
        await world.reach("openai", budget=1.0, key="ci")
    await world.reach("openai", budget=1.0, key="other")
    await world.reach("openai", budget=2.0, key="ci")


async def test_a_model_of_unknown_price_is_refused_only_where_there_is_a_budget(world):
    world.change("openai", models={})
    await world.reach("openai")
    with pytest.raises(CloudRefused, match="nobody knows its price"):
        await world.reach("openai", budget=1.0, key="ci")


async def test_requests_at_once_do_not_run_past_the_budget(cloud, world):
    """One of about 2 dollars runs; a second that comes meanwhile would be beyond the budget of 1."""
    world.change("openai", max_usd_per_day=1.0)
    cloud.next("hang")

    async with asyncio.TaskGroup() as group:
        first = group.create_task(world.ask("openai"))
        await cloud.waiting.wait()
        assert world.view("openai").spent_today_usd == 0
        with pytest.raises(CloudRefused, match="promised to running requests"):
            await world.reach("openai")
        first.cancel()
    await world.reach("openai")


async def test_changed_settings_hold_from_the_next_request_on(cloud, world):
    async with CloudStandIn(text="Another.") as other:
        world.change("openai", url=f"{other.url}/v1", first_byte_s=3)
        assert (await world.reach("openai")).first_byte_s == 3
        assert (await answer_of(await world.ask("openai")))["choices"][0]["message"]["content"] == "Another."
    world.settings = {}
    assert world.clouds.views() == ()
    with pytest.raises(ModelNotFound):
        await world.reach("openai")


class Blind:
    """A scan that cannot be had."""

    def missing(self):
        return 'prompts cannot be searched; install it with: pip install "roost[cloud]"'

    def load(self):
        pass

    def first_in(self, texts):
        return UNSEARCHED


async def test_without_a_scan_for_secrets_no_cloud_is_asked(cloud, world):
    world.clouds.scan = Blind()
    with pytest.raises(CloudRefused, match=r"roost\[cloud\]"):
        await world.reach("openai")
    assert "roost[cloud]" in world.view("openai").closed
    assert cloud.requests == []


async def test_nobody_sees_the_key(world):
    server = await world.reach("anthropic")
    assert KEY not in repr(server)
