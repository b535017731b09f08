"""A worker that will not go holds up nobody but those who need its place. Real processes, one with a grandchild."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2 as httpx
import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import STAND_IN, Roost
from tests.acceptance.test_faults import ask, worker_pid

#: It ignores SIGTERM, and so does its child: both are killed after the grace.
STUBBORN = "--ignore-term --fork-grandchild"
#: What a request takes when nothing is in its way; the stubborn one goes after ten seconds.
AT_ONCE_S, COLD_S = 1.0, 6.0
SETTINGS = """
[rotation]
policy = "always"
min_residency_s = 0
[queue]
max_wait_s = 1
[residency]
max_resident = 2
"""


@pytest.fixture
def stubborn(roost: Roost) -> Roost:
    """Two places: `a` is stubborn, `b` and `c` are not; `e` is an embedding model and takes no place."""
    flags = {"a": STUBBORN, "b": "", "c": "", "e": ""}
    tables = [f'[models."{name}".command]\ncmd = "{STAND_IN} {more}"\n' for name, more in flags.items()]
    roost.settings(SETTINGS + "\n".join(tables) + '[models."e"]\ncapabilities = ["embedding"]\n')
    roost.registry(default="a", coding="b", embedding="e")
    roost.start()
    assert ask(roost, "b").status_code == 200
    return roost


def state(roost: Roost, model: str) -> str:
    """Asked over HTTP: the command line takes its time on a busy machine."""
    workers = roost.get("/roost/v1/workers")["workers"]
    return next((str(worker["state"]) for worker in workers if worker["model"] == model), "unknown")


def embed(roost: Roost) -> httpx.Response:
    return httpx.post(f"{roost.url}/v1/embeddings", json={"model": "embedding", "input": "x"}, timeout=30)


@contextmanager
def going(roost: Roost, path: str) -> Iterator[psutil.Process]:
    """The block runs while an order to end `a` is being carried out; the process of the stubborn worker."""
    process = psutil.Process(worker_pid(roost))
    answers: list[int] = []

    def order() -> None:
        answers.append(httpx.post(f"{roost.url}{path}", timeout=60).status_code)

    thread = threading.Thread(target=order)
    thread.start()
    until_sync(lambda: state(roost, "a") == "stopping", timeout_s=5)
    yield process
    thread.join(60)
    assert answers == [200]


def seconds(call: Callable[[], httpx.Response]) -> float:
    started = time.monotonic()
    answer = call()
    assert answer.status_code == 200, answer.text
    return time.monotonic() - started


@pytest.mark.parametrize("order", ["/roost/v1/models/a/unload", "/roost/v1/workers/restart/a"])
def test_while_one_will_not_go_the_others_answer_at_once_and_a_cold_one_beside_them_starts(
    stubborn: Roost, order: str
) -> None:
    roost = stubborn
    grandchildren = psutil.Process(worker_pid(roost)).children(recursive=True)
    assert grandchildren
    with going(roost, order) as process:
        times = [seconds(lambda: ask(roost, "b")) for _ in range(10)]
        assert max(times) < AT_ONCE_S, times
        assert seconds(lambda: embed(roost)) < COLD_S, "an auxiliary model starts beside it"
        assert seconds(lambda: embed(roost)) < AT_ONCE_S
        assert process.is_running() and state(roost, "a") == "stopping", "it was there all the time"
    assert not process.is_running() and not any(one.is_running() for one in grandchildren)


def test_a_swap_that_a_stubborn_worker_holds_up_delays_no_other_resident(stubborn: Roost) -> None:
    roost = stubborn
    assert seconds(lambda: ask(roost, "b")) < AT_ONCE_S
    answers: list[int] = []
    waiter = threading.Thread(target=lambda: answers.append(ask(roost, "c").status_code))
    waiter.start()
    until_sync(lambda: state(roost, "a") == "stopping", timeout_s=5)
    assert max(seconds(lambda: ask(roost, "b")) for _ in range(10)) < AT_ONCE_S
    assert seconds(lambda: embed(roost)) < COLD_S
    assert state(roost, "a") == "stopping"
    waiter.join(60)
    assert answers == [200]
