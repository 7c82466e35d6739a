"""A receiver of OpenTelemetry traces over OTLP/gRPC, to assert on what the mesh really exports."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

SPANS_MAX = 100_000


@dataclass(frozen=True)
class ReceivedSpan:
    """One exported span: ids in lower-case hexadecimal, `service` is the resource's service.name."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_span_id: str
    kind: int
    attributes: dict[str, Any]


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span it is sent, by trace, up to a limit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces: dict[str, list[ReceivedSpan]] = defaultdict(list)
        self._count = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated without types
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=1).wait(5)

    @property
    def endpoint(self) -> str:
        """Where to send traces to: host and port."""
        return f"127.0.0.1:{self.port}"

    def Export(  # noqa: N802 — the name is OTLP's
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take over a batch of spans."""
        del context
        with self._lock:
            for resource_spans in request.resource_spans:
                service = next(
                    (a.value.string_value for a in resource_spans.resource.attributes if a.key == "service.name"), ""
                )
                for scope_spans in resource_spans.scope_spans:
                    for span in scope_spans.spans:
                        if self._count >= SPANS_MAX:
                            break
                        self._count += 1
                        received = ReceivedSpan(
                            service=service,
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_span_id=span.parent_span_id.hex(),
                            kind=span.kind,
                            attributes={a.key: a.value.string_value or a.value.int_value for a in span.attributes},
                        )
                        self._traces[received.trace_id].append(received)
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of a trace that arrived so far."""
        with self._lock:
            return list(self._traces.get(trace_id, ()))

    def wait(
        self, trace_id: str, complete: Callable[[list[ReceivedSpan]], bool], *, seconds: float
    ) -> list[ReceivedSpan]:
        """Wait until the spans of a trace satisfy a condition; return them, complete or not, when time is over."""
        deadline = time.monotonic() + seconds
        while True:
            spans = self.trace(trace_id)
            if complete(spans) or time.monotonic() >= deadline:
                return spans
            time.sleep(0.1)
