"""Requests that leave while they wait: ten thousand of them, and the daemon is what it was before."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Callable

from roost.testing.wait import until, until_sync
from tests.acceptance.conftest import Roost
from tests.acceptance.test_faults import streaming
from tests.soak.daemon import hooked, settled_footprint
from tests.soak.record import Footprint

MakeRoost = Callable[..., Roost]
#: Traffic to the resident keeps a swap waiting for as long as the test lasts.
SETTINGS = (
    '[rotation]\npolicy = "always"\n[queue]\nmax_wait_s = 600\nmax_requests = 1000\n[engine]\nmax_sequences = 1\n'
)
WAVE, WAVES = 250, 40
MB = 2**20


def request(port: int, model: str, number: int) -> bytes:
    """Every other one a stream."""
    body = json.dumps({"model": model, "stream": number % 4 < 2, "messages": [{"role": "user", "content": "hi"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def wave(roost: Roost) -> None:
    """All of a wave wait, half for the busy model, half for the one that is not loaded; then all leave."""
    writers = []
    for number in range(WAVE):
        _, writer = await asyncio.open_connection("127.0.0.1", roost.port)
        writer.write(request(roost.port, "ab"[number % 2], number))
        writers.append(writer)
    await until(lambda: waiting(roost) == {"a": WAVE // 2, "b": WAVE // 2}, timeout_s=30, what="all of them wait")
    for number, writer in enumerate(writers):
        if number % 3:
            writer.close()
        else:
            writer.transport.abort()
    await until(lambda: waiting(roost) == {}, timeout_s=10, what="nobody waits")


def waiting(roost: Roost) -> dict[str, float]:
    """Waiting requests by model, as a scrape sees them: the cheapest way to ask."""
    queued = {name: value for name, value in counted(roost).items() if "queued" in name and value}
    return {re.findall('model="([^"]*)"', name)[0]: value for name, value in queued.items()}


async def waves(roost: Roost) -> tuple[Footprint, Footprint]:
    """What the daemon holds after the first wave and after the last one."""
    assert roost.process
    await wave(roost)
    first = await settled_footprint(roost.process.pid, roost.home)
    for _ in range(WAVES - 1):
        await wave(roost)
    return first, await settled_footprint(roost.process.pid, roost.home)


def test_ten_thousand_queued_and_cancelled_requests_leave_no_trace(stand_in: MakeRoost, roost: Roost) -> None:
    roost.environ |= hooked(roost.home)
    stand_in(SETTINGS).start()
    pid = roost.worker("a")["pid"]
    with streaming(roost, "a", tokens=10_000, token_delay_s=0.2) as lines:
        next(lines)
        first, last = asyncio.run(waves(roost))
    assert abs((last.tasks or 0) - (first.tasks or 0)) <= 2
    assert last.descriptors <= first.descriptors + 2
    # What grows with requests is bounded: the last thousand rows of the activity, of which the first wave made a few.
    assert last.resident_bytes - first.resident_bytes < 10 * MB, (
        f"{(last.resident_bytes - first.resident_bytes) / MB} MiB"
    )
    until_sync(lambda: roost.worker("a")["running"] == 0, timeout_s=5, what="the slot is free")
    assert (roost.worker("a")["pid"], roost.worker("a")["queued"]) == (pid, 0)
    metrics = counted(roost)
    assert metrics and not any(metrics.values())
    journal = roost.journal()
    assert not [line for line in journal if line["event"] == "worker" and line["model"] == "b"], "b never started"
    assert not [line for line in journal if line["event"] == "defect"]
    left = [line for line in journal if line["event"] == "request" and line["status"] == 499]
    assert len(left) == len({line["id"] for line in left}) == WAVE * WAVES + 1


def counted(roost: Roost) -> dict[str, float]:
    """Running and waiting requests, as a scrape sees them."""
    with urllib.request.urlopen(f"{roost.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (
        line.rpartition(" ") for line in lines if line.startswith(("roost_worker_running{", "roost_worker_queued{"))
    )
    return {name: float(value) for name, _, value in found}
