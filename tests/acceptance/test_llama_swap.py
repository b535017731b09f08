"""A llama-swap configuration, imported and served: what its users' clients and scripts see. Stand-in workers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import STAND_IN, Roost
from tests.acceptance.test_faults import ask, leave_after_connecting, quietly, statuses, streaming

Serve = Callable[..., Roost]

#: As people write them: macros over macros, a folded command, groups, hooks, filters, several names.
CONFIG = """
healthCheckTimeout: 20
startPort: 5900
logLevel: debug
macros:
  engine: >
    {stand_in}
  load_s: 0.3
  ready_soon: "--load-s ${{load_s}}"
{top}
models:
  "org/a":
    cmd: |
      # comments are dropped, ${{engine}} in one too
      ${{engine}}
      {a}
    proxy: http://127.0.0.1:${{PORT}}
    aliases: [small, gpt-4o-mini]
    name: "Model A"
    description: "The first one"
    env: ["GREETING=hello"]
    {a_more}
  b:
    cmd: ${{engine}} {b}
    {b_more}
  c:
    unlisted: true
    cmd: ${{engine}} {c}
"""


@pytest.fixture
def serve(roost: Roost, tmp_path: Path) -> Serve:
    """Imports the configuration with the flags and entries given, and starts."""

    def make(*, start: bool = True, settings: str = "", **parts: str) -> Roost:
        parts = {name: parts.get(name, "") for name in ("top", "a", "a_more", "b", "b_more", "c")}
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG.format(stand_in=STAND_IN, **parts))
        done = roost.cli("import", "llama-swap", str(file))
        assert "startPort" in done.stderr and "3 models" in done.stdout
        if settings:
            path = roost.home / "roost.toml"
            path.write_text(path.read_text() + settings)
        return roost.start() if start else roost

    return make


FAST = "\n[queue]\nmax_wait_s = 1\n"
UNHURRIED = "\n[queue]\nmax_wait_s = 60\n"


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def running(roost: Roost) -> dict[str, str]:
    return {row["model"]: row["state"] for row in roost.get("/running")["running"]}


def seen(roost: Roost, model: str) -> list[dict[str, Any]]:
    """What the worker got; only of one that is loaded."""
    found: list[dict[str, Any]] = roost.get(f"/upstream/{model}/stand-in/requests")["requests"]
    return found


def starts(roost: Roost, model: str) -> int:
    return sum(1 for line in roost.journal() if line.get("fact") == "start" and line["model"] == model)


def told(**behaviour: Any) -> dict[str, Any]:
    return {"x_stand_in": behaviour}


def post(roost: Roost, path: str, **arguments: Any) -> httpx.Response:
    return httpx.post(roost.url + path, timeout=30, **arguments)


@contextmanager
def busy(roost: Roost, model: str = "org/a") -> Iterator[Iterator[str]]:
    """A stream that goes on until the block ends."""
    with streaming(roost, model, tokens=10_000, token_delay_s=0.02) as lines:
        next(lines)
        yield lines


def test_the_first_model_is_the_default_and_others_start_on_demand_under_every_name(serve: Serve) -> None:
    roost = serve()
    assert "model=org/a" in roost.ready_line and running(roost) == {"org/a": "ready"}
    assert ask(roost, "b").json()["model"] == "b"
    assert running(roost) == {"b": "ready"}
    for name in ("small", "gpt-4o-mini", "org/a", "default"):
        answer = ask(roost, name)
        assert (answer.status_code, answer.headers["x-roost-model"]) == (200, "org/a")
    assert ask(roost, "c").status_code == 200
    assert ask(roost, "nobody").status_code == 404


def test_running_and_the_list_of_models_have_the_shapes_that_scripts_read(serve: Serve) -> None:
    roost = serve(a_more="ttl: 300")
    (row,) = roost.get("/running")["running"]
    assert list(row) == ["model", "state", "cmd", "proxy", "ttl", "name", "description"]
    assert (row["ttl"], row["name"], row["description"]) == (300, "Model A", "The first one")
    assert "roost.testing.engine" in row["cmd"]
    assert httpx.get(f"{row['proxy']}/health").json() == {"status": "ok"}
    listed = {entry["id"]: entry for entry in roost.get("/v1/models")["data"]}
    assert "c" not in listed and listed["org/a"]["name"] == "Model A"
    assert [listed[name]["status"]["value"] for name in ("org/a", "b")] == ["loaded", "unloaded"]
    assert listed["b"]["meta"]["llamaswap"]["type"] == "model"


def test_preloaded_models_of_a_group_are_loaded_side_by_side(serve: Serve) -> None:
    top = 'groups:\n  both: {swap: false, members: ["org/a", b]}\nhooks: {on_startup: {preload: [b, small]}}'
    roost = serve(top=top)
    assert "model=b" in roost.ready_line
    until_sync(lambda: running(roost) == {"org/a": "ready", "b": "ready"}, timeout_s=10)


def test_the_environment_and_home_of_the_user_reach_the_worker(serve: Serve) -> None:
    roost = serve()
    info = roost.get("/upstream/org/a/stand-in/info")
    assert "GREETING" in info["environment"] and "CANARY_SECRET" not in info["environment"]
    assert psutil.Process(info["pid"]).environ()["HOME"] == roost.environ["HOME"]


def test_requests_for_a_loading_model_join_its_one_load(serve: Serve, crowd: ThreadPoolExecutor) -> None:
    roost = serve(b="${ready_soon}")
    answers = list(crowd.map(lambda _: ask(roost, "b").status_code, range(8)))
    assert answers == [200] * 8 and starts(roost, "b") == 1


def test_no_swap_while_a_request_is_served_and_waiting_ones_are_taken_together(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    roost = serve(settings=UNHURRIED)
    with busy(roost) as lines:
        waiting = [crowd.submit(ask, roost, name) for name in ("b", "org/a", "b", "org/a", "b")]
        until_sync(lambda: roost.worker("b").get("queued") == 3, timeout_s=5)
        assert next(lines) and running(roost) == {"org/a": "ready"}
    assert [answer.result().status_code for answer in waiting] == [200] * 5
    assert (starts(roost, "org/a"), starts(roost, "b")) == (1, 1)


def test_of_two_waiting_models_the_one_with_the_higher_priority_is_loaded_first(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    top = "routing: {scheduler: {use: fifo, settings: {fifo: {priority: {c: 10}}}}}"
    roost = serve(top=top, settings=UNHURRIED)
    done: list[str] = []
    with busy(roost):
        waiting = [_noted(crowd, roost, "b", done)]
        until_sync(lambda: roost.worker("b").get("queued") == 1, timeout_s=5)
        waiting.append(_noted(crowd, roost, "c", done))
        until_sync(lambda: roost.worker("c").get("queued") == 1, timeout_s=5)
    for request in waiting:
        request.result()
    assert done == ["c", "b"]


def _noted(crowd: ThreadPoolExecutor, roost: Roost, model: str, done: list[str]) -> Future[None]:
    def send() -> None:
        assert ask(roost, model).status_code == 200
        done.append(model)

    return crowd.submit(send)


def test_a_model_that_waits_gets_in_although_another_is_never_idle(serve: Serve, crowd: ThreadPoolExecutor) -> None:
    roost = serve(settings=FAST)
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            quietly(ask, roost, "org/a", **told(tokens=5, token_delay_s=0.05))

    for _ in range(3):
        crowd.submit(go_on)
    try:
        until_sync(lambda: roost.worker("org/a")["running"] > 0, timeout_s=5)
        start = time.monotonic()
        assert ask(roost, "b").status_code == 200
        assert time.monotonic() - start < 10
    finally:
        over.set()


def test_a_queued_request_whose_client_leaves_never_starts_its_model(serve: Serve) -> None:
    roost = serve(settings=UNHURRIED)
    with busy(roost):
        leave_after_connecting(roost, "b", {}, stream=True, until=False)
        until_sync(lambda: roost.worker("b").get("queued", 0) == 0, timeout_s=3)
    until_sync(lambda: 499 in statuses(roost), timeout_s=3)
    assert ask(roost, "org/a").status_code == 200 and starts(roost, "b") == 0


@pytest.mark.parametrize("stage", ["before the first byte", "in the stream", "whole"])
def test_a_client_that_leaves_is_seen_by_the_worker(serve: Serve, stage: str) -> None:
    roost = serve()
    behaviour = {"tokens": 500, "token_delay_s": 0.02} if stage == "in the stream" else {"delay_s": 20}
    leave_after_connecting(roost, "org/a", behaviour, stream=stage != "whole", until=stage == "in the stream")
    until_sync(lambda: seen(roost, "org/a")[-1]["disconnected"], timeout_s=3)
    assert seen(roost, "org/a")[-1]["tokens_sent"] < 400


def test_at_the_concurrency_limit_a_request_is_refused_before_any_byte(serve: Serve) -> None:
    roost = serve(a_more="concurrencyLimit: 2")
    with busy(roost, "small") as first, busy(roost) as second:
        refused = ask(roost, "org/a", stream=True)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "concurrency_limit")
        assert refused.headers["retry-after"] == "1"
        assert next(first) and next(second)
    until_sync(lambda: roost.worker("org/a")["running"] == 0, timeout_s=5)
    assert ask(roost, "org/a").status_code == 200


def test_waiting_requests_count_against_the_limit_too(serve: Serve, crowd: ThreadPoolExecutor) -> None:
    roost = serve(b_more="concurrencyLimit: 2", settings=UNHURRIED)
    with busy(roost):
        waiting = [crowd.submit(ask, roost, "b") for _ in range(2)]
        until_sync(lambda: roost.worker("b").get("queued") == 2, timeout_s=5)
        assert ask(roost, "b").json()["error"]["code"] == "concurrency_limit"
    assert [answer.result().status_code for answer in waiting] == [200, 200]


def test_ten_requests_run_at_once_unless_a_model_says_otherwise(serve: Serve) -> None:
    roost = serve()
    with ExitStack() as streams:
        held = [streams.enter_context(busy(roost)) for _ in range(10)]
        assert roost.worker("org/a")["running"] == 10
        assert all(next(lines) for lines in held)


def test_bodies_and_answers_pass_byte_for_byte_but_for_the_model(serve: Serve) -> None:
    roost = serve()
    body = b'{ "model" :"small",\n"x_stand_in":{"raw":"data: {\\"choices\\":[],  \\"a\\":1.50}\\n\\ndata: '
    body += b'{\\"choices\\":[{\\"index\\":0,\\"finish_reason\\":\\"stop\\"}]}\\n\\ndata: [DONE]\\n\\n"},'
    body += '"messages":[{"role":"user","content":"\\u00e9 é 1e5"}],"stream" : true }'.encode()
    answer = post(roost, "/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.content.startswith(b'data: {"choices":[],  "a":1.50}\n\n') and answer.content.endswith(b"[DONE]\n\n")
    digest = hashlib.sha256(body.replace(b'"small"', b'"org/a"')).hexdigest()[:16]
    assert seen(roost, "org/a")[-1]["digest"] == digest


def test_filters_and_the_names_that_have_their_own_are_applied(serve: Serve) -> None:
    filters = """filters:
      stripParams: "top_k, model"
      setParams: {temperature: 0.7}
      setParamsByID:
        "${MODEL_ID}:high": {reasoning_effort: high}
    useModelName: upstream-name"""
    roost = serve(a_more=filters)
    for name, effort in (("org/a", None), ("small", None), ("org/a:high", "high")):
        assert ask(roost, name, top_k=3, temperature=0, seed=1).headers["x-roost-model"] == "org/a"
        sent = _sent(roost, "org/a")
        assert (sent["model"], sent["temperature"], sent.get("top_k"), sent["seed"]) == ("upstream-name", 0.7, None, 1)
        assert sent.get("reasoning_effort") == effort


def _sent(roost: Roost, model: str) -> dict[str, Any]:
    import base64

    body: dict[str, Any] = json.loads(base64.b64decode(seen(roost, model)[-1]["body_base64"]))
    return body


def test_a_command_that_ends_at_once_is_told_with_its_reason(serve: Serve) -> None:
    roost = serve(b="--load-fails 'no such file' --exit-code 3")
    refused = ask(roost, "b")
    assert refused.status_code == 503 and "no such file" in refused.text and "code 3" in refused.text
    assert ask(roost, "org/a").status_code == 200


def test_a_worker_that_crashed_is_started_again_by_the_next_request(serve: Serve) -> None:
    roost = serve()
    pid = roost.worker("org/a")["pid"]
    os.kill(pid, signal.SIGKILL)
    until_sync(lambda: not psutil.pid_exists(pid) and running(roost) == {}, timeout_s=5)
    assert ask(roost, "org/a").status_code == 200 and roost.worker("org/a")["pid"] != pid


def test_an_idle_model_is_unloaded_after_its_time_and_a_request_at_that_moment_is_served(serve: Serve) -> None:
    roost = serve(a_more="ttl: 1")
    until_sync(lambda: running(roost) == {}, timeout_s=5)
    for pause_s in (0.95, 1.0, 1.05):
        over = time.monotonic() + pause_s
        until_sync(lambda over=over: time.monotonic() >= over, timeout_s=3)
        assert ask(roost, "org/a").status_code == 200
    with streaming(roost, "org/a", tokens=30, token_delay_s=0.1) as lines:
        assert list(lines)[-1] == "data: [DONE]"


def test_a_worker_that_ignores_sigterm_is_gone_with_its_grandchild_and_stalls_nobody(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    top = 'groups:\n  both: {swap: false, members: ["org/a", b]}\nhooks: {on_startup: {preload: ["org/a", b]}}'
    roost = serve(top=top, a="--ignore-term --fork-grandchild")
    until_sync(lambda: len(running(roost)) == 2, timeout_s=10)
    info = roost.get("/upstream/org/a/stand-in/info")
    unloading = crowd.submit(post, roost, "/api/models/unload/org/a")
    until_sync(lambda: running(roost)["org/a"] == "stopping", timeout_s=3)
    start = time.monotonic()
    assert ask(roost, "b").status_code == 200 and time.monotonic() - start < 1
    answer = unloading.result()
    assert (answer.status_code, answer.text) == (200, "OK")
    assert not psutil.pid_exists(info["pid"]) and not psutil.pid_exists(info["grandchild_pid"])


def test_the_three_ways_to_unload_answer_in_their_own_words_once_the_process_is_gone(serve: Serve) -> None:
    roost = serve()
    for send, said in (
        (lambda: httpx.get(f"{roost.url}/unload", timeout=20), "OK"),
        (lambda: post(roost, "/api/models/unload"), '{"msg": "ok"}'),
        (lambda: post(roost, "/api/models/unload/gpt-4o-mini"), "OK"),
    ):
        assert ask(roost, "org/a").status_code == 200
        pid = roost.worker("org/a")["pid"]
        answer = send()
        assert (answer.status_code, answer.text) == (200, said)
        assert not psutil.pid_exists(pid) and running(roost) == {}
    assert post(roost, "/api/models/unload/nobody").status_code == 404
    assert httpx.get(f"{roost.url}/unload", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_unloading_answers_those_that_wait_for_the_model_and_never_loads_it(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    roost = serve(settings=UNHURRIED)
    with busy(roost) as lines:
        waiting = crowd.submit(ask, roost, "b")
        until_sync(lambda: roost.worker("b").get("queued") == 1, timeout_s=5)
        assert post(roost, "/api/models/unload/b").text == "OK"
        refused = waiting.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_not_resident")
        assert "was unloaded" in refused.text and next(lines)
    assert ask(roost, "org/a").status_code == 200 and starts(roost, "b") == 0


def test_unloading_a_model_that_loads_ends_the_load_and_answers_its_requests(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    roost = serve(b="--load-s 60")
    waiting = crowd.submit(ask, roost, "b")
    until_sync(lambda: running(roost).get("b") == "starting", timeout_s=10)
    until_sync(lambda: roost.worker("b")["pid"] is not None, timeout_s=10)
    pid = roost.worker("b")["pid"]
    assert post(roost, "/api/models/unload/b").text == "OK"
    assert "was unloaded" in waiting.result().text and not psutil.pid_exists(pid)
    assert ask(roost, "org/a").status_code == 200


def test_a_command_that_is_not_there_is_told_by_its_name(serve: Serve, tmp_path: Path) -> None:
    roost = serve()
    path = roost.home / "roost.toml"
    path.write_text(path.read_text() + '\n[models.gone.command]\ncmd = "no-such-server --port ${PORT}"\n')
    until_sync(lambda: httpx.get(f"{roost.url}/v1/models/gone").status_code == 200, timeout_s=5)
    refused = ask(roost, "gone")
    assert refused.status_code == 503 and "no-such-server" in refused.json()["error"]["message"]
    assert ask(roost, "b").status_code == 200


def test_a_client_that_leaves_while_its_model_loads_costs_the_others_nothing(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    roost = serve(b="--load-s 1")
    others = [crowd.submit(ask, roost, "b") for _ in range(2)]
    leave_after_connecting(roost, "b", {}, stream=True, until=False)
    assert [answer.result().status_code for answer in others] == [200, 200] and starts(roost, "b") == 1
    until_sync(lambda: roost.worker("b")["running"] == roost.worker("b")["queued"] == 0, timeout_s=5)


def test_a_stop_command_is_run_with_the_pid(serve: Serve, tmp_path: Path) -> None:
    mark = tmp_path / "stopped"
    roost = serve(a="--ignore-term", a_more=f"cmdStop: sh -c 'echo ${{PID}} > {mark}; kill -9 ${{PID}}'")
    pid = roost.worker("org/a")["pid"]
    start = time.monotonic()
    assert post(roost, "/api/models/unload/org/a").status_code == 200
    assert mark.read_text().strip() == str(pid) and time.monotonic() - start < 5


def test_an_edit_of_another_model_touches_no_stream(serve: Serve) -> None:
    roost = serve()
    path = roost.home / "roost.toml"
    with streaming(roost, "org/a", tokens=60, token_delay_s=0.05) as lines:
        next(lines)
        pid = roost.worker("org/a")["pid"]
        path.write_text(path.read_text().replace("[models.b]", '[models.b]\naliases = ["beta"]'))
        until_sync(lambda: httpx.get(f"{roost.url}/v1/models/beta").status_code == 200, timeout_s=5)
        assert list(lines)[-1] == "data: [DONE]"
    assert roost.worker("org/a")["pid"] == pid
    assert ask(roost, "beta").headers["x-roost-model"] == "b"


def test_upstream_takes_the_longest_name_and_loads_no_model_for_a_static_file(serve: Serve) -> None:
    roost = serve()
    assert httpx.get(f"{roost.url}/upstream/b/app.js").status_code == 409 and starts(roost, "b") == 0
    moved = httpx.get(f"{roost.url}/upstream/org/a?x=1")
    assert (moved.status_code, moved.headers["location"]) == (301, "/upstream/org/a/?x=1")
    assert post(roost, "/upstream/org/a").status_code == 308
    assert httpx.get(f"{roost.url}/upstream/org/nobody/health").status_code == 404
    assert httpx.get(f"{roost.url}/upstream/b/health", timeout=20).json() == {"status": "ok"}


def test_further_routes_are_sent_to_the_model_in_their_body(serve: Serve) -> None:
    roost = serve()
    body = {"query": "a b", "documents": ["a", "b c"]}
    answer = post(roost, "/v1/reranking", json={"model": "small", **body})
    assert answer.json()["results"] and answer.headers["x-roost-model"] == "org/a"
    assert post(roost, "/v1/rerank", json={"model": "b", **body}).json()["results"]
    assert post(roost, "/infill", json={"model": "small", "input_prefix": "x"}).json()["bytes"] > 0
    said = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
    assert post(roost, "/v/chat/completions", json=said).json()["choices"]
    assert post(roost, "/sdapi/v1/txt2img", json={"model": "small", "prompt": "x"}).json()["bytes"] > 0
    further = ("/v1/audio/speech", "/v1/images/generations", "/sdapi/v1/img2img", "/v/responses")
    for path in ("/rerank", "/infill", "/completion", *further):
        assert post(roost, path, json={"model": "nobody"}).json()["error"]["code"] == "model_not_found"
        assert post(roost, path, json={}).json()["error"]["code"] == "missing_required_parameter"
    form = {"files": {"file": ("a.wav", b"\x00\r\n--x\xff" * 100)}, "data": {"model": "nobody"}}
    assert post(roost, "/v1/audio/transcriptions", **form).json()["error"]["code"] == "model_not_found"


def test_logs_begin_with_history_and_go_on(serve: Serve) -> None:
    roost = serve(a="--log-prompts")
    assert '"fact": "verified"' in httpx.get(f"{roost.url}/logs").text
    assert httpx.get(f"{roost.url}/logs/stream/nobody").status_code == 400
    assert "verified" in _first_line(roost, "/logs/stream/proxy", "verified")
    with httpx.Client(timeout=10) as client, client.stream("GET", f"{roost.url}/logs/stream/small?no-history") as log:
        assert log.headers["x-accel-buffering"] == "no" and log.headers["transfer-encoding"] == "chunked"
        assert ask(roost, "org/a").status_code == 200
        assert any("INFO prompt" in line for line in log.iter_lines())


def _first_line(roost: Roost, path: str, word: str) -> str:
    with httpx.Client(timeout=10) as client, client.stream("GET", roost.url + path) as log:
        return next(line for line in log.iter_lines() if word in line)


def test_the_keys_of_the_file_go_on_working_on_every_closed_route(serve: Serve) -> None:
    roost = serve(top='apiKeys: ["sk-from-before"]')
    assert not [path for path in roost.home.rglob("*.*") if path.is_file() and b"from-before" in path.read_bytes()]
    closed = (
        ("GET", "/running"),
        ("GET", "/unload"),
        ("POST", "/api/models/unload"),
        ("POST", "/api/models/unload/org/a"),
        ("GET", "/logs"),
        ("GET", "/logs/stream"),
        ("GET", "/logs/stream/proxy"),
        ("GET", "/upstream/org/a/health"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/infill"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/sdapi/v1/txt2img"),
        ("GET", "/sdapi/v1/loras"),
        ("POST", "/v/chat/completions"),
    )
    for method, path in closed:
        for headers in ({}, {"Authorization": "Bearer sk-other"}):
            answer = httpx.request(method, roost.url + path, headers=headers, timeout=10)
            assert answer.status_code == 401 and answer.headers["www-authenticate"], path
    for headers in ({"Authorization": "Bearer sk-from-before"}, {"x-api-key": "sk-from-before"}):
        assert httpx.get(f"{roost.url}/running", headers=headers).status_code == 200
    assert httpx.get(f"{roost.url}/running", auth=("anybody", "sk-from-before")).status_code == 200
    for path in ("/health", "/livez", "/readyz", "/"):
        assert httpx.get(roost.url + path).status_code == 200


def test_an_import_replaces_nothing_unasked(serve: Serve, tmp_path: Path) -> None:
    roost = serve(start=False)
    path = roost.home / "roost.toml"
    path.write_text("# mine\n")
    file = str(tmp_path / "config.yaml")
    refused = roost.cli("import", "llama-swap", file, check=False)
    assert refused.returncode == 1 and "--force" in refused.stderr and path.read_text() == "# mine\n"
    assert "[models.b" in roost.cli("import", "llama-swap", file, "--dry-run").stdout
    assert path.read_text() == "# mine\n"
    roost.cli("use", "default", "b", check=False)
    roost.registry(default="b")
    done = roost.cli("import", "llama-swap", file, "--force")
    assert "default stays b" in done.stderr and path.with_name("roost.toml.bak").read_text() == "# mine\n"
    assert roost.cli("config", "check").returncode == 0


def test_an_import_points_a_default_whose_model_is_gone_at_its_own(serve: Serve, tmp_path: Path) -> None:
    roost = serve(start=False)
    file = str(tmp_path / "config.yaml")
    roost.registry(default="gone", coding="gone", embedding="elsewhere@node")
    done = roost.cli("import", "llama-swap", file, "--force")
    roles = json.loads((roost.home / "registry.json").read_text())["models"]
    assert roles["default"] == "org/a" and "it was gone" in done.stdout
    assert (roles["coding"], roles["embedding"]) == ("gone", "elsewhere@node"), "the file says nothing of these"


def test_a_file_that_llama_swap_refuses_is_refused_with_its_place(roost: Roost, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("models:\n  a: {cmd: x}\n  a: {cmd: y}\n")
    done = roost.cli("import", "llama-swap", str(file), check=False)
    assert done.returncode == 78 and "line 3" in done.stderr and "twice" in done.stderr
    assert not (roost.home / "roost.toml").exists()
