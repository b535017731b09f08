"""How much a key may ask."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from roost.errors import ConcurrencyLimit, RateLimitExceeded
from roost.gateway.quotas import Quotas
from roost.store.keys import Consumer


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_a_limit_nothing_is_counted() -> None:
    quotas = Quotas()
    with ExitStack() as stack:
        for consumer in (None, Consumer("a", "a")):
            for _ in range(100):
                stack.enter_context(quotas.hold(consumer))
    assert not quotas._spent


def test_so_many_at_once_and_each_end_makes_room() -> None:
    quotas, key = Quotas(), Consumer("a", "ci", requests_at_once=2)
    with quotas.hold(key):
        with (
            quotas.hold(key),
            pytest.raises(ConcurrencyLimit, match='"ci" may have 2 requests at once'),
            quotas.hold(key),
        ):
            raise AssertionError
        with quotas.hold(key):
            pass
        with quotas.hold(Consumer("b", "other", requests_at_once=1)):
            pass


def test_a_request_that_fails_makes_room_too() -> None:
    quotas, key = Quotas(), Consumer("a", "ci", requests_at_once=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), quotas.hold(key):
            raise ZeroDivisionError


def test_so_many_a_minute_and_the_refusal_says_when_there_is_room_again() -> None:
    clock = Clock()
    quotas, key = Quotas(clock), Consumer("a", "ci", requests_per_minute=2)
    for _ in range(2):
        with quotas.hold(key):
            clock.now += 10
    with pytest.raises(RateLimitExceeded) as refused, quotas.hold(key):
        raise AssertionError
    assert refused.value.retry_after_s == 40
    clock.now += 40
    with quotas.hold(key):
        pass
    with pytest.raises(RateLimitExceeded), quotas.hold(key):
        raise AssertionError


def test_what_is_refused_for_being_too_many_at_once_costs_none_of_the_minute() -> None:
    quotas, key = Quotas(Clock()), Consumer("a", "ci", requests_per_minute=2, requests_at_once=1)
    with quotas.hold(key):
        for _ in range(5):
            with pytest.raises(ConcurrencyLimit), quotas.hold(key):
                raise AssertionError
    with quotas.hold(key):
        pass
