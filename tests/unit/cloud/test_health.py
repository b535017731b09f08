"""When a provider is closed, for how long, and what opens it."""

from __future__ import annotations

import pytest

from roost.cloud.health import FIRST_LOOK_S, FIRST_PAUSE_S, LONGEST_ASKED_S, LONGEST_LOOK_S, LONGEST_PAUSE_S, Health


def failing(count, at=0.0, step=1.0):
    health = Health()
    for number in range(count):
        health.failed(at + number * step)
    return health


def test_two_failures_close_nothing():
    assert failing(2).closed(2) is None


def test_three_failures_close_it_for_a_while():
    health = failing(3)
    assert health.closed(2).again_s == FIRST_PAUSE_S
    assert health.closed(2 + FIRST_PAUSE_S) is None


def test_failures_far_apart_close_nothing():
    assert failing(10, step=20.0).closed(200) is None


def test_failing_again_after_the_pause_closes_it_for_twice_as_long_up_to_a_limit():
    health, now, pauses = failing(3), 2.0, []
    for _ in range(10):
        pauses.append(health.closed(now).again_s)
        now += pauses[-1]
        health.failed(now)
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_an_answer_makes_all_well():
    health = failing(3)
    health.answered()
    assert health.closed(2) is None
    health.failed(3)
    assert health.closed(3) is None


def test_what_fails_while_it_is_closed_lengthens_nothing():
    health = failing(3)
    for _ in range(20):
        health.failed(3)
    assert health.closed(2 + FIRST_PAUSE_S) is None


def test_a_pause_that_it_asks_for_is_kept_within_reason_and_survives_an_older_answer():
    health = Health()
    health.asked_to_wait(0, 7)
    health.answered()
    assert health.closed(1).again_s == 6
    assert health.closed(7) is None
    health.asked_to_wait(10, 10**9)
    assert health.closed(10).again_s == LONGEST_ASKED_S


def test_no_connection_is_offline_at_once():
    health = Health()
    health.unreachable(0, "network is unreachable")
    closed = health.closed(0)
    assert (closed.why, closed.unreachable) == ("offline", "network is unreachable")


def test_looks_become_rarer_and_one_that_succeeds_opens_it():
    health, now, waits = Health(), 0.0, []
    health.unreachable(now, "x")
    for _ in range(8):
        waited = 0.0
        while not health.look_due(now + waited):
            waited += 0.5
        waits.append(waited)
        now += waited
        health.unreachable(now, "x", looked=True)
    assert waits[:4] == [FIRST_LOOK_S, 2, 4, 8]
    assert waits[-1] == LONGEST_LOOK_S
    assert health.closed(now)
    health.reachable()
    assert health.closed(now) is None
    assert not health.look_due(now + 1000)


def test_many_requests_that_fail_at_once_delay_no_look():
    health = Health()
    for _ in range(50):
        health.unreachable(0, "x")
    assert health.look_due(FIRST_LOOK_S)


def test_should_nobody_look_a_request_may_try_it():
    health = Health()
    health.unreachable(0, "x")
    assert health.closed(FIRST_LOOK_S + LONGEST_LOOK_S) is None


def test_an_answer_ends_being_offline():
    health = Health()
    health.unreachable(0, "x")
    health.answered()
    assert health.closed(0) is None


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_it_never_stays_closed_for_ever(failures):
    health = failing(failures)
    health.asked_to_wait(5, 50)
    health.unreachable(5, "x")
    assert health.closed(5 + LONGEST_ASKED_S + LONGEST_PAUSE_S) is None
