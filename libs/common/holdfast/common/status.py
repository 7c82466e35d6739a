"""DomainError ⇄ google.rpc.Status: the one place that maps reasons to gRPC statuses."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from holdfast.common.errors import DomainError, FieldViolation, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf import any_pb2

M = TypeVar("M", bound=Message)

DOMAIN: Final = "holdfast"
DETAILS_KEY: Final = "grpc-status-details-bin"
VIOLATIONS_MAX: Final = 50

_CODES: dict[Reason, grpc.StatusCode] = {
    Reason.VALIDATION_FAILED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_DATE_RANGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_TIME_ZONE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.IDEMPOTENCY_KEY_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_CURRENCY: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_SEATING_CONFIG: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED_BODY: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_RECURRENCE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOKEN_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    Reason.TOKEN_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PEER_UNKNOWN: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_MISSING: grpc.StatusCode.PERMISSION_DENIED,
    Reason.CALLER_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.ORGANIZATION_SUSPENDED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.ORGANIZATION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.VENUE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.EVENT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SCHEDULE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SECTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.HOLD_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SALE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.PRICE_TIER_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.PATH_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.COUPON_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.QUOTE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.API_KEY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.CATEGORY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.CANCELLATION_REPORT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.BLOCK_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SEAT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SLUG_TAKEN: grpc.StatusCode.ALREADY_EXISTS,
    Reason.OVERLAPPING_EVENT: grpc.StatusCode.ALREADY_EXISTS,
    Reason.SECTION_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.NAME_TAKEN: grpc.StatusCode.ALREADY_EXISTS,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.COUPON_CODE_TAKEN: grpc.StatusCode.ALREADY_EXISTS,
    Reason.INSUFFICIENT_CAPACITY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SEATS_TAKEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOLD_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOLD_NOT_ACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOLD_VOIDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.LINES_SPAN_EVENTS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRICE_LOCK_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TOTAL_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.EVENT_NOT_ON_SALE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.EVENT_CANCELLED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.EVENT_POSTPONED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SALES_WINDOW_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VENUE_CAPACITY_EXCEEDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PURCHASE_LIMIT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.INVALID_TRANSITION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.REQUIREMENT_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CONFIRMATION_REQUIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.TICKETS_SOLD: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.COUPON_EXHAUSTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_EDITABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SECTION_CLOSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CAPACITY_COMMITTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRICE_TIER_NOT_APPLICABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.COUPON_NOT_ACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.COUPON_NOT_APPLICABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRICE_TIER_NOT_DYNAMIC: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRICE_TIER_LOCKED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.QUOTE_EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.QUOTE_NOT_APPLICABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.VENUE_IN_USE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CONFIRMATION_INVALID: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SALE_NOT_ACTIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.LINE_EXCEEDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOLD_LIFETIME_EXCEEDED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HISTORY_NOT_RETAINED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.BODY_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEPENDENCY_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.NOT_BUILT_YET: grpc.StatusCode.UNIMPLEMENTED,
    Reason.OUTSIDE_THE_MESH: grpc.StatusCode.UNIMPLEMENTED,
    Reason.METHOD_NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.MEDIA_TYPE_NOT_SUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}
CODES: Final[Mapping[Reason, grpc.StatusCode]] = MappingProxyType(_CODES)
"""The status of each reason, as `error_reason.proto` says."""


def to_status(error: DomainError) -> status_pb2.Status:
    """Build the status of an error: ErrorInfo always, BadRequest and RetryInfo where the error has them."""
    status = status_pb2.Status(code=CODES[error.reason].value[0], message=error.message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata)
    )
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:VIOLATIONS_MAX]:
            bad.field_violations.add(field=violation.field, description=violation.message)
        status.details.add().Pack(bad)
    if error.retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(max(0, round(error.retry_after_seconds * 1000)))
        status.details.add().Pack(retry)
    return status


def details_metadata(status: status_pb2.Status) -> tuple[str, bytes]:
    """Give the trailing metadata pair that carries a status' details."""
    return DETAILS_KEY, status.SerializeToString()


def from_status(status: status_pb2.Status) -> DomainError | None:
    """Read an error back; None when the status carries no ErrorInfo of the mesh that this version knows."""
    info: error_details_pb2.ErrorInfo | None = None
    violations: list[FieldViolation] = []
    retry_after_seconds: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = _unpack(detail, error_details_pb2.ErrorInfo())
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = _unpack(detail, error_details_pb2.BadRequest())
            violations = [FieldViolation(field=v.field, message=v.description) for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after_seconds = _unpack(detail, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() / 1000
    if info is None or info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    return DomainError(
        Reason(info.reason),
        status.message,
        metadata=info.metadata,
        violations=violations,
        retry_after_seconds=retry_after_seconds,
    )


def from_rpc_error(error: grpc.aio.AioRpcError | grpc.RpcError) -> DomainError | None:
    """Read the mesh's error out of a failed call; None when the failure is not one of the mesh's."""
    trailing = error.trailing_metadata() if isinstance(error, (grpc.aio.AioRpcError, grpc.Call)) else None
    for key, value in trailing or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
                return from_status(status)
            except DecodeError:  # Whoever answered is not one of ours.
                return None
    return None


def _unpack(detail: any_pb2.Any, into: M) -> M:
    detail.Unpack(into)
    return into
