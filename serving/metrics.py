"""Prometheus metrics of one app, by route template: a path with ids in it would be a series of its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "matinee_http_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "matinee_http_request_seconds",
            "Seconds until the last byte of the answer",
            ("route",),
            registry=self.registry,
            buckets=_BUCKETS,
        )
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
        # Looking a child up by its labels costs more than counting.
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def model_info(self, name: str, version: str, snapshot_id: str) -> None:
        """Name the model that serves from now on."""
        self._model.clear()
        self._model.labels(name, version, snapshot_id).set(1)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (self._requests.labels(method, route, str(status)), self._seconds.labels(route))
        known[0].inc()
        known[1].observe(seconds)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
