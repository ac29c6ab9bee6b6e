"""Prometheus metrics of the service, in a registry of their own.

The room tells of its cells as an `Observer`, the HTTP door of its requests.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from c2t.runtime.serve.room.observer import CellOutcome

METRICS_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
TOKEN_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All metrics of one service; an `Observer` of its room. Threads may share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "c2t_requests_total",
            "Requests that were answered; code 499: the client had gone.",
            ("route", "code"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "c2t_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queued = Gauge(
            "c2t_queue_cells", "Cells that no worker has begun.", registry=self.registry
        )
        self._waits = Histogram(
            "c2t_queue_wait_seconds",
            "How long a cell waits for a worker.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "c2t_batch_cells",
            "Cells that are written together.",
            buckets=BATCHES,
            registry=self.registry,
        )
        self._cells = Counter(
            "c2t_cells_total",
            "Cells that left the room: with a text, with an error, or cancelled.",
            ("outcome",),
            registry=self.registry,
        )
        self._first = Histogram(
            "c2t_time_to_first_token_seconds",
            "From a cell's arrival to its first text token.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._token = Histogram(
            "c2t_time_per_output_token_seconds",
            "Time of each further text token of a cell.",
            buckets=TOKEN_SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "c2t_rejected_total",
            "Requests that a limit or the guard refused.",
            ("reason",),
            registry=self.registry,
        )
        self._bundle = Gauge(
            "c2t_bundle_info",
            "The bundle that is served, and the engine that runs it.",
            ("digest", "engine"),
            registry=self.registry,
        )
        for outcome in ("text", "error", "cancelled"):  # so that a rate can be seen from the start
            self._cells.labels(outcome)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Ask this for the length of the queue whenever the metrics are read."""
        self._queued.set_function(waiting)

    def serves(self, digest: str, engine: str) -> None:
        """Say what is served."""
        self._bundle.labels(digest, engine).set(1)

    def request(self, route: str, code: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, str(code)).inc()
        self._durations.labels(route).observe(seconds)

    def cell_waited(self, seconds: float) -> None:
        """See `c2t.runtime.serve.room.observer.Observer`."""
        self._waits.observe(seconds)

    def batch(self, cells: int) -> None:
        """See `c2t.runtime.serve.room.observer.Observer`."""
        self._batches.observe(cells)

    def first_token(self, seconds: float) -> None:
        """See `c2t.runtime.serve.room.observer.Observer`."""
        self._first.observe(seconds)

    def token_time(self, seconds: float) -> None:
        """See `c2t.runtime.serve.room.observer.Observer`."""
        self._token.observe(seconds)

    def cell_done(self, outcome: CellOutcome) -> None:
        """See `c2t.runtime.serve.room.observer.Observer`."""
        self._cells.labels(outcome).inc()

    def rejected(self, reason: str) -> None:
        """See `c2t.runtime.serve.room.observer.Observer`."""
        self._rejected.labels(reason).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
