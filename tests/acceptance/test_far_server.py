"""A model served by a server that roost does not run, which is away when roost starts and goes away again."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx2 as httpx

from roost.testing.wait import until_sync
from tests.acceptance.conftest import Roost
from tests.helpers import kill_group, stand_in_process

#: `engine.load_deadline_s` is 120: whoever waits for that has waited for nothing.
SOON_S = 6.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(roost: Roost, path: str = "/v1/chat/completions") -> httpx.Response:
    return httpx.post(roost.url + path, json={"model": "far", "messages": []}, timeout=20)


def test_it_is_said_in_seconds_shown_with_its_mend_and_used_again_once_it_is_back(roost: Roost) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/v1"
    roost.settings(f'[models.far.external]\nurl = "{address}"\n')
    roost.registry(default="far")
    roost.launch()
    for path in ("/v1/chat/completions", "/upstream/far/v1/models"):
        before = time.monotonic()
        response = ask(roost, path)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "node_unreachable")
        assert address in response.text and "retry-after" in response.headers
        assert time.monotonic() - before < SOON_S
    problems = [problem for problem in roost.status()["problems"] if address in problem["text"]]
    assert problems and all("start that server" in problem["mend"] for problem in problems)

    lines: list[str] = []
    assert roost.process and roost.process.stdout
    threading.Thread(target=lambda: lines.append(roost.process.stdout.readline()), daemon=True).start()
    with stand_in_process("--port", str(port), "--model", "far") as server:
        until_sync(lambda: ask(roost).status_code == 200, timeout_s=15)
        until_sync(lambda: lines, timeout_s=5, what="the ready line")
        assert lines[0].startswith("roost ready ") and roost.status()["problems"] == []
        kill_group(server)
        response = ask(roost, "/upstream/far/v1/models")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "node_unreachable")
    with stand_in_process("--port", str(port), "--model", "far"):
        until_sync(lambda: ask(roost).status_code == 200, timeout_s=15)
    rows = json.dumps(roost.get("/roost/v1/activity?limit=50"))
    assert "node_unreachable" in rows and "internal_error" not in rows
