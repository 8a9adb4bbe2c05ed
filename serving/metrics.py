"""Prometheus metrics of one app, by route template: a path with ids in it would be a series of its own."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class _Tally:
    """Answers of one (method, route, status): how many ended between every two edges of the buckets, their seconds."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0


class _Answers(Collector):
    """Counts every answer of the one event loop; the library's own counters lock, which costs five times as much."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, int], _Tally] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        tally = self._tallies.get((method, route, status))
        if tally is None:
            tally = self._tallies[method, route, status] = _Tally()
        tally.buckets[bisect_left(_BUCKETS, seconds)] += 1
        tally.seconds += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "matinee_http_requests", "Requests answered", labels=("method", "route", "status")
        )
        lasted = HistogramMetricFamily(
            "matinee_http_request_seconds", "Seconds until the last byte of the answer", labels=("route",)
        )
        routes: dict[str, list[_Tally]] = {}
        for (method, route, status), tally in self._tallies.items():
            requests.add_metric((method, route, str(status)), sum(tally.buckets))
            routes.setdefault(route, []).append(tally)
        for route, tallies in routes.items():
            within = accumulate(map(sum, zip(*(tally.buckets for tally in tallies), strict=True)))
            edges = [(floatToGoString(edge), count) for edge, count in zip((*_BUCKETS, inf), within, strict=True)]
            lasted.add_metric((route,), edges, sum(tally.seconds for tally in tallies))
        yield requests
        yield lasted


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        answers = _Answers()
        self.registry.register(answers)
        self.observe = answers.observe
        self.in_flight = 0
        Gauge("matinee_http_in_flight", "Requests being answered", registry=self.registry).set_function(
            lambda: self.in_flight
        )
        self.events_accepted = Counter(
            "matinee_events_accepted", "Viewer events durably in the event log", registry=self.registry
        )
        self.events_rejected = Counter(
            "matinee_events_rejected", "Viewer events kept as dead letters", ("code",), registry=self.registry
        )
        self.events_late = Counter(
            "matinee_events_late",
            "Viewer events accepted more than an hour after they happened",
            registry=self.registry,
        )
        self.events_of_bots = Counter(
            "matinee_events_of_bots", "Viewer events accepted from bots", ("why",), registry=self.registry
        )
        self.events_refused = Counter(
            "matinee_events_over_limit",
            "Viewer events sent back because their client sent too many",
            registry=self.registry,
        )
        self.limits_refused = Counter(
            "matinee_limits_refused", "Attempts refused by rate limits", ("purpose",), registry=self.registry
        )
        self.limits_in_memory = Counter(
            "matinee_limits_in_memory", "Times that Redis could not count for rate limits", registry=self.registry
        )
        self.degraded = Counter(
            "matinee_recommendations_degraded", "Pages made without a model or without Redis", registry=self.registry
        )
        self.pages_stayed = Counter(
            "matinee_recommendations_stayed", "Pages shown again while the next one was made", registry=self.registry
        )
        self.composing = Histogram(
            "matinee_recommendations_composing_seconds",
            "Seconds that making one page took of the process",
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.model_loads = Counter("matinee_model_loads", "Models loaded and checked", registry=self.registry)
        self.model_failures = Counter(
            "matinee_model_failures", "Models that did not load or answered wrongly", registry=self.registry
        )
        self._model = Gauge(
            "matinee_model_info", "The model that serves", ("name", "version", "snapshot_id"), registry=self.registry
        )

    def model_info(self, name: str, version: str, snapshot_id: str) -> None:
        """Name the model that serves from now on."""
        self._model.clear()
        self._model.labels(name, version, snapshot_id).set(1)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
