"""The front door: what happens to every call, in one pass.

Deadline, admission, peer, principal, policy, fields, validation, handler, answer or error; span, metrics and log
beside. Everything that does not depend on the call is worked out once, when the RPC is added to its server.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import PRINCIPAL_KEY, peer_name
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.rpc_fields import FieldRules
from holdfast.common.rpc_policy import Gate
from holdfast.common.status import CODES, details_metadata, to_status
from holdfast.common.telemetry import TRACEPARENT, current_trace_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message
    from opentelemetry.trace import Span
    from prometheus_client import Counter

    from holdfast.common.metrics import Metrics
    from holdfast.common.telemetry import Telemetry

    Handler = Callable[[Any, Call], Awaitable[Message]]
    Context = grpc.aio.ServicerContext[Any, Any]

REPLAYED_METADATA: Final = (("holdfast-replayed", "true"),)
OVERLOADED_RETRY_SECONDS: Final = 0.5
UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
NO_REPETITION: Final = (("grpc-retry-pushback-ms", "-1"),)
"""Tells gRPC clients not to repeat by themselves: RetryInfo says when, and what is down is not to be hammered."""
REPLY_MARGIN_SECONDS: Final = 0.01
"""How much earlier than the caller's our deadline is, so that the answer which says so still arrives."""

_LOUD: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
logger = structlog.get_logger(__name__)


