"""What a service measures, in one Prometheus registry of its own.

Names start with `holdfast_`; durations are in seconds. An organization is never a label: their number has no bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.common.operations_server import OperationsServer

RPC_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAIT_BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
BATCH_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 150, 200)
LAG_BUCKETS_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one service's process; made once in its composition root and passed on."""

    def __init__(self, service: str) -> None:
        self.service = service
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.info = Gauge("holdfast_service_info", "1, by the service's name", ["service"], registry=registry)
        self.info.labels(service).set(1)

        self.rpc_requests_total = Counter(
            "holdfast_rpc_requests", "RPCs answered, by RPC and status code", ["rpc", "code"], registry=registry
        )
        self.rpc_duration_seconds = Histogram(
            "holdfast_rpc_duration_seconds",
            "Time from the call's arrival to its answer",
            ["rpc"],
            buckets=RPC_BUCKETS_SECONDS,
            registry=registry,
        )
        self.rpc_in_flight = Gauge("holdfast_rpc_in_flight", "RPCs being worked on", registry=registry)
        self.rpc_streams_open = Gauge(
            "holdfast_rpc_streams_open", "RPCs that are answering a stream", ["rpc"], registry=registry
        )
        self.rpc_refused_total = Counter(
            "holdfast_rpc_refused", "RPCs refused before their handler, by reason", ["reason"], registry=registry
        )
        self.client_requests_total = Counter(
            "holdfast_client_requests", "Calls to other services, by peer and status code", ["peer", "code"],
            registry=registry,
        )  # fmt: skip
        self.client_duration_seconds = Histogram(
            "holdfast_client_duration_seconds",
            "Time that calls to other services took",
            ["peer"],
            buckets=RPC_BUCKETS_SECONDS,
            registry=registry,
        )
        self.client_retries_total = Counter(
            "holdfast_client_retries", "Calls to other services sent again", ["peer"], registry=registry
        )
        self.breaker_open = Gauge(
            "holdfast_breaker_open",
            "1 while calls to a peer fail without being sent",
            ["peer"],
            registry=registry,
        )

        self.db_pool_size = Gauge("holdfast_db_pool_size", "Connections that the pool has", registry=registry)
        self.db_pool_in_use = Gauge("holdfast_db_pool_in_use", "Connections in use", registry=registry)
        self.db_pool_waiting = Gauge("holdfast_db_pool_waiting", "Callers waiting for a connection", registry=registry)
        self.db_pool_wait_seconds = Histogram(
            "holdfast_db_pool_wait_seconds", "Waiting for a connection", buckets=WAIT_BUCKETS_SECONDS, registry=registry
        )
        self.db_transactions_total = Counter(
            "holdfast_db_transactions", "Transactions, by outcome", ["outcome"], registry=registry
        )
        self.db_retries_total = Counter(
            "holdfast_db_retries", "Transactions run again, by cause", ["cause"], registry=registry
        )

        self.outbox_pending = Gauge("holdfast_outbox_pending", "Messages not published yet", registry=registry)
        self.outbox_lag_seconds = Gauge(
            "holdfast_outbox_lag_seconds", "Age of the oldest message not published yet", registry=registry
        )
        self.outbox_published_total = Counter("holdfast_outbox_published", "Messages published", registry=registry)
        self.consumer_messages_total = Counter(
            "holdfast_consumer_messages",
            "Messages received, by consumer and outcome (applied, duplicate, gap, failed, dead)",
            ["consumer", "outcome"],
            registry=registry,
        )
        self.consumer_lag_seconds = Gauge(
            "holdfast_consumer_lag_seconds", "Age of the message applied last, when it was", ["consumer"],
            registry=registry,
        )  # fmt: skip
        self.consumer_duration_seconds = Histogram(
            "holdfast_consumer_duration_seconds",
            "Time that handling a message took, or a run of messages that were handled together",
            ["consumer"],
            buckets=RPC_BUCKETS_SECONDS,
            registry=registry,
        )

        self.availability_readings_total = Counter(
            "holdfast_availability_readings",
            "Readings of the tables for availability, by what was read (journal, everything)",
            ["what"],
            registry=registry,
        )
        self.seat_map_readings_total = Counter(
            "holdfast_seat_map_readings",
            "Readings of the tables for seat maps, by what was read (journal, everything)",
            ["what"],
            registry=registry,
        )
        self.holds_placed_total = Counter("holdfast_holds_placed", "Holds placed", registry=registry)
        self.holds_confirmed_total = Counter("holdfast_holds_confirmed", "Holds confirmed", registry=registry)
        self.holds_released_total = Counter("holdfast_holds_released", "Holds released", registry=registry)
        self.holds_expired_total = Counter("holdfast_holds_expired", "Holds expired", registry=registry)
        self.holds_extended_total = Counter("holdfast_holds_extended", "Holds extended", registry=registry)
        self.holds_changed_total = Counter("holdfast_holds_changed", "Holds whose lines changed", registry=registry)
        self.payments_begun_total = Counter("holdfast_payments_begun", "Holds whose payment began", registry=registry)
        self.holds_active = Gauge("holdfast_holds_active", "Holds that are active or pending", registry=registry)

        self.seatings_resumed_total = Counter(
            "holdfast_seatings_resumed",
            "Seatings with prices that were found left and taken up, by what came of it (made, refused, waits, gone)",
            ["outcome"],
            registry=registry,
        )

        self.engine_waiting = Gauge("holdfast_engine_waiting", "Requests that wait for a batch", registry=registry)
        self.engine_batch_size = Histogram(
            "holdfast_engine_batch_size", "Requests that a batch decided", buckets=BATCH_BUCKETS, registry=registry
        )
        self.engine_queue_age_seconds = Histogram(
            "holdfast_engine_queue_age_seconds",
            "How long requests waited for their batch",
            buckets=WAIT_BUCKETS_SECONDS,
            registry=registry,
        )
        self.engine_batch_seconds = Histogram(
            "holdfast_engine_batch_seconds",
            "Time of a batch, by stage (read, decide, commit)",
            ["stage"],
            buckets=RPC_BUCKETS_SECONDS,
            registry=registry,
        )
        self.engine_refusals_total = Counter(
            "holdfast_engine_refusals", "Requests that the engine refused, by reason", ["reason"], registry=registry
        )
        self.engine_splits_total = Counter(
            "holdfast_engine_splits", "Batches split to find the item that the database refuses", registry=registry
        )

        self.event_loop_lag_seconds = Histogram(
            "holdfast_event_loop_lag_seconds",
            "How late the event loop wakes a timer",
            buckets=LAG_BUCKETS_SECONDS,
            registry=registry,
        )
        self.task_restarts_total = Counter(
            "holdfast_task_restarts", "Background tasks that failed and were started again", ["task"], registry=registry
        )

    async def serve(self, listen: str, *, ready: Callable[[], bool]) -> OperationsServer:
        """Serve /metrics, /health/live and /health/ready on host:port; stop what this gives."""
        # Imported here: whoever only counts needs no server.
        from holdfast.common.operations_server import OperationsServer  # noqa: PLC0415 - see above

        server = OperationsServer(metrics=self, listen=listen, ready=ready)
        await server.start()
        return server
