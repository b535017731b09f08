"""What goes wrong on a real machine, and what a caller sees then. Stand-in engines as `command` workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import ROOST, Roost, wait_for_no_worker, workers_of

MakeRoost = Callable[..., Roost]
ALWAYS = '[rotation]\npolicy = "always"\nmin_residency_s = 0\n[queue]\nmax_wait_s = 2\n'


def ask(roost: Roost, model: str = "a", **extra: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **extra}
    return httpx.post(f"{roost.url}/v1/chat/completions", json=body, timeout=60)


@contextmanager
def streaming(roost: Roost, model: str = "a", **told: Any) -> Iterator[Iterator[str]]:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}], "x_stand_in": told}
    with (
        httpx.Client(timeout=60) as client,
        client.stream("POST", f"{roost.url}/v1/chat/completions", json=body) as response,
    ):
        yield (line for line in response.iter_lines() if line.startswith("data: "))


def worker_pid(roost: Roost, model: str = "a") -> int:
    pid = roost.worker(model)["pid"]
    assert pid
    return int(pid)


def test_a_worker_killed_before_its_first_byte_costs_the_caller_nothing(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    pid = worker_pid(roost)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(ask(roost, x_stand_in={"delay_s": 3.0})))
    caller.start()
    until_sync(lambda: roost.worker("a")["running"] == 1, timeout_s=20)
    os.kill(pid, signal.SIGKILL)
    caller.join(30)
    assert answers[0].status_code == 200 and worker_pid(roost) != pid


def test_a_worker_killed_in_a_stream_gives_the_text_so_far_and_an_error_frame(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    with pytest.raises(openai.APIError) as caught:
        stream = roost.client().chat.completions.create(
            model="a",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            extra_body={"x_stand_in": {"tokens": 20, "die_after_tokens": 5}},
        )
        texts = []
        for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
    assert caught.value.code == "upstream_disconnected" and "".join(texts)
    assert ask(roost).status_code == 200


def test_a_worker_held_by_sigstop_is_noticed_replaced_and_said(stand_in: MakeRoost) -> None:
    roost = stand_in("[engine]\nstall_s = 1\n").start()
    with streaming(roost, tokens=1000, token_delay_s=0.05) as lines:
        next(lines)
        os.kill(worker_pid(roost), signal.SIGSTOP)
        last = list(lines)[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_stalled"
    assert ask(roost).status_code == 200


def test_an_engine_that_only_comments_is_stalled_and_its_other_requests_go_on(stand_in: MakeRoost) -> None:
    roost = stand_in("[engine]\nstall_s = 2\n").start()
    pid = worker_pid(roost)
    body = {"model": "a", "stream": True, "messages": [], "x_stand_in": {"chatter": True}}
    with (
        httpx.Client(timeout=30) as client,
        client.stream("POST", f"{roost.url}/v1/chat/completions", json=body) as all,
    ):
        assert ask(roost).status_code == 200
        last = [line for line in all.iter_lines() if line.startswith("data: ")]
    assert json.loads(last[-1].removeprefix("data: "))["error"]["code"] == "upstream_stalled"
    assert worker_pid(roost) == pid, "it answers others: nobody is killed"


def test_large_answers_at_once_come_whole_and_are_not_kept_in_memory(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    assert roost.process and ask(roost).status_code == 200
    daemon = psutil.Process(roost.process.pid)
    before, most, size = daemon.memory_info().rss, 0, 48 * 2**20
    answers: list[httpx.Response] = []
    callers = [
        threading.Thread(target=lambda: answers.append(ask(roost, x_stand_in={"body_bytes": size}))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    while any(caller.is_alive() for caller in callers):
        most = max(most, daemon.memory_info().rss)
        callers[-1].join(0.05)
    assert [len(answer.content) >= size and answer.json()["model"] for answer in answers] == ["a"] * 4
    assert most - before < size, "together they have four times that"


@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_that_answers_nothing_but_interim_answers_is_told_at_once(stand_in: MakeRoost, stream: bool) -> None:
    roost = stand_in().start()
    response = ask(roost, stream=stream, x_stand_in={"interim": -1})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_crashed")
    assert "no proper HTTP" in response.text
    assert ask(roost, stream=stream, x_stand_in={"interim": 100}).status_code == 200


def test_a_worker_that_exits_at_start_is_told_with_its_reason_and_not_started_again_for_ever(
    stand_in: MakeRoost,
) -> None:
    roost = stand_in(ALWAYS, b="--load-fails 'bad magic' --exit-code 7").start()
    # On a busy machine a start may outlast the first back-off; the last of these is behind a long one in any case.
    for asked in range(1, 9):
        response = ask(roost, "b")
        assert response.status_code == 503 and "bad magic" in response.text and "code 7" in response.text
        assert response.json()["error"]["code"] == "worker_failed"
        starts = [line for line in roost.journal() if line.get("fact") == "start" and line["model"] == "b"]
        if asked >= 4 and len(starts) < asked:
            break
    assert len(starts) < asked and "retry-after" in response.headers
    assert any("bad magic" in problem["text"] for problem in roost.status()["problems"])
    assert ask(roost, "a").status_code == 200


def test_a_stubborn_worker_with_a_grandchild_is_gone_after_down(stand_in: MakeRoost) -> None:
    roost = stand_in("drain_s = 1\n", a="--ignore-term --fork-grandchild").start()
    pids = [child.pid for child in psutil.Process(worker_pid(roost)).children(recursive=True)]
    assert pids
    assert roost.stop() == 0
    wait_for_no_worker(roost, 2.0)


def test_sigkill_of_the_daemon_under_load_leaves_nothing_and_the_next_start_works(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    decoy = subprocess.Popen(["sleep", "300"], env={"ROOST_WORKER_NONCE": "somebody-else"})
    threads = [threading.Thread(target=quietly, args=(ask, roost), kwargs=told(200)) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        until_sync(lambda: roost.worker("a")["running"] >= 4, timeout_s=10)
        assert roost.process
        roost.process.kill()
        wait_for_no_worker(roost, 2.0)
        for thread in threads:
            thread.join(10)
        roost.start()
        assert ask(roost).status_code == 200
        assert decoy.poll() is None
    finally:
        decoy.kill()
        decoy.wait()


def told(tokens: int) -> dict[str, Any]:
    return {"x_stand_in": {"tokens": tokens, "token_delay_s": 0.1}}


def quietly(function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    try:
        function(*arguments, **named)
    except httpx.HTTPError:
        return


@pytest.mark.parametrize("stage", ["queued", "loading", "prefill", "stream", "whole"])
def test_a_client_that_leaves_frees_its_place_at_every_stage(stand_in: MakeRoost, stage: str) -> None:
    roost = stand_in(ALWAYS, b="--load-s 3" if stage == "loading" else "").start()
    with streaming(roost, "a", tokens=400, token_delay_s=0.05) as holder:
        next(holder)
        model = "b" if stage in ("queued", "loading") else "a"
        behaviour: dict[str, Any] = {"tokens": 400, "token_delay_s": 0.05}
        if stage in ("prefill", "whole"):
            behaviour["delay_s"] = 20
        if stage == "loading":
            holder.close()  # type: ignore[attr-defined]
        leave_after_connecting(roost, model, behaviour, stream=stage != "whole", until=stage == "stream")
        if stage != "loading":
            until_sync(lambda: roost.worker("a")["running"] == 1, timeout_s=2.0, what="only the holder runs")
        until_sync(lambda: roost.worker("b").get("queued", 0) == 0, timeout_s=2.0)
        until_sync(lambda: 499 in statuses(roost), timeout_s=3.0, what="a 499 row")
    if stage == "queued":
        assert roost.worker("b")["pid"] is None


def statuses(roost: Roost) -> list[int]:
    return [row["status"] for row in roost.get("/roost/v1/activity")["activity"]]


def leave_after_connecting(roost: Roost, model: str, behaviour: dict[str, Any], *, stream: bool, until: bool) -> None:
    """Sends a request over a bare socket and hangs up once roost has it (`until`: once a token has come)."""
    message = {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "x"}],
        "x_stand_in": behaviour,
    }
    body = json.dumps(message).encode()
    before = roost.worker(model)
    busy_before = before.get("running", 0) + before.get("queued", 0)
    with socket.create_connection(("127.0.0.1", roost.port), 10) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{roost.port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        if until:
            assert b"200 OK" in connection.recv(4096)
        else:
            until_sync(lambda: busy(roost, model) > busy_before, timeout_s=20, what="the request has arrived")


def busy(roost: Roost, model: str) -> int:
    worker = roost.worker(model)
    return int(worker.get("running", 0) + worker.get("queued", 0))


def test_a_slow_reader_does_not_slow_the_others(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    body = json.dumps(
        {"model": "a", "stream": True, "messages": [], "x_stand_in": {"tokens": 200, "huge_token_bytes": 20_000}}
    ).encode()
    with socket.create_connection(("127.0.0.1", roost.port)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{roost.port}\r\nContent-Type: application/json\r\n"
        )
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert slow.recv(16)
        times = []
        for _ in range(10):
            start = time.monotonic()
            assert ask(roost).status_code == 200
            times.append(time.monotonic() - start)
        assert roost.process
        assert psutil.Process(roost.process.pid).memory_info().rss < 250 * 2**20
    assert sorted(times)[5] < 1.0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[1, 2]", 400, "invalid_json"),
        (b'{"model": "a", "model": "b", "messages": []}', 400, "invalid_json"),
        (b'{"model": "a", "temperature": NaN}', 400, "invalid_json"),
        (b'{"model": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "invalid_json"),
        (b'{"model": "a", "messages": "\xff\xfe"}', 400, "invalid_utf8"),
        (b'{"messages": []}', 400, "missing_required_parameter"),
        (b'{"model": 7}', 400, "invalid_type"),
        (b'{"model": "aa", "messages": []}', 404, "model_not_found"),
    ],
)
def test_bad_bodies_get_a_clear_error_and_start_nothing(
    shared_stand_in: Roost, body: bytes, status: int, code: str
) -> None:
    roost = shared_stand_in
    response = httpx.post(
        f"{roost.url}/v1/chat/completions", content=body, headers={"content-type": "application/json"}, timeout=20
    )
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["x-request-id"]
    assert roost.worker("b")["pid"] is None


def test_sixty_four_mebibytes_are_refused_before_they_are_read(shared_stand_in: Roost) -> None:
    roost = shared_stand_in
    assert roost.process
    before = psutil.Process(roost.process.pid).memory_info().rss
    response = httpx.post(
        f"{roost.url}/v1/chat/completions",
        content=(b"x" * 2**20 for _ in range(64)),
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
    assert psutil.Process(roost.process.pid).memory_info().rss - before < 64 * 2**20


@pytest.fixture(scope="module")
def shared_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roost]:
    """One daemon for the tests that change nothing."""
    from tests.acceptance.conftest import STAND_IN
    from tests.helpers import short_folder

    with short_folder() as folder:
        home = folder / "home"
        home.mkdir()
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "ROOST_HOME": str(home)}
        roost = Roost(home, environ)
        roost.settings("\n".join(f'[models."{name}".command]\ncmd = "{STAND_IN}"\n' for name in ("a", "b")))
        roost.registry(default="a", coding="b")
        yield roost.start()
        roost.end()


def test_a_broken_registry_leaves_the_last_good_one_serving_and_is_told(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    path = roost.home / "registry.json"
    good = path.read_bytes()
    with streaming(roost, tokens=40, token_delay_s=0.05) as lines:
        next(lines)
        path.write_bytes(good[: len(good) // 2])
        until_sync(lambda: roost.status()["registry_problem"], timeout_s=20)
        assert ask(roost, "default").json()["model"] == "a"
        assert "line" in roost.status()["registry_problem"]
        path.write_bytes(good)
        until_sync(lambda: not roost.status()["registry_problem"], timeout_s=20)
        assert list(lines)[-1] == "data: [DONE]"


def test_the_registry_edited_by_hand_while_a_stream_runs_repoints_the_role(stand_in: MakeRoost) -> None:
    roost = stand_in(ALWAYS).start()
    with streaming(roost, tokens=30, token_delay_s=0.05) as lines:
        next(lines)
        roost.registry(default="b")
        until_sync(lambda: roost.status()["default_model"] == "b", timeout_s=20)
        assert list(lines)[-1] == "data: [DONE]"
    assert ask(roost, "default").json()["model"] == "b"


def test_a_second_daemon_is_refused_and_names_the_first(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    assert roost.process
    done = subprocess.run(
        [str(ROOST), "up", "--port", "0"], env=roost.environ, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1 and str(roost.process.pid) in done.stderr
    assert ask(roost).status_code == 200


def test_a_taken_port_is_said_at_once_with_its_holder(stand_in: MakeRoost) -> None:
    roost = stand_in()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = subprocess.run(
            [str(ROOST), "up", "--port", str(port)], env=roost.environ, capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr and str(os.getpid()) in done.stderr


def test_sigterm_with_streams_open_drains_them(stand_in: MakeRoost) -> None:
    roost = stand_in("drain_s = 10\n").start()
    with streaming(roost, tokens=30, token_delay_s=0.05) as lines:
        next(lines)
        assert roost.process
        roost.process.send_signal(signal.SIGTERM)
        until_sync(lambda: httpx.get(f"{roost.url}/readyz").status_code == 503, timeout_s=3)
        refused = ask(roost)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert list(lines)[-1] == "data: [DONE]"
    assert roost.process.wait(10) == 0
    assert not workers_of(roost)


def test_sigterm_cuts_what_does_not_end_with_an_error_frame(stand_in: MakeRoost) -> None:
    roost = stand_in("drain_s = 1\n").start()
    with streaming(roost, tokens=10_000, token_delay_s=0.05) as lines:
        next(lines)
        start = time.monotonic()
        assert roost.process
        roost.process.send_signal(signal.SIGTERM)
        last = list(lines)[-1]
        assert '"error"' in last
        assert roost.process.wait(10) == 0
        assert time.monotonic() - start < 1 + 5


def test_a_second_signal_ends_it_at_once(stand_in: MakeRoost) -> None:
    roost = stand_in("drain_s = 60\n").start()
    with streaming(roost, tokens=10_000, token_delay_s=0.05) as lines:
        next(lines)
        assert roost.process
        roost.process.send_signal(signal.SIGINT)
        until_sync(lambda: httpx.get(f"{roost.url}/readyz").status_code == 503, timeout_s=3)
        roost.process.send_signal(signal.SIGINT)
        assert roost.process.wait(5) == 0


def test_a_full_disk_fails_no_request(stand_in: MakeRoost, tmp_path: Path) -> None:
    """RLIMIT_FSIZE of 0 for new writes: every file write of the daemon fails from then on, as on a full disk."""
    roost = stand_in().start()
    assert roost.process
    psutil.Process(roost.process.pid).rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
    for _ in range(5):
        assert ask(roost).status_code == 200
    until_sync(lambda: any("activity" in p["text"] for p in roost.status()["problems"]), timeout_s=10)
    psutil.Process(roost.process.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    assert ask(roost).status_code == 200


def test_a_load_on_a_full_disk_is_refused_with_the_reason_and_leaves_nothing(stand_in: MakeRoost) -> None:
    roost = stand_in().start()
    assert roost.process
    unloaded = httpx.post(f"{roost.url}/roost/v1/models/{roost.status()['workers'][0]['model']}/unload")
    assert unloaded.status_code == 200
    psutil.Process(roost.process.pid).rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
    refused = ask(roost)
    psutil.Process(roost.process.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (503, "storage_full")
    assert "free some space" in error["message"]
    run = roost.home / "state/run"
    assert [path.name for path in run.rglob("*") if path.name.startswith("w-") or path.suffix == ".tmp"] == []
    until_sync(lambda: ask(roost).status_code == 200, timeout_s=20)