class Admission:
    """How many calls a server works on at once; more are refused immediately, they would only wait."""

    __slots__ = ("in_flight", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0


def snake_case(name: str) -> str:
    """Give an RPC's name as its method's: `PlaceHold` → `place_hold`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class RpcMethod:
    """One RPC of a server."""

    def __init__(  # noqa: PLR0913 - what a call needs, each of another kind
        self,
        *,
        method: MethodDescriptor,
        implementation: object,
        admission: Admission,
        deadline_seconds_default: float,
        metrics: Metrics,
        telemetry: Telemetry,
    ) -> None:
        if method.client_streaming:
            raise ValueError(f"{method.full_name} takes a stream of requests; the front door takes one")
        implemented: Handler | None = getattr(implementation, snake_case(method.name), None)
        self.streaming: bool = method.server_streaming
        if self.streaming and implemented is not None:
            raise ValueError(f"{method.full_name} answers a stream; the front door does not serve built ones yet")
        self.name = method.name
        self.full_name = f"{method.containing_service.full_name}/{method.name}"
        self._parse: Callable[[bytes], Message] = GetMessageClass(method.input_type).FromString
        self._response_class = GetMessageClass(method.output_type)
        self.built: bool = implemented is not None
        self._handler: Handler = implemented or self._not_built
        self._gate = Gate(method)
        self._rules = FieldRules(method)
        self._admission = admission
        self._deadline_seconds_default = deadline_seconds_default
        self._telemetry = telemetry
        self._metrics = metrics
        self._duration = metrics.rpc_duration_seconds.labels(self.full_name)
        self._ok = metrics.rpc_requests_total.labels(self.full_name, grpc.StatusCode.OK.name)
        self._counters: dict[grpc.StatusCode, Counter] = {}

    async def serve(self, raw: bytes, context: Context) -> bytes:
        """Answer one call; what gRPC calls. Runs in a task of its own, so context variables need no reset.

        A stream passes here too, and ends with the refusal that it is not built.
        """
        admission = self._admission
        if admission.in_flight >= admission.limit:
            await self._refuse_overload(context)
        admission.in_flight += 1
        started = time.perf_counter()
        call: Call | None = None
        span: Span | None = None
        error: DomainError | None = None
        answer = b""
        try:
            deadline = asyncio.get_running_loop().time() + self._seconds_left(context)
            principal_value, traceparent = _metadata_of(context)
            span = self._enter_trace(traceparent)
            peer = peer_name(context.auth_context())  # type: ignore[arg-type] # its values are lists
            principal = self._gate.admit(peer, principal_value)
            request = self._parse(raw)
            self._rules.check(request)
            call = Call(principal=principal, peer=peer, deadline=deadline)
            current_call.set(call)
            async with asyncio.timeout_at(deadline):
                response = await self._handler(request, call)
            answer = self._bytes_of(response)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The caller went away, or the server's patience ended: gRPC answers, if anybody listens.
                error = DomainError(Reason.CANCELLED, "the caller went away")
                raise
            # Something that the handler waited for was cancelled. Escaping, it would leave the caller without a reply.
            error = self._internal(cancelled)
        except Exception as fault:  # noqa: BLE001 - the one place that turns faults into answers
            error = self._error_of(fault, call)
        finally:
            admission.in_flight -= 1
            seconds = time.perf_counter() - started
            self._duration.observe(seconds)
            if error is None:
                self._ok.inc()
            else:
                self._note(error, call=call, seconds=seconds)
            if span is not None:
                self._end(span, call, error)
        if error is not None:
            await _abort(context, error)
        elif call is not None and call.replayed:
            context.set_trailing_metadata(REPLAYED_METADATA)
        return answer

    def _bytes_of(self, response: Message) -> bytes:
        if response.__class__ is not self._response_class:
            raise TypeError(f"{self.full_name} must answer {self._response_class.__name__}")
        return response.SerializeToString()

    def _enter_trace(self, traceparent: str | None) -> Span | None:
        """Go on in the caller's trace, or begin one; a span only if it is recorded."""
        parent = self._telemetry.server_context(traceparent)
        span = self._telemetry.begin(self.full_name, kind=SpanKind.SERVER, context=parent)
        otel_context.attach(parent if span is None else trace.set_span_in_context(span, parent))
        return span

    def _seconds_left(self, context: Context) -> float:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._deadline_seconds_default
        return remaining - min(REPLY_MARGIN_SECONDS, remaining * 0.1)

    async def _not_built(self, _request: Message, _call: Call) -> Message:
        raise DomainError(Reason.NOT_BUILT_YET, "this RPC is not built yet", metadata={"rpc": self.name})

    def _error_of(self, fault: Exception, call: Call | None) -> DomainError:
        if isinstance(fault, DomainError):
            return fault
        if isinstance(fault, DecodeError) and call is None:
            return DomainError(Reason.MALFORMED_BODY, "the request is not a message of this RPC")
        if isinstance(fault, TimeoutError) and call is not None and call.remaining() <= 0:
            return DomainError(
                Reason.DEADLINE_EXCEEDED, "the call's time is over; the same request_id tells what became of it"
            )
        return self._internal(fault)

    def _internal(self, fault: BaseException) -> DomainError:
        logger.error("rpc failed", rpc=self.full_name, exc_info=fault)
        return DomainError(Reason.INTERNAL, "a fault of the mesh", metadata={"trace_id": current_trace_id() or ""})

    async def _refuse_overload(self, context: Context) -> NoReturn:
        """Refuse at once and without a log line: there may be very many."""
        self._metrics.rpc_refused_total.labels(Reason.OVERLOADED).inc()
        self._count(grpc.StatusCode.RESOURCE_EXHAUSTED)
        await _abort(
            context,
            DomainError(
                Reason.OVERLOADED,
                "the service has as many calls as it can work on",
                metadata={"queue": "rpc"},
                retry_after_seconds=OVERLOADED_RETRY_SECONDS,
            ),
        )

    def _note(self, error: DomainError, *, call: Call | None, seconds: float) -> None:
        code = CODES[error.reason]
        self._count(code)
        if call is None:
            self._metrics.rpc_refused_total.labels(error.reason).inc()
        log = logger.warning if code in _LOUD else logger.info
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
            if code in _LOUD:  # A refusal is no fault of the server.
                span.set_status(Status(StatusCode.ERROR, error.reason.value))
        span.set_attributes(attributes)
        span.end()


def _metadata_of(context: Context) -> tuple[bytes | None, str | None]:
    """Give the principal and the traceparent that came with a call."""
    principal: bytes | None = None
    traceparent: str | None = None
    for key, value in context.invocation_metadata() or ():
        if key == PRINCIPAL_KEY and isinstance(value, bytes):
            principal = value
        elif key == TRACEPARENT and isinstance(value, str):
            traceparent = value
    return principal, traceparent


async def _abort(context: Context, error: DomainError) -> NoReturn:
    code = CODES[error.reason]
    metadata = (details_metadata(to_status(error)),)
    await context.abort(code, error.message, metadata + NO_REPETITION if code is UNAVAILABLE else metadata)
