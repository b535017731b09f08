"""A load that does not fit is refused before it starts, with what would fit, or cut where the settings allow that."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2 as httpx

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost, wait_for_no_worker, workers_of

MakeRoost = Callable[..., Roost]
#: The real model asks for about 1.3 GiB beside the half that the watch holds back: its window of 8,192 tokens, cached
#: prompts, logits of a step.
SMALL = "[memory]\nmax_gb = 1.75\n"


def ask(roost: Roost) -> httpx.Response:
    body = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, timeout=120)


def test_a_load_that_does_not_fit_is_503_with_the_numbers_and_starts_nothing(roost: Roost) -> None:
    roost.settings(SMALL)
    roost.launch()
    until_sync(lambda: any("cannot load" in problem["text"] for problem in roost.status()["problems"]), timeout_s=60)
    response = ask(roost)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (503, "insufficient_memory")
    assert response.headers["x-should-retry"] == "false" and "retry-after" not in response.headers
    assert "needs " in error["message"] and "what binds is memory.max_gb" in error["message"]
    assert "a context of " in error["message"] and "would fit (engine.context)" in error["message"]
    assert "margin on a dry run" in error["message"]
    health = httpx.get(f"{roost.url}/health")
    assert health.status_code == 503 and "what binds is memory.max_gb" in health.text
    texts = [problem["text"] for problem in roost.status()["problems"]]
    assert len(texts) == len(set(texts)), "each is told once"
    assert not workers_of(roost)
    assert roost.stop() == 0
    wait_for_no_worker(roost)


def test_it_is_cut_to_what_fits_where_the_settings_allow_that(roost: Roost) -> None:
    roost.settings(SMALL + "allow_clamp = true\n")
    roost.start()
    assert ask(roost).status_code == 200
    (worker,) = [worker for worker in roost.status()["workers"] if worker["state"] == "ready"]
    assert "cut to a context of" in worker["memory"] and worker["promised_bytes"] <= 1.75 * 2**30
    assert worker["context_length"] < 8192 or worker["concurrency"] < 4
    assert worker["resident_bytes"] is None or worker["resident_bytes"] < worker["promised_bytes"]


def test_a_model_that_fits_is_promised_its_need(roost: Roost) -> None:
    roost.start()
    assert ask(roost).status_code == 200
    (worker,) = [worker for worker in roost.status()["workers"] if worker["state"] == "ready"]
    assert "GiB promised" in worker["memory"] and "GiB promised" in roost.cli("status").stdout


def test_what_a_worker_of_unknown_size_took_is_remembered_over_a_restart(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    assert roost.worker("a")["memory"] == "size unknown" and "size unknown" in roost.cli("status").stdout
    # While nothing is wrong its memory is looked at every five seconds.
    until_sync(lambda: time.time() - roost.worker("a")["ready_at"] > 12, timeout_s=30)
    assert roost.stop() == 0
    roost.start()
    told = [line for line in roost.journal() if line["event"].startswith(("memory", "peak"))]
    assert roost.worker("a")["memory"].endswith("GiB promised (measured peak)"), told
