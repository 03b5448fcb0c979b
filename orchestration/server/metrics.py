"""The server's metrics for Prometheus. docs/server.md lists them."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.requests = self._counter("requests", "Answered requests", "route", "status")
        self.seconds = Histogram(
            "isotrope_request_seconds",
            "Time from the request's arrival to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.refused = self._counter(
            "refused", "Requests refused before any work: queue, rate, size, key", "reason"
        )
        self.inside = self._gauge("requests_inside", "Requests that are answered or wait")
        self.waiting = self._gauge("requests_waiting", "Requests that wait for a thread")
        self.reloads = self._counter("reloads", "Changes to a new release: done, failed", "outcome")
        self.release = self._gauge("release", "The number of the release that is served")
        self.release_created = self._gauge(
            "release_created_timestamp_seconds", "When the release was published"
        )
        self.release_rows = self._gauge(
            "release_rows", "Rows of the release's galleries", "modality"
        )
        self._batches = self._counter("encode_batches", "Batches of inputs that were encoded")
        self._inputs = self._counter("encoded_inputs", "Inputs that were encoded")

    def count_batch(self, inputs: int) -> None:
        """Count a batch of inputs that is encoded."""
        self._batches.inc()
        self._inputs.inc(inputs)

    def text(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"isotrope_{name}", help_, labels, registry=self._registry)

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"isotrope_{name}", help_, labels, registry=self._registry)
