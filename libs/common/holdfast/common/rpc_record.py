"""What is measured, traced and logged of each call of one RPC, be it a call of its own or an item of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from holdfast.common.rpc_faults import LOUD
from holdfast.common.status import CODES

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from prometheus_client import Counter

    from holdfast.common.errors import DomainError
    from holdfast.common.metrics import Metrics
    from holdfast.common.rpc_call import Call
    from holdfast.common.telemetry import Telemetry

logger = structlog.get_logger(__name__)


class RpcRecord:
    """The record of one RPC, `<full name of the service>/<RPC>`."""

    def __init__(self, full_name: str, *, metrics: Metrics, telemetry: Telemetry) -> None:
        self.full_name = full_name
        self._metrics = metrics
        self._telemetry = telemetry
        self._duration = metrics.rpc_duration_seconds.labels(full_name)
        self._ok = metrics.rpc_requests_total.labels(full_name, grpc.StatusCode.OK.name)
        self._counters: dict[grpc.StatusCode, Counter] = {}

    def begin(self, traceparent: str | None) -> tuple[Context, Span | None]:
        """Give the context to work in: the caller's trace, or a new one; with a span only if it is recorded."""
        parent = self._telemetry.server_context(traceparent)
        span = self._telemetry.begin(self.full_name, kind=SpanKind.SERVER, context=parent)
        return (parent if span is None else trace.set_span_in_context(span, parent)), span

    def end(
        self, span: Span | None, *, call: Call | None, error: DomainError | None, seconds: float, quiet: bool = False
    ) -> None:
        """Note an answer. `call` is None if the handler was not reached; `quiet` logs only what is a fault."""
        self._duration.observe(seconds)
        if error is None:
            self._ok.inc()
        else:
            self._refused(error, call=call, seconds=seconds, quiet=quiet)
        if span is not None:
            self._end(span, call, error)

    def overloaded(self, error: DomainError) -> None:
        """Note one call too many; without a log line, there may be very many."""
        self._metrics.rpc_refused_total.labels(error.reason).inc()
        self._count(CODES[error.reason])

    def _refused(self, error: DomainError, *, call: Call | None, seconds: float, quiet: bool) -> None:
        code = CODES[error.reason]
        self._count(code)
        if call is None:
            self._metrics.rpc_refused_total.labels(error.reason).inc()
        if quiet and code not in LOUD:
            return
        log = logger.warning if code in LOUD else logger.info
        log(
            "rpc refused",
            rpc=self.full_name,
            code=code.name,
            reason=error.reason.value,
            cause=error.message,
            peer=call.peer if call is not None else None,
            subject=call.principal.subject if call is not None else None,
            duration_ms=round(seconds * 1000, 1),
        )

    def _count(self, code: grpc.StatusCode) -> None:
        counter = self._counters.get(code)
        if counter is None:
            counter = self._counters[code] = self._metrics.rpc_requests_total.labels(self.full_name, code.name)
        counter.inc()

    def _end(self, span: Span, call: Call | None, error: DomainError | None) -> None:
        service, _, method = self.full_name.partition("/")
        code = grpc.StatusCode.OK if error is None else CODES[error.reason]
        attributes: dict[str, str | int] = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.grpc.status_code": int(code.value[0]),
        }
        if call is not None:
            attributes["holdfast.peer"] = call.peer or ""
            attributes["holdfast.organization_id"] = call.organization_id
            attributes["holdfast.subject"] = call.principal.subject
        if error is not None:
            attributes["holdfast.reason"] = error.reason.value
            if code in LOUD:  # A refusal is no fault of the server.
                span.set_status(Status(StatusCode.ERROR, error.reason.value))
        span.set_attributes(attributes)
        span.end()
