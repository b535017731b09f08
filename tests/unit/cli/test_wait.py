"""When `roost wait` is over."""

from __future__ import annotations

import pytest

from roost.cli.failure import NotThere
from roost.cli.wait import answers_now, refuse_hopeless
from tests.unit.cli.reports import NOW, status, worker


def test_a_ready_default_answers() -> None:
    assert answers_now(status(), NOW)


@pytest.mark.parametrize("state", ["queued", "starting", "loading", "backoff"])
def test_a_default_that_is_loading_does_not_answer_yet(state: str) -> None:
    assert not answers_now(status(workers=(worker(state=state),)), NOW)


def test_another_resident_ends_the_wait() -> None:
    assert answers_now(status(workers=(worker(model="other"),)), NOW)


def test_a_fresh_daemon_without_a_worker_is_about_to_load() -> None:
    assert not answers_now(status(workers=(), started_at=NOW - 1), NOW)


def test_a_default_unloaded_for_idleness_is_loaded_on_demand() -> None:
    assert answers_now(status(workers=(), started_at=NOW - 600), NOW)
    assert answers_now(status(workers=(worker(state="stopped"),), started_at=NOW - 600), NOW)


def test_an_auxiliary_worker_answers_for_nobody() -> None:
    report = status(workers=(worker(kind="auxiliary", model="embedder"),), started_at=NOW - 1)
    assert not answers_now(report, NOW)


def test_a_failed_default_is_not_waited_for() -> None:
    with pytest.raises(NotThere, match="exit code 1"):
        refuse_hopeless(status(workers=(worker(state="failed", problem="exit code 1"),)))


def test_another_models_failure_is_no_reason_to_give_up() -> None:
    refuse_hopeless(status(workers=(worker(state="failed", model="other"),)))
