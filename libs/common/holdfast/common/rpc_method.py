"""The front door: what happens to every call, in one pass.

Deadline, admission, peer, principal, policy, fields, validation, handler, answer or error; span, metrics and log
beside. Everything that does not depend on the call is worked out once, when the RPC is added to its server. What a
stream does otherwise is in `rpc_stream`, what an item of a batch does in `rpc_item`.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import grpc
from google.protobuf.message_factory import GetMessageClass
from opentelemetry import context as otel_context

from holdfast.common.errors import DomainError, Reason
from holdfast.common.mesh_identity import PRINCIPAL_KEY, peer_name
from holdfast.common.rpc_call import Call, current_call
from holdfast.common.rpc_faults import error_of, internal, overloaded
from holdfast.common.rpc_fields import FieldRules
from holdfast.common.rpc_policy import Gate
from holdfast.common.rpc_record import RpcRecord
from holdfast.common.status import CODES, details_metadata, to_status
from holdfast.common.telemetry import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message
    from opentelemetry.trace import Span

    from holdfast.common.metrics import Metrics
    from holdfast.common.telemetry import Telemetry

    Handler = Callable[[Any, Call], Any]
    Context = grpc.aio.ServicerContext[Any, Any]

REPLAYED_METADATA: Final = (("holdfast-replayed", "true"),)
UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE
NO_REPETITION: Final = (("grpc-retry-pushback-ms", "-1"),)
"""Tells gRPC clients not to repeat by themselves: RetryInfo says when, and what is down is not to be hammered."""
REPLY_MARGIN_SECONDS: Final = 0.01
"""How much earlier than the caller's our deadline is, so that the answer which says so still arrives."""


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
    """One RPC of a server, with one answer."""

    answers_a_stream: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913 - what a call needs, each of another kind
        self,
        *,
        method: MethodDescriptor,
        handler: Handler | None,
        admission: Admission,
        deadline_seconds_default: float,
        metrics: Metrics,
        telemetry: Telemetry,
    ) -> None:
        if method.client_streaming:
            raise ValueError(f"{method.full_name} takes a stream of requests; the front door takes one")
        self.name = method.name
        self.full_name = f"{method.containing_service.full_name}/{method.name}"
        self._parse: Callable[[bytes], Message] = GetMessageClass(method.input_type).FromString
        self._response_class = GetMessageClass(method.output_type)
        self.built: bool = handler is not None
        self._handler: Any = handler
        self._gate = Gate(method)
        self._rules = FieldRules(method)
        self._admission = admission
        self._deadline_seconds_default = deadline_seconds_default
        self._metrics = metrics
        self._record = RpcRecord(self.full_name, metrics=metrics, telemetry=telemetry)

    async def serve(self, raw: bytes, context: Context) -> bytes:
        """Answer one call; what gRPC calls. Runs in a task of its own, so context variables need no reset."""
        error: DomainError | None
        admission = self._admission
        if admission.in_flight >= admission.limit:
            error = overloaded()
            self._record.overloaded(error)
            await _abort(context, error)
        admission.in_flight += 1
        started = time.perf_counter()
        call: Call | None = None
        span: Span | None = None
        error = None
        answer = b""
        try:
            deadline = asyncio.get_running_loop().time() + self._seconds_left(context)
            principal_value, traceparent = _metadata_of(context)
            trace_context, span = self._record.begin(traceparent)
            otel_context.attach(trace_context)
            peer = peer_name(context.auth_context())  # type: ignore[arg-type] # its values are lists
            principal = self._gate.admit(peer, principal_value)
            request = self._parse(raw)
            self._rules.check(request)
            call = Call(principal=principal, peer=peer, deadline=deadline)
            current_call.set(call)
            self._must_be_built()
            async with asyncio.timeout_at(deadline):
                answer = await self._answer(request, call, context)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The caller went away, or the server's patience ended: gRPC answers, if anybody listens.
                error = DomainError(Reason.CANCELLED, "the caller went away")
                raise
            # Something that the handler waited for was cancelled. Escaping, it would leave the caller without a reply.
            error = internal(cancelled, rpc=self.full_name)
        except Exception as fault:  # noqa: BLE001 - whatever it is becomes an answer
            error = error_of(fault, rpc=self.full_name, call=call)
        finally:
            admission.in_flight -= 1
            self._record.end(span, call=call, error=error, seconds=time.perf_counter() - started)
        if error is not None:
            await _abort(context, error)
        elif call is not None and call.replayed:
            context.set_trailing_metadata(REPLAYED_METADATA)
        return answer

    def _must_be_built(self) -> None:
        if not self.built:
            raise DomainError(Reason.NOT_BUILT_YET, "this RPC is not built yet", metadata={"rpc": self.name})

    async def _answer(self, request: Message, call: Call, _context: Context) -> bytes:
        """Do what the call asks for; gives what is still to be sent."""
        return self._bytes_of(await self._handler(request, call))

    def _bytes_of(self, response: Message) -> bytes:
        if response.__class__ is not self._response_class:
            raise TypeError(f"{self.full_name} must answer {self._response_class.__name__}")
        return response.SerializeToString()

    def _seconds_left(self, context: Context) -> float:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._deadline_seconds_default
        return remaining - min(REPLY_MARGIN_SECONDS, remaining * 0.1)


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
