from __future__ import annotations

from roost.workers.envelope import envelope_tokens


def test_prompt_and_reply_together() -> None:
    assert envelope_tokens(3000, 500, 8192, 4) == 1500


def test_a_request_without_a_limit_is_given_its_share_for_the_reply() -> None:
    assert envelope_tokens(0, None, 8192, 4) == 2048


def test_nothing_can_use_more_than_the_window() -> None:
    assert envelope_tokens(300_000, 32_000, 8192, 4) == 8192
