"""Groups, matrix, selectors and profiles of llama-swap on a running daemon, and a whole file as people write it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from roost.testing.wait import until_sync
from tests.acceptance.conftest import STAND_IN, Roost
from tests.acceptance.test_faults import ask, quietly, streaming

FIXTURE = Path(__file__).parent.parent / "fixtures/llama-swap.yaml"
NAMES = "abcd"
Serve = Callable[..., Roost]


@pytest.fixture
def serve(roost: Roost, tmp_path: Path) -> Serve:
    """Four stand-ins a to d under the top-level keys given; settings are appended to roost.toml."""

    def make(top: str, settings: str = "", **flags: str) -> Roost:
        file = tmp_path / "config.yaml"
        models = "\n".join(f"  {name}:\n    cmd: {STAND_IN} {flags.get(name, '')}" for name in NAMES)
        file.write_text(f"{top}\nmodels:\n{models}\n")
        roost.cli("import", "llama-swap", str(file))
        path = roost.home / "roost.toml"
        path.write_text(path.read_text() + settings)
        return roost.start()

    return make


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def running(roost: Roost) -> set[str]:
    return {row["model"] for row in roost.get("/running")["running"]}


def worker(roost: Roost, model: str) -> dict[str, Any]:
    found = [one for one in roost.get("/roost/v1/workers")["workers"] if one["model"] == model]
    return found[0] if found else {}


def queued(roost: Roost, model: str) -> int:
    return int(worker(roost, model).get("queued", 0))


@contextmanager
def busy(roost: Roost, model: str) -> Iterator[Iterator[str]]:
    with streaming(roost, model, tokens=10_000, token_delay_s=0.02) as lines:
        next(lines)
        yield lines


def started(roost: Roost) -> list[str]:
    return [line["model"] for line in roost.journal() if line.get("fact") == "start"]


# Groups.


def test_members_that_do_not_swap_stay_together_and_an_exclusive_one_pushes_them_all_out(serve: Serve) -> None:
    roost = serve("groups: {small: {swap: false, members: [a, b]}, big: {members: [c]}}")
    assert ask(roost, "b").status_code == 200 and running(roost) == {"a", "b"}
    assert ask(roost, "c").status_code == 200 and running(roost) == {"c"}
    # d is in no group: that is a group of its own.
    assert ask(roost, "d").status_code == 200 and running(roost) == {"d"}
    assert ask(roost, "a").status_code == 200 and running(roost) == {"a"}


def test_a_group_that_is_not_exclusive_joins_and_a_persistent_one_is_never_pushed_out(serve: Serve) -> None:
    groups = "side: {exclusive: false, members: [b]}, kept: {persistent: true, exclusive: false, members: [c]}"
    roost = serve(f"groups: {{{groups}}}")
    for model in ("b", "c"):
        assert ask(roost, model).status_code == 200
    assert running(roost) == {"a", "b", "c"}
    assert ask(roost, "d").status_code == 200 and running(roost) == {"c", "d"}


def test_an_exclusive_model_waits_for_all_that_are_busy_and_nobody_slips_in_before_it(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    groups = "small: {swap: false, exclusive: false, members: [a, b, d]}, big: {members: [c]}"
    roost = serve(f"groups: {{{groups}}}", "\n[queue]\nmax_wait_s = 60\n")
    assert ask(roost, "b").status_code == 200
    with busy(roost, "a") as lines:
        big = crowd.submit(ask, roost, "c")
        until_sync(lambda: queued(roost, "c") == 1, timeout_s=10)
        # What is loaded goes on being served; what is not would have to be pushed out again at once.
        assert ask(roost, "b").status_code == 200
        small = crowd.submit(ask, roost, "d")
        until_sync(lambda: queued(roost, "d") == 1, timeout_s=10)
        assert running(roost) == {"a", "b"} and next(lines)
    assert (big.result().status_code, small.result().status_code) == (200, 200)
    assert started(roost) == ["a", "b", "c", "d"]


def test_a_matrix_lets_together_what_it_names_and_gives_up_what_costs_least(serve: Serve) -> None:
    roost = serve("matrix: {vars: {x: a}, evict_costs: {x: 5}, sets: {one: x & b, two: x & c, three: b & c & d}}")
    assert ask(roost, "b").status_code == 200 and running(roost) == {"a", "b"}
    # Beside a costly a there is room for c only without b.
    assert ask(roost, "c").status_code == 200 and running(roost) == {"a", "c"}
    assert ask(roost, "d").status_code == 200 and running(roost) == {"c", "d"}


def test_preloaded_models_are_loaded_in_their_order_as_far_as_they_fit(serve: Serve) -> None:
    preload = "hooks: {on_startup: {preload: [c, d, a, b]}}"
    roost = serve(f"groups: {{all: {{swap: false, members: [a, b, c]}}}}\n{preload}")
    until_sync(lambda: running(roost) == {"c", "a", "b"}, timeout_s=20)
    assert started(roost) == ["c", "a", "b"]


def test_a_pinned_model_stays_and_who_could_only_wait_for_ever_is_told_at_once(serve: Serve) -> None:
    roost = serve("", '\n[residency]\npinned = ["a"]\n')
    refused = ask(roost, "b")
    assert refused.json()["error"]["code"] == "model_not_resident" and refused.headers["x-should-retry"] == "false"
    assert "a is resident and stays" in refused.json()["error"]["message"] and running(roost) == {"a"}
    assert "a is resident and stays" in roost.cli("load", "b", check=False).stderr


# Who is next.


def test_a_queued_stream_is_told_its_position_and_status_the_models_turn(
    serve: Serve, crowd: ThreadPoolExecutor
) -> None:
    roost = serve("", "\n[gateway]\nheartbeat_s = 0.2\n[queue]\nmax_wait_s = 60\n")
    told: dict[str, list[str]] = {"b": [], "c": []}
    over = threading.Event()

    def listen(model: str) -> None:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{roost.url}/v1/chat/completions", json=body) as response,
        ):
            for line in response.iter_lines():
                if line.startswith(":"):
                    told[model].append(line)
                if over.is_set():
                    return

    with busy(roost, "a"):
        waiting = [crowd.submit(listen, "b")]
        until_sync(lambda: ": roost queued position=1" in told["b"], timeout_s=10)
        waiting.append(crowd.submit(quietly, ask, roost, "b"))
        until_sync(lambda: queued(roost, "b") == 2, timeout_s=10)
        waiting.append(crowd.submit(listen, "c"))
        # Two requests for a model whose turn is before it.
        until_sync(lambda: ": roost queued position=3" in told["c"], timeout_s=10)
        assert (worker(roost, "b")["place"], worker(roost, "c")["place"]) == (1, 2)
        text = roost.cli("status").stdout
        assert "2 queued for" in text and "(next to be loaded)" in text
        assert "(number 2 in line to be loaded)" in text
        over.set()
    for one in waiting:
        one.result()


def test_a_batch_lets_interactive_requests_go_first(serve: Serve, crowd: ThreadPoolExecutor) -> None:
    roost = serve("", "\n[queue]\nmax_wait_s = 60\n")
    order: list[str] = []

    def send(model: str, **headers: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(f"{roost.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200
        order.append(model)

    with busy(roost, "a"):
        waiting = [crowd.submit(send, "b", **{"x-roost-class": "batch"})]
        until_sync(lambda: queued(roost, "b") == 1, timeout_s=10)
        waiting.append(crowd.submit(send, "c"))
        until_sync(lambda: queued(roost, "c") == 1, timeout_s=10)
    for one in waiting:
        one.result()
    assert order == ["c", "b"]


def test_a_model_whose_line_never_ends_lets_the_others_have_their_turn(serve: Serve, crowd: ThreadPoolExecutor) -> None:
    roost = serve("", "\n[queue]\nmax_wait_s = 1\n")
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            quietly(ask, roost, "a", x_stand_in={"tokens": 5, "token_delay_s": 0.05})

    for _ in range(12):
        crowd.submit(go_on)
    try:
        until_sync(lambda: worker(roost, "a")["running"] > 0, timeout_s=10)
        others = [crowd.submit(ask, roost, name) for name in "bc"]
        assert [one.result().status_code for one in others] == [200, 200]
    finally:
        over.set()
    # Each had its turn before a was loaded again.
    assert started(roost)[:3] in (["a", "b", "c"], ["a", "c", "b"])


# Selectors and profiles.

SELECTORS = """
selectors:
  any: {strategy: warm, targets: [c, b]}
  shared: {strategy: spillover, targets: [a, b], settings: {spillover: 2}}
