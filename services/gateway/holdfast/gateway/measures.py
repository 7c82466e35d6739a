"""What the gateway measures besides what every service does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.common.metrics import Metrics

BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 150, 200)
BUCKETS_SECONDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Measures:
    """Requests by route template, never by path: paths have no bound."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._requests = Counter(
            "holdfast_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._duration = Histogram(
            "holdfast_http_duration_seconds",
            "Time from a request's head to its answer",
            ["method", "route"],
            buckets=BUCKETS_SECONDS,
            registry=registry,
        )
        self._local = Gauge(
            "holdfast_rate_limits_local",
            "1 while rate limits are counted in this process only",
            registry=registry,
        )
        self.batch_items = Histogram(
            "holdfast_lane_batch_items",
            "Calls about holds that left together",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._lanes_waiting = Gauge(
            "holdfast_lane_waiting", "Calls about holds waiting for the next batch", registry=registry
        )
        self._lanes_calls = Gauge("holdfast_lane_calls", "Batches of calls about holds on their way", registry=registry)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Note an answer. `method` and `route` are the contract's, so the labels are bounded."""
        key = (method, route, status)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (
                self._requests.labels(method, route, str(status)),
                self._duration.labels(method, route),
            )
        found[0].inc()
        found[1].observe(seconds)

    def lanes(self, *, waiting: Callable[[], int], calls: Callable[[], int]) -> None:
        """Take over where to look for what is in the lanes."""
        self._lanes_waiting.set_function(lambda: float(waiting()))
        self._lanes_calls.set_function(lambda: float(calls()))

    def limits_local(self, local: bool) -> None:  # noqa: FBT001 - the one thing that it says
        """Note where rate limits are counted."""
        self._local.set(1 if local else 0)
