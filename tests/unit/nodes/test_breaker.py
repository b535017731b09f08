"""When requests to a machine stop being tried, and when they go again."""

from __future__ import annotations

from roost.nodes.breaker import Breaker


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _broken(clock: _Clock, *times: float) -> Breaker:
    breaker = Breaker(clock)
    for at in times:
        clock.now = at
        breaker.note(failed=True)
    return breaker


def test_three_failures_in_ten_seconds_open_it() -> None:
    assert _broken(_Clock(), 100, 105).opened_at is None
    assert _broken(_Clock(), 100, 105, 109.9).opened_at == 109.9


def test_failures_that_lie_further_apart_do_not() -> None:
    assert _broken(_Clock(), 100, 106, 112, 118, 124).opened_at is None


def test_an_answer_between_them_forgets_them() -> None:
    breaker = _broken(_Clock(), 100, 101)
    breaker.note(failed=False)
    assert breaker.note(failed=True) is False and breaker.opened_at is None


def test_only_the_failure_that_opens_it_says_so() -> None:
    breaker = _broken(_Clock(), 100, 101)
    assert [breaker.note(failed=True), breaker.note(failed=True)] == [True, False]


def test_a_look_closes_it_only_if_it_began_after_the_failures() -> None:
    breaker = _broken(_Clock(), 100, 101, 102)
    breaker.probed(101.5)
    assert breaker.opened_at == 102
    breaker.probed(102.5)
    assert breaker.opened_at is None and breaker.note(failed=True) is False
