from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roost.workers.backoff import (
    CIRCUIT_OPEN_S,
    FIRST_BACKOFF_S,
    LONGEST_BACKOFF_S,
    GiveUp,
    RetryAt,
    RetryAtOnce,
    after_failure,
    after_unreachable,
)


def test_the_first_failure_may_be_an_accident() -> None:
    assert after_failure([100.0], 100.0, 0.5) == RetryAtOnce()


def test_the_second_in_a_row_waits() -> None:
    assert after_failure([99.0, 100.0], 100.0, 0.0) == RetryAt(100.0 + FIRST_BACKOFF_S)


def test_each_further_one_waits_twice_as_long() -> None:
    assert after_failure([0.0, 100.0, 200.0], 200.0, 0.0) == RetryAt(202.0)
    assert after_failure([0.0, 100.0, 200.0, 300.0], 300.0, 0.0) == RetryAt(304.0)


def test_five_within_a_minute_give_up() -> None:
    assert after_failure([1.0, 2.0, 3.0, 4.0, 5.0], 5.0, 0.0) == GiveUp()


def test_five_over_an_hour_do_not() -> None:
    assert isinstance(after_failure([0.0, 900.0, 1800.0, 2700.0, 3600.0], 3600.0, 0.0), RetryAt)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=60), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_a_second_nor_longer_than_a_minute(times: list[float], jitter: float) -> None:
    failures = sorted(times)
    verdict = after_failure(failures, failures[-1], jitter)
    if isinstance(verdict, RetryAt):
        wait_s = verdict.time - failures[-1]
        assert FIRST_BACKOFF_S - 1e-6 <= wait_s <= LONGEST_BACKOFF_S + 1e-6


def test_a_server_elsewhere_is_left_alone_for_a_while_after_three_failures_within_ten_seconds() -> None:
    assert after_unreachable([9.0, 10.0], 10.0) == RetryAtOnce()
    assert after_unreachable([1.0, 9.0, 10.0], 10.0) == RetryAt(10.0 + CIRCUIT_OPEN_S)
    assert after_unreachable([-50.0, 9.0, 10.0], 10.0) == RetryAtOnce()


def test_a_server_elsewhere_is_never_given_up() -> None:
    assert after_unreachable([float(number) for number in range(100)], 99.0) == RetryAt(99.0 + CIRCUIT_OPEN_S)