groups: {two: {swap: false, members: [a, b]}}
"""


def answered(response: httpx.Response) -> tuple[str, str]:
    assert response.status_code == 200, response.text
    return response.headers["x-roost-model"], response.headers["x-roost-route"]


def test_a_warm_selector_takes_what_is_loaded_and_starts_its_first_target_else(serve: Serve) -> None:
    roost = serve(SELECTORS)
    assert answered(ask(roost, "b")) == ("b", "loaded")
    found = ask(roost, "any")
    assert answered(found) == ("b", "resident-warm") and found.json()["model"] == "b"
    assert httpx.post(f"{roost.url}/api/models/unload", timeout=30).status_code == 200
    assert answered(ask(roost, "any")) == ("c", "loaded-warm")
    text = roost.cli("explain", "any").stdout
    assert "is a selector" in text and "now it means c" in text
    (row,) = [row for row in roost.get("/v1/models")["data"] if row["id"] == "any"]
    assert row["roost"]["resolves_to"] == "c" and row["meta"]["llamaswap"]["type"] == "selector"


def test_spillover_starts_the_next_target_once_the_first_is_full(serve: Serve) -> None:
    roost = serve(SELECTORS)
    with busy(roost, "shared"):
        assert answered(ask(roost, "shared"))[0] == "a"
        with busy(roost, "shared"):
            assert answered(ask(roost, "shared")) == ("b", "loaded-spillover")
            assert running(roost) == {"a", "b"}


def test_a_profile_gives_names_another_meaning_until_it_is_left(serve: Serve) -> None:
    profiles = "profiles: {work: {description: W, pins: {code: b, off: ~}}, play: {pins: {code: c}}}"
    roost = serve(f"{profiles}\nhooks: {{on_startup: {{profile: work}}}}")
    assert answered(ask(roost, "code")) == ("b", "swapped-profile")
    assert ask(roost, "off").status_code == 404
    assert roost.get("/api/profiles") == {
        "active": "work",
        "profiles": [
            {"id": "play", "description": "", "pins": {"code": "c"}},
            {"id": "work", "description": "W", "pins": {"code": "b", "off": ""}},
        ],
    }
    # As a script sends it, without a type.
    chosen = httpx.put(f"{roost.url}/api/profiles/active", content=b'{"name": "play"}')
    assert (chosen.status_code, chosen.json()) == (200, {"active": "play"})
    assert answered(ask(roost, "code"))[0] == "c"
    assert httpx.put(f"{roost.url}/api/profiles/active", json={"name": None}).json() == {"active": None}
    assert ask(roost, "code").status_code == 404
    assert httpx.put(f"{roost.url}/api/profiles/active", json={"name": "x"}).status_code == 404


# A whole file.


def test_a_file_with_everything_is_imported_with_a_warning_for_each_key_without_a_place_and_serves(
    roost: Roost,
) -> None:
    roost.environ |= {"STAND_IN": STAND_IN, "SECOND_KEY": "sk-second", "CLOUD_KEY": "sk-cloud"}
    done = roost.cli("import", "llama-swap", str(FIXTURE))
    for place in (
        *("logTimeFormat", "logToStdout", "metricsMaxInMemory", "captureBuffer", "store", "ui", "performance"),
        *("startPort", "sendLoadingState", "includeAliasesInList", "unloadTimeout", "upstream", "tailcat"),
        *(
            "models.big-70b.metadata",
            "models.big-70b.timeouts",
            "models.big-70b.compat",
            "models.big-70b.unloadTimeout",
        ),
        *("models.no-port.proxy", "hooks.on_startup.preload", "profiles.work.pins.coder"),
        *(
            "selectors.best-loaded.targets",
            "selectors.best-loaded.metadata",
            "peers.hidden.proxy",
            "peers.cloud.timeouts",
        ),
        *("routing.router.settings.groups.together.members", "routing.router.settings.matrix"),
        *("routing.scheduler.settings.fifo.priority.nobody", "peers.cloud.models", "peers.elsewhere.models"),
    ):
        assert f"warning: {place}: " in done.stderr, place
    assert "sk-" not in (roost.home / "roost.toml").read_text()
    # Nobody answers where the peers should be.
    path = roost.home / "roost.toml"
    path.write_text(path.read_text() + "\n[engines.external]\nload_deadline_s = 1\n")
    roost.start()
    assert "model=coder" in roost.ready_line
    key = {"Authorization": "Bearer sk-second"}

    def chat(model: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "top_k": 3}
        return httpx.post(f"{roost.url}/v1/chat/completions", json=body, headers=key, timeout=60)

    def loaded() -> set[str]:
        found = httpx.get(f"{roost.url}/running", headers=key).json()["running"]
        return {row["model"] for row in found if row["state"] == "ready"}

    until_sync(lambda: loaded() == {"coder", "org/always-on"}, timeout_s=20)
    assert chat("writer").status_code == 200 and loaded() == {"coder", "writer", "org/always-on"}
    assert answered(chat("llm-code"))[0] == "coder" and answered(chat("llm-any"))[0] == "coder"
    assert answered(chat("shared")) == ("coder", "resident-spillover")
    assert answered(chat("llm-plan")) == ("big-70b", "swapped-profile")
    assert loaded() == {"big-70b", "org/always-on"}
    assert chat("image-gen").status_code == 404
    sent = httpx.get(f"{roost.url}/upstream/big/stand-in/requests", headers=key).json()["requests"][-1]
    assert _body(sent) == {
        "model": "vendor/big-70B",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "chat_template_kwargs": {"reasoning_effort": "high"},
    }
    refused = chat("far-model")
    assert refused.status_code == 404 and chat("cloud/far-model").status_code in (502, 503)
    listed = {row["id"] for row in httpx.get(f"{roost.url}/v1/models", headers=key).json()["data"]}
    assert {"coder", "llm-code", "best-loaded", "elsewhere/far-model", "vendor/far-8b"} <= listed
    assert not {"writer", "image-gen"} & listed
    assert httpx.get(f"{roost.url}/running").status_code == 401


def _body(seen: dict[str, Any]) -> dict[str, Any]:
    import base64

    body: dict[str, Any] = json.loads(base64.b64decode(seen["body_base64"]))
    return body


def test_a_hangup_signal_reads_the_files_again_and_ends_nothing(serve: Serve) -> None:
    import os
    import signal

    roost = serve("")
    assert roost.process
    path = roost.home / "roost.toml"
    with busy(roost, "a") as lines:
        path.write_text(path.read_text().replace("[models.b]", '[models.b]\naliases = ["beta"]'))
        os.kill(roost.process.pid, signal.SIGHUP)
        until_sync(lambda: httpx.get(f"{roost.url}/v1/models/beta").status_code == 200, timeout_s=5)
        assert next(lines) and roost.process.poll() is None
