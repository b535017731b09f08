"""The daemon's side of clouds: bookings outlive it, looks notice who is back, and nothing of it is left at the end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import aiohttp
import pytest

from roost.config.settings import CloudSettings, Settings
from roost.daemon.clouds import CloudKeeper
from roost.store.spending import SpendingStore
from roost.testing.cloud import KEY, CloudStandIn
from roost.testing.wait import until

PRICED = {"m": {"usd_per_million_input": 1000.0, "usd_per_million_output": 2000.0}}


@pytest.fixture
async def cloud():
    async with CloudStandIn() as stand_in:
        yield stand_in


def keeper_for(cloud, folder, store=None, **more):
    settings = Settings(clouds={"main": CloudSettings(url=cloud.url, api_key="env:K", models=PRICED, **more)})
    keeper = CloudKeeper(lambda: settings, {"K": KEY}, store or SpendingStore(folder / "roost.db"))
    keeper.fill()
    return keeper


@asynccontextmanager
async def running(keeper):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(keeper.run())
        await asyncio.sleep(0)
        yield keeper
        task.cancel()


async def ask(keeper):
    server = await keeper.clouds.reach("main", "m", key_budget_usd=None, key_name=None)
    return await server.wire.post("/v1/chat/completions", b'{"model": "m", "messages": []}', keep=True)


async def test_what_was_spent_is_known_to_the_next_daemon(cloud, tmp_path):
    async with running(keeper_for(cloud, tmp_path)) as keeper:
        for _ in range(20):
            keeper.clouds.spent("main", "m", "ci", 1000, 0, 0)
    again = keeper_for(cloud, tmp_path, max_usd_per_day=5)
    assert again.clouds.views()[0].spent_today_usd == pytest.approx(20)
    assert [problem.text for problem in again.problems()] == [
        "cloud main is not asked now: its budget of the day is spent"
    ]


class SlowStore(SpendingStore):
    """Its first write waits for a word."""

    def __init__(self, path):
        super().__init__(path)
        self.writing, self.go_on = threading.Event(), threading.Event()

    def add(self, rows):
        self.writing.set()
        self.go_on.wait(10)
        return super().add(rows)


async def test_what_is_spent_while_another_booking_is_written_is_not_lost_at_the_end(cloud, tmp_path):
    store = SlowStore(tmp_path / "roost.db")
    keeper = keeper_for(cloud, tmp_path, store=store)
    async with running(keeper):
        keeper.clouds.spent("main", "m", "ci", 1000, 0, 0)
        await until(store.writing.is_set)
        keeper.clouds.spent("main", "m", "ci", 2000, 0, 0)
        asyncio.get_running_loop().call_later(0.05, store.go_on.set)
    assert keeper_for(cloud, tmp_path).clouds.views()[0].spent_today_usd == pytest.approx(3)


async def test_coming_back_is_noticed_by_itself(cloud, tmp_path):
    async with running(keeper_for(cloud, tmp_path)) as keeper:
        await cloud.go_away()
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(keeper)
        assert keeper.problems()[0].text == "cloud main is not asked now: offline"
        await cloud.come_back()
        await until(lambda: not keeper.problems())
        (await ask(keeper)).close()


async def test_the_end_closes_every_connection(cloud, tmp_path):
    async with running(keeper_for(cloud, tmp_path)) as keeper:
        posted = await ask(keeper)
        session = (await keeper.clouds.reach("main", "m", key_budget_usd=None, key_name=None)).session
        posted.close()
    assert session.closed


async def test_where_there_is_no_cloud_nothing_is_loaded(tmp_path):
    settings = Settings()
    async with running(CloudKeeper(lambda: settings, {}, SpendingStore(tmp_path / "roost.db"))) as keeper:
        assert keeper.problems() == ()
    assert not keeper.clouds._loaded
