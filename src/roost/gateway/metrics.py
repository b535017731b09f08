"""Counters of the gateway in Prometheus' format, in a registry of their own. A scrape only reads values."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from roost.store.types import ActivityRow
from roost.workers.types import WorkerView

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Requests by route, model and outcome; times to the first byte and in all; tokens; workers as they stand."""

    def __init__(self, views: Callable[[], tuple[WorkerView, ...]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        names = ("route", "model", "status")
        self._requests = Counter(
            "roost_requests", "Requests answered, 499 for a client that left.", names, registry=self.registry
        )
        self._first_byte = Histogram(
            "roost_time_to_first_byte_seconds",
            "From arrival to the first byte of the answer's body.",
            ("route", "model"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._duration = Histogram(
            "roost_request_duration_seconds",
            "From arrival to the end.",
            ("route", "model"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._tokens = Counter(
            "roost_tokens", "Tokens as engines counted them.", ("model", "kind"), registry=self.registry
        )
        self.registry.register(_Workers(views))
        self._children: dict[tuple[str, str, int], Counter] = {}
        self._times: dict[tuple[str, str], tuple[Histogram, Histogram]] = {}

    def observe(self, row: ActivityRow) -> None:
        """Count one finished request."""
        model = row.resolved or ""
        self._request_counter(row.route, model, row.status).inc()
        first_byte, duration = self._histograms(row.route, model)
        duration.observe(row.duration_s)
        if row.ttft_s is not None:
            first_byte.observe(row.ttft_s)
        for kind, count in (
            ("prompt", row.prompt_tokens),
            ("completion", row.completion_tokens),
            ("cached", row.cached_tokens),
        ):
            if count:
                self._tokens.labels(model, kind).inc(count)

    def exposition(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self.registry)

    def _request_counter(self, route: str, model: str, status: int) -> Counter:
        key = (route, model, status)
        if key not in self._children:
            self._children[key] = self._requests.labels(route, model, str(status))
        return self._children[key]

    def _histograms(self, route: str, model: str) -> tuple[Histogram, Histogram]:
        key = (route, model)
        if key not in self._times:
            self._times[key] = (self._first_byte.labels(*key), self._duration.labels(*key))
        return self._times[key]


class _Workers(Collector):
    """Gauges read from the pool at each scrape; nothing is woken or asked."""

    def __init__(self, views: Callable[[], tuple[WorkerView, ...]]) -> None:
        self._views = views

    def collect(self) -> Iterator[Metric]:
        views = self._views()
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
            yield _family(name, text, views, read)


def _family(
    name: str, text: str, views: tuple[WorkerView, ...], read: Callable[[WorkerView], float | None]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("model", "engine"))
    for view in views:
        if (value := read(view)) is not None:
            family.add_metric((view.model_id, view.engine), value)
    return family
