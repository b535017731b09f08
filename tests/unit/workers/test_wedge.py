from __future__ import annotations

from roost.workers.wedge import RunningView, Window, first_token_deadline_s, is_wedged, silent_since, talk_deadline_s


def test_nothing_running_is_never_silent() -> None:
    assert silent_since([], 30.0, 1000.0) is None


def test_a_stream_without_a_token_for_the_stall_time_is_silent_since_its_last_token() -> None:
    assert silent_since([RunningView(0.0, 50.0, 100)], 30.0, 80.0) == 50.0


def test_a_stream_that_moves_is_not() -> None:
    assert silent_since([RunningView(0.0, 60.0, 100)], 30.0, 80.0) is None


def test_one_request_that_moves_proves_that_the_engine_lives() -> None:
    assert silent_since([RunningView(0.0, 10.0, 100), RunningView(0.0, 79.0, 100)], 30.0, 80.0) is None


def test_a_long_prompt_has_a_longer_first_token_deadline() -> None:
    prompt_bytes = 40_000
    assert first_token_deadline_s(prompt_bytes, 30.0) > 900
    assert silent_since([RunningView(0.0, None, prompt_bytes)], 30.0, 600.0) is None


def test_silence_with_work_is_a_long_prefill() -> None:
    assert not is_wedged(Window(seconds=5.0, cpu_s=4.0, stopped=False, health_failed=False))


def test_silence_without_work_is_a_wedge() -> None:
    assert is_wedged(Window(seconds=5.0, cpu_s=0.0, stopped=False, health_failed=False))


def test_a_stopped_process_is_a_wedge() -> None:
    assert is_wedged(Window(seconds=5.0, cpu_s=4.0, stopped=True, health_failed=False))


def test_work_without_an_answer_from_its_health_route_is_a_wedge() -> None:
    assert is_wedged(Window(seconds=5.0, cpu_s=4.0, stopped=False, health_failed=True))


def test_comments_may_go_on_for_all_prefills_that_share_the_engine_and_for_a_load_elsewhere() -> None:
    assert talk_deadline_s(0, 30.0, 0.0) == 30.0
    assert talk_deadline_s(40_000, 30.0, 0.0) == first_token_deadline_s(40_000, 30.0)
    assert talk_deadline_s(0, 30.0, 120.0) == 150.0
