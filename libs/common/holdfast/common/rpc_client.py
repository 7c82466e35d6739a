"""Calls to another service of the mesh: one channel, deadline, bounded retries, circuit breaker, typed errors."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from holdfast.common.circuit_breaker import BreakerPolicy, CircuitBreaker, State
from holdfast.common.errors import DomainError, Reason
from holdfast.common.rpc_call import current_call
from holdfast.common.rpc_channel import ATTEMPTS_MAX, MeshChannel, Method
from holdfast.common.rpc_faults import time_over
from holdfast.common.status import from_rpc_error
from holdfast.common.telemetry import TRACEPARENT, format_traceparent, span, tracer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from opentelemetry.trace import Span

    from holdfast.common.mesh_identity import MeshIdentity, Principal
    from holdfast.common.metrics import Metrics

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

DEADLINE_MARGIN_SECONDS: Final = 0.02
"""What a call leaves of its caller's deadline, for the caller's own answer."""
RETRY_AFTER_SECONDS: Final = 1.0
_BACKOFF_SECONDS: Final = 0.02
_BUDGET_MAX: Final = 10.0
_BUDGET_PER_SUCCESS: Final = 0.1
_ATTEMPT_SECONDS_MIN: Final = 0.005

_NO_ANSWER: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN})
logger = structlog.get_logger(__name__)


class Peer:
    """Another service of the mesh. Made in the composition root, one for each; stubs are made on `channel`.

    `target` is host:port, or several separated by commas. The server must show the certificate of `name`. `replica`
    tells breakers apart in the metrics where each replica of a service has a peer of its own.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each of them
        self,
        *,
        name: str,
        target: str,
        identity: MeshIdentity,
        metrics: Metrics | None = None,
        breaker: BreakerPolicy | None = None,
        replica: str = "",
    ) -> None:
        self.name = name
        self.breaker = CircuitBreaker(breaker)
        self._channel = MeshChannel(name=name, target=target, identity=identity)
        self._metrics = metrics
        self._budget = _BUDGET_MAX
        if metrics is not None:
            label = f"{name} {replica}" if replica else name
            metrics.breaker_open.labels(label).set_function(lambda: float(self.breaker.state is not State.CLOSED))

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel for stubs; it stays the same when certificates change."""
        return self._channel

    async def start(self) -> None:
        """Begin to connect; does not wait for the peer."""
        self._channel.start()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    def reload(self) -> None:
        """Take over changed certificates now rather than at the next look."""
        self._channel.reload()

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Q, R] | grpc.UnaryUnaryMultiCallable[Q, R],
        request: Q,
        *,
        principal: Principal,
        deadline_seconds: float,
    ) -> R:
        """Make a call on a principal's behalf and give the response.

        The deadline is `deadline_seconds` from now, or what is left of the present call's, less a margin, if that is
        sooner. Sent again when the peer is unavailable: at most three times in all, within the deadline and a budget,
        and only if the contract or the request's `request_id` makes that safe.

        Raises DomainError: the peer's own refusal with its reason and metadata; DEADLINE_EXCEEDED when the time of the
        present call is over (outside of a call, the one given); DEPENDENCY_UNAVAILABLE{dependency} when the peer does
        not answer in the time that it was given, or has not for a while.
        """
        response, _ = await self.call_with_metadata(
            method, request, principal=principal, deadline_seconds=deadline_seconds
        )
        return response

    async def call_with_metadata(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Q, R] | grpc.UnaryUnaryMultiCallable[Q, R],
        request: Q,
        *,
        principal: Principal,
        deadline_seconds: float,
    ) -> tuple[R, dict[str, str | bytes]]:
        """Like `call`, and give the trailing metadata too (`holdfast-replayed`)."""
        seconds = _seconds_for(deadline_seconds)
        deadline = time.monotonic() + seconds
        self._pass_breaker()
        path = method.path if isinstance(method, Method) else self.name
        settled = False
        started = time.perf_counter()
        try:
            with span(path.removeprefix("/"), kind=SpanKind.CLIENT):
                result: tuple[R, dict[str, str | bytes]] = await self._attempts(
                    method, request, principal=principal, deadline=deadline
                )
            self.breaker.succeeded()
            settled = True
            self._budget = min(_BUDGET_MAX, self._budget + _BUDGET_PER_SUCCESS)
            self._count("OK")
        except grpc.aio.AioRpcError as error:
            settled = True
            raise self._judge(error, shortened=seconds < deadline_seconds) from None
        finally:
            if not settled:
                self.breaker.abandoned()
            if self._metrics is not None:
                self._metrics.client_duration_seconds.labels(self.name).observe(time.perf_counter() - started)
        return result

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Q, R] | grpc.UnaryStreamMultiCallable[Q, R],
        request: Q,
        *,
        principal: Principal,
        deadline_seconds: float,
    ) -> AsyncGenerator[R]:
        """Make a call that is answered with a stream, and give the answers as they come; closing this leaves the call.

        Deadline, breaker, measures and errors are those of `call`, but it is never sent again: only whoever has the
        answers knows what is missing. A stream that breaks or runs out of time raises after the answers that came.
        """
        seconds = _seconds_for(deadline_seconds)
        self._pass_breaker()
        path = method.path if isinstance(method, Method) else self.name
        settled = False
        started = time.perf_counter()
        # Not made the current one: between two answers others work in this context.
        parent = trace.get_current_span().get_span_context()
        own = None
        if parent.is_valid and parent.trace_flags.sampled:
            own = tracer().start_span(path.removeprefix("/"), kind=SpanKind.CLIENT)
        opened: Any = method  # gRPC's stubs know one of their two kinds only
        running = opened(request, metadata=_metadata(principal, own), timeout=seconds)
        try:
            async for answer in running:
                if not settled:
                    self.breaker.succeeded()
                    settled = True
                yield answer
            self.breaker.succeeded()
            settled = True
            self._budget = min(_BUDGET_MAX, self._budget + _BUDGET_PER_SUCCESS)
            self._count("OK")
        except grpc.aio.AioRpcError as error:
            fault = self._judge(error, shortened=seconds < deadline_seconds, answered=settled)
            settled = True
            raise fault from None
        finally:
            running.cancel()
            if own is not None:
                own.end()
            if not settled:
                self.breaker.abandoned()
            if self._metrics is not None:
                self._metrics.client_duration_seconds.labels(self.name).observe(time.perf_counter() - started)

    def spend_retry(self) -> bool:
        """Take one repetition out of the budget that successful calls fill; False when there is none left."""
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        if self._metrics is not None:
            self._metrics.client_retries_total.labels(self.name).inc()
        return True

    def unavailable(self) -> DomainError:
        """Give the error of a peer that does not answer, with the time after which it may be asked again."""
        ready = self.breaker.ready
        return DomainError(
            Reason.DEPENDENCY_UNAVAILABLE,
            f"{self.name} does not answer",
            metadata={"dependency": self.name},
            retry_after_seconds=RETRY_AFTER_SECONDS if ready else self.breaker.retry_after_seconds(),
        )

    def _pass_breaker(self) -> None:
        if not self.breaker.admit():
            self._count("BREAKER_OPEN")
            raise self.unavailable()

    def _judge(self, error: grpc.aio.AioRpcError, *, shortened: bool, answered: bool = False) -> DomainError:
        """Give the error that a failed call raises, and tell the breaker what it says of the peer."""
        refusal = from_rpc_error(error)
        self._count(error.code().name)
        # A refusal is an answer, however unwelcome; silence is the peer's failure, and so is being too slow.
        if error.code() in _NO_ANSWER and (refusal is None or refusal.reason is Reason.DEADLINE_EXCEEDED):
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and (shortened or answered):
                self.breaker.abandoned()  # It had less time than it is entitled to: that says nothing about it.
            else:
                self.breaker.failed()
            return self._silence(error, shortened=shortened)
        self.breaker.succeeded()
        return refusal or self._unexplained(error)

    async def _attempts(
        self, method: Any, request: Message, *, principal: Principal, deadline: float
    ) -> tuple[Any, dict[str, str | bytes]]:
        metadata = _metadata(principal)
        again = bool(getattr(request, "request_id", ""))
        for attempt in range(1, ATTEMPTS_MAX + 1):
            seconds = max(_ATTEMPT_SECONDS_MIN, deadline - time.monotonic())
            running = method(request, metadata=metadata, timeout=seconds)
            try:
                response = await running
            except grpc.aio.AioRpcError as error:
                pause = random.uniform(0.5, 1.0) * _BACKOFF_SECONDS * 2**attempt  # noqa: S311 - not a secret
                if not again or not self._may_repeat(error, attempt, pause, deadline):
                    raise
                await asyncio.sleep(pause)
            else:
                return response, dict(await running.trailing_metadata())
        raise AssertionError("the last attempt returns or raises")

    def _may_repeat(self, error: grpc.aio.AioRpcError, attempt: int, pause: float, deadline: float) -> bool:
        if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt >= ATTEMPTS_MAX:
            return False
        if from_rpc_error(error) is not None:  # The peer answered that something else is down, and when to come back.
            return False
        return time.monotonic() + pause < deadline and self.spend_retry()

    def _silence(self, error: grpc.aio.AioRpcError, *, shortened: bool) -> DomainError:
        """Give the error of a call that the peer did not answer in time, or at all."""
        # It was the present call's time that ended; outside of a call, at the mesh's edge, it is the client's own.
        over = shortened or current_call.get() is None
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and over:
            return time_over()
        logger.warning("peer does not answer", peer=self.name, code=error.code().name, cause=error.details())
        return self.unavailable()

    def _unexplained(self, error: grpc.aio.AioRpcError) -> DomainError:
        """Give the error of a status that carries no reason of the mesh: gRPC itself refused."""
        logger.error("peer refused without a reason", peer=self.name, code=error.code().name, cause=error.details())
        return self.unavailable()

    def _count(self, code: str) -> None:
        if self._metrics is not None:
            self._metrics.client_requests_total.labels(self.name, code).inc()


def _seconds_for(deadline_seconds: float) -> float:
    """Give how long a call may take; DEADLINE_EXCEEDED when the present call's time does not suffice."""
    call = current_call.get()
    if call is None:
        return deadline_seconds
    left = call.remaining() - DEADLINE_MARGIN_SECONDS
    if left <= 0:
        raise DomainError(Reason.DEADLINE_EXCEEDED, "the call's time is over")
    return min(deadline_seconds, left)


def _metadata(principal: Principal, own: Span | None = None) -> grpc.aio.Metadata:
    metadata = grpc.aio.Metadata(principal.to_metadata())
    context = (own or trace.get_current_span()).get_span_context()
    if context.is_valid:
        metadata.add(TRACEPARENT, format_traceparent(context))
    return metadata
