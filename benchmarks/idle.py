"""What roost costs when nobody asks it anything: memory, CPU, and the memory of 1,000 idle connections."""

from __future__ import annotations

import argparse
import asyncio
import time

import psutil

from benchmarks.arms import arms

_MB = 1e6


def cpu_percent(process: psutil.Process, seconds: float) -> float:
    """CPU time over wall time of one process, in percent of one core."""
    before, started = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return 100 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - started)


async def connections_cost_bytes(process: psutil.Process, host: str, port: int, count: int) -> int:
    """Growth of the resident set while `count` clients are connected, have been answered once and keep still."""
    before = process.memory_info().rss
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET /livez HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == b"200"
        writers.append(writer)
    growth: int = process.memory_info().rss - before
    for writer in writers:
        writer.close()
    return growth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--connections", type=int, default=1000)
    options = parser.parse_args()
    with arms() as ways:
        process = psutil.Process(ways.roost_pid)
        host, _, port = ways.roost.removeprefix("http://").rpartition(":")
        _line("resident set, MB", process.memory_info().rss / _MB, 90)
        _line(f"CPU over {options.seconds:g} s, percent of a core", cpu_percent(process, options.seconds), 0.5)
        grown = asyncio.run(connections_cost_bytes(process, host, int(port), options.connections))
        _line(f"memory of {options.connections} idle connections, MB", grown / _MB, 40)


def _line(name: str, value: float, limit: float) -> None:
    print(f"{'holds' if value <= limit else 'FAILS'}  {name}: {value:.3g}; promised <= {limit:g}")


if __name__ == "__main__":
    main()
