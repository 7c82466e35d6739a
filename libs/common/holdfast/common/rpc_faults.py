"""What a caller is told of a fault: the one place that turns exceptions into the mesh's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from holdfast.common.errors import DomainError, Reason
from holdfast.common.telemetry import current_trace_id

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from holdfast.common.rpc_call import Call

OVERLOADED_RETRY_SECONDS: Final = 0.5
LOUD: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Statuses that somebody should look into; the others are refusals."""

logger = structlog.get_logger(__name__)


def error_of(fault: Exception, *, rpc: str, call: Call | None, context: Context | None = None) -> DomainError:
    """Give the error that answers a fault. `call` is None when it happened before the handler was reached.

    `context` is the call's trace; None = the present one.
    """
    if isinstance(fault, DomainError):
        return fault
    if isinstance(fault, DecodeError) and call is None:
        return DomainError(Reason.MALFORMED_BODY, "the request is not a message of this RPC")
    if isinstance(fault, TimeoutError) and call is not None and call.remaining() <= 0:
        return time_over()
    return internal(fault, rpc=rpc, context=context)


def internal(fault: BaseException, *, rpc: str, context: Context | None = None) -> DomainError:
    """Log what nobody foresaw; the caller gets the trace's id and nothing else."""
    logger.error("rpc failed", rpc=rpc, exc_info=fault)
    trace_id = current_trace_id(context) or ""
    return DomainError(Reason.INTERNAL, "a fault of the mesh", metadata={"trace_id": trace_id})


def time_over() -> DomainError:
    """Give the error of a call that was not answered in its time."""
    return DomainError(Reason.DEADLINE_EXCEEDED, "the call's time is over; the same request_id tells what became of it")


def overloaded() -> DomainError:
    """Give the error of a call that is one too many."""
    return DomainError(
        Reason.OVERLOADED,
        "the service has as many calls as it can work on",
        metadata={"queue": "rpc"},
        retry_after_seconds=OVERLOADED_RETRY_SECONDS,
    )
