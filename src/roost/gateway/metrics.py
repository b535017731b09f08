"""Counters of the gateway in Prometheus' format, in a registry of their own. A scrape only reads values.

Counting is plain additions: it stands in the way of each request, the families are built when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from roost.store.types import ActivityRow
from roost.workers.types import Pool, WorkerView

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_UNKNOWN = "unknown_tool"


@dataclass
class _Spread:
    """A histogram: how many values fell under each bound (the last one: over all), and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        bounds = [*(str(bound) for bound in _SECONDS), "+Inf"]
        return [(bound, sum(self.counts[: index + 1])) for index, bound in enumerate(bounds)]


class Metrics:
    """Requests by route, model and outcome; times to the first byte and in all; tokens; workers as they stand."""

    def __init__(self, pool: Pool) -> None:
        self._requests: Tally[tuple[str, str, str]] = Tally()
        self._tokens: Tally[tuple[str, str]] = Tally()
        self._unfinished: Tally[tuple[str]] = Tally()
        self._tools: Tally[tuple[str, str, str, str]] = Tally()
        self._reasks: Tally[tuple[str, str]] = Tally()
        self._first_byte: dict[tuple[str, str], _Spread] = defaultdict(_Spread)
        self._duration: dict[tuple[str, str], _Spread] = defaultdict(_Spread)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Reader(self._families, pool))

    def observe(self, row: ActivityRow) -> None:
        """Count one finished request."""
        model = row.resolved or ""
        # A path that was made up by a client must not make a time series.
        route = row.route if not row.route.startswith("/upstream/") else "/upstream"
        self._requests[route, model, str(row.status)] += 1
        self._duration[route, model].add(row.duration_s)
        if row.ttft_s is not None:
            self._first_byte[route, model].add(row.ttft_s)
        self._tokens[model, "prompt"] += row.prompt_tokens or 0
        self._tokens[model, "completion"] += row.completion_tokens or 0
        self._tokens[model, "cached"] += row.cached_tokens or 0

    def observe_tools(self, row: ActivityRow, label: str) -> None:
        """Count what was done about the tool calls of one answer."""
        outcome, *parts = label.split(";")
        said = dict(part.split("=", 1) for part in parts)
        model = row.resolved or ""
        # A call under a name that was not sent was made, and is no success.
        unknown = _UNKNOWN if _UNKNOWN in said.get("steps", "").split("+") else ""
        self._tools[model, outcome, said.get("tier", ""), said.get("reason", unknown)] += 1
        if outcome == "reask" or "reask" in said:
            self._reasks[model, "answered" if outcome == "reask" else "failed"] += 1

    def observe_unfinished(self, row: ActivityRow) -> None:
        """Count an answer that was all thought."""
        self._unfinished[(row.resolved or "",)] += 1

    def exposition(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self._registry)

    def _families(self) -> Iterator[Metric]:
        yield _counter(
            "roost_requests", "Requests, 499 for a client that left.", ("route", "model", "status"), self._requests
        )
        yield _counter("roost_tokens", "Tokens as engines counted them.", ("model", "kind"), self._tokens)
        yield _counter(
            "roost_tool_answers",
            "Answers to requests with tools, and what was done about their calls.",
            ("model", "outcome", "tier", "reason"),
            self._tools,
        )
        yield _counter(
            "roost_tool_reasks",
            "Answers that were asked for a second time for their calls, and whether that gave a better one.",
            ("model", "outcome"),
            self._reasks,
        )
        yield _counter(
            "roost_unfinished_thoughts",
            "Answers that reached their token limit while the model was still thinking.",
            ("model",),
            self._unfinished,
        )
        yield _histogram(
            "roost_time_to_first_byte_seconds", "From arrival to the first byte of the answer's body.", self._first_byte
        )
        yield _histogram("roost_request_duration_seconds", "From arrival to the end.", self._duration)


def _counter(name: str, text: str, labels: tuple[str, ...], tally: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in sorted(tally.items()):
        family.add_metric(key, count)
    return family


def _histogram(name: str, text: str, spreads: dict[tuple[str, str], _Spread]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=("route", "model"))
    for key, spread in sorted(spreads.items()):
        family.add_metric(key, buckets=spread.buckets(), sum_value=spread.total_s)
    return family


class _Reader(Collector):
    """Reads the counts and the pool at each scrape; nothing is woken or asked."""

    def __init__(self, families: Callable[[], Iterator[Metric]], pool: Pool) -> None:
        self._families = families
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        yield from self._families()
        views = self._pool.views()
        states = GaugeMetricFamily("roost_workers", "Workers by state.", labels=("state",))
        for state, count in sorted(Tally(view.state for view in views).items()):
            states.add_metric((state,), count)
        yield states
        gauges: tuple[tuple[str, str, Callable[[WorkerView], float | None]], ...] = (
            ("roost_worker_running", "Requests that a worker is generating for.", lambda view: view.running),
            ("roost_worker_queued", "Requests that wait for a worker.", lambda view: view.queued),
            ("roost_worker_restarts", "Restarts of a worker.", lambda view: view.restarts),
            ("roost_worker_resident_bytes", "Memory that a worker holds.", lambda view: view.resident_bytes),
        )
        for name, text, read in gauges:
            yield _gauge(name, text, views, read)
        yield self._spares()

    def _spares(self) -> Metric:
        family = GaugeMetricFamily("roost_spare_resident_bytes", "Memory that a spare holds.", labels=("engine",))
        for spare in self._pool.spares():
            if spare.resident_bytes is not None:
                family.add_metric((spare.engine,), spare.resident_bytes)
        return family


def _gauge(
    name: str, text: str, views: tuple[WorkerView, ...], read: Callable[[WorkerView], float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("model", "engine"))
    for view in views:
        if (value := read(view)) is not None:
            family.add_metric((view.model_id, view.engine), value)
    return family
