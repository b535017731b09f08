"""Days, sums, and what running requests are taken for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from roost.cloud.address import address_of
from roost.cloud.money import Booking, Books, Total, seconds_left, utc_day
from roost.cloud.prices import Prices
from roost.config.far import CloudSettings

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()


class Clock:
    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def kept():
    return []


@pytest.fixture
def books(clock, kept):
    return Books(kept.append, clock)


def test_a_day_is_one_of_utc():
    assert utc_day(NOON) == "2026-11-28"
    assert seconds_left(NOON) == 12 * 3600


def test_what_is_booked_counts_for_cloud_and_key_and_is_kept(books, kept):
    books.book("main", "m", "ci", 10, 5, 0.25)
    books.book("other", "m", "ci", 10, 5, 0.5)
    assert (books.spent_at("main"), books.promised_by("ci"), books.promised_by("")) == (0.25, 0.75, 0)
    assert kept[0] == Booking("2026-11-28", "main", "m", "ci", 10, 5, 0.25)


def test_a_new_day_begins_with_nothing(books, clock):
    books.book("main", "m", "", 1, 1, 1.0)
    clock.now += 12 * 3600
    assert books.spent_at("main") == 0
    assert books.promised_by("") == 0


def test_what_earlier_daemons_booked_today_counts(books):
    books.fill("2026-11-27", [Total("main", "", 9.0)])
    books.fill("2026-11-28", [Total("main", "", 1.0), Total("main", "ci", 2.0)])
    assert books.spent_at("main") == 3.0


def test_a_running_request_counts_until_it_is_over_and_once(books):
    release = books.reserve("main", "ci", 0.5)
    assert (books.promised_at("main"), books.spent_at("main"), books.promised_by("ci")) == (0.5, 0, 0.5)
    release()
    release()
    assert books.promised_at("main") == 0


OWN = {"m": {"usd_per_million_input": 2.0, "usd_per_million_output": 8.0}, "free": {}}


def cloud(url="https://api.openai.com/v1", **more):
    return CloudSettings(url=url, api_key="env:X", **more)


def test_the_settings_prices_go_first():
    assert Prices().usd(cloud(models=OWN), "m", 1_000_000, 400_000, 500_000) == 6.0


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://api.openai.com/v1", "gpt-4o"),
        ("https://api.anthropic.com", "claude-sonnet-4-5"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gemini-2.5-flash"),
        ("https://openrouter.ai/api/v1", "openai/gpt-4o"),
    ],
)
def test_the_table_knows_the_large_providers_and_that_cached_tokens_are_cheaper(url, model):
    prices = Prices()
    assert prices.known(cloud(url), model)
    assert 0 < prices.usd(cloud(url), model, 1000, 900, 10) < prices.usd(cloud(url), model, 1000, 0, 10)


def test_nobody_guesses_a_price_for_an_address_or_model_that_is_not_in_the_table():
    assert Prices().usd(cloud("http://127.0.0.1:1"), "gpt-4o", 1, 0, 1) is None
    assert Prices().usd(cloud(), "no-such-model", 1, 0, 1) is None


def test_without_the_package_only_the_settings_know(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "genai_prices", None)
    prices = Prices()
    assert not prices.has_table
    assert not prices.known(cloud(), "gpt-4o")
    assert prices.known(cloud(models=OWN), "m")


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://g.example/v1beta/openai/", "https://g.example/v1beta/openai/chat/completions"),
        ("https://z.example/api/paas/v4", "https://z.example/api/paas/v4/chat/completions"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions"),
    ],
)
def test_an_address_is_taken_with_and_without_its_version(url, asked):
    address = address_of(url)
    assert address.base + address.path("/v1/chat/completions") == asked


def test_only_openai_itself_reads_the_new_word_for_the_cap():
    assert address_of("https://api.openai.com/v1").max_tokens_field == "max_completion_tokens"
    assert address_of("https://openrouter.ai/api/v1").max_tokens_field == "max_tokens"
