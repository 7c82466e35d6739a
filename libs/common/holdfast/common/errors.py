"""Errors that callers are told about: a reason of the contract, a message and metadata.

Pure, so that domain code may raise them. `status.py` turns them into gRPC statuses and the gateway turns
those into problem documents; nothing else knows either.
"""

# ruff: noqa: S105 - the names of reasons are no secrets
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Reason(StrEnum):
    """Why a call failed; the names of `holdfast.api.common.v1.Error.Reason`."""

    VALIDATION_FAILED = "VALIDATION_FAILED"
    INVALID_DATE_RANGE = "INVALID_DATE_RANGE"
    UNKNOWN_TIME_ZONE = "UNKNOWN_TIME_ZONE"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    UNKNOWN_CURRENCY = "UNKNOWN_CURRENCY"
    INVALID_SEATING_CONFIG = "INVALID_SEATING_CONFIG"
    MALFORMED_BODY = "MALFORMED_BODY"
    INVALID_RECURRENCE = "INVALID_RECURRENCE"
    TOKEN_INVALID = "TOKEN_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    PEER_UNKNOWN = "PEER_UNKNOWN"
    PERMISSION_MISSING = "PERMISSION_MISSING"
    CALLER_NOT_ALLOWED = "CALLER_NOT_ALLOWED"
    ORGANIZATION_SUSPENDED = "ORGANIZATION_SUSPENDED"
    ORGANIZATION_NOT_FOUND = "ORGANIZATION_NOT_FOUND"
    VENUE_NOT_FOUND = "VENUE_NOT_FOUND"
    EVENT_NOT_FOUND = "EVENT_NOT_FOUND"
    SCHEDULE_NOT_FOUND = "SCHEDULE_NOT_FOUND"
    SECTION_NOT_FOUND = "SECTION_NOT_FOUND"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    SALE_NOT_FOUND = "SALE_NOT_FOUND"
    PRICE_TIER_NOT_FOUND = "PRICE_TIER_NOT_FOUND"
    PATH_NOT_FOUND = "PATH_NOT_FOUND"
    COUPON_NOT_FOUND = "COUPON_NOT_FOUND"
    QUOTE_NOT_FOUND = "QUOTE_NOT_FOUND"
    API_KEY_NOT_FOUND = "API_KEY_NOT_FOUND"
    CATEGORY_NOT_FOUND = "CATEGORY_NOT_FOUND"
    CANCELLATION_REPORT_NOT_FOUND = "CANCELLATION_REPORT_NOT_FOUND"
    BLOCK_NOT_FOUND = "BLOCK_NOT_FOUND"
    SEAT_NOT_FOUND = "SEAT_NOT_FOUND"
    SLUG_TAKEN = "SLUG_TAKEN"
    OVERLAPPING_EVENT = "OVERLAPPING_EVENT"
    SECTION_EXISTS = "SECTION_EXISTS"
    NAME_TAKEN = "NAME_TAKEN"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    COUPON_CODE_TAKEN = "COUPON_CODE_TAKEN"
    INSUFFICIENT_CAPACITY = "INSUFFICIENT_CAPACITY"
    SEATS_TAKEN = "SEATS_TAKEN"
    HOLD_EXPIRED = "HOLD_EXPIRED"
    HOLD_NOT_ACTIVE = "HOLD_NOT_ACTIVE"
    HOLD_VOIDED = "HOLD_VOIDED"
    LINES_SPAN_EVENTS = "LINES_SPAN_EVENTS"
    PRICE_LOCK_EXPIRED = "PRICE_LOCK_EXPIRED"
    TOTAL_MISMATCH = "TOTAL_MISMATCH"
    EVENT_NOT_ON_SALE = "EVENT_NOT_ON_SALE"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    EVENT_POSTPONED = "EVENT_POSTPONED"
    SALES_WINDOW_CLOSED = "SALES_WINDOW_CLOSED"
    VENUE_CAPACITY_EXCEEDED = "VENUE_CAPACITY_EXCEEDED"
    PURCHASE_LIMIT = "PURCHASE_LIMIT"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    REQUIREMENT_MISSING = "REQUIREMENT_MISSING"
    CONFIRMATION_REQUIRED = "CONFIRMATION_REQUIRED"
    TICKETS_SOLD = "TICKETS_SOLD"
    COUPON_EXHAUSTED = "COUPON_EXHAUSTED"
    NOT_EDITABLE = "NOT_EDITABLE"
    SECTION_CLOSED = "SECTION_CLOSED"
    CAPACITY_COMMITTED = "CAPACITY_COMMITTED"
    PRICE_TIER_NOT_APPLICABLE = "PRICE_TIER_NOT_APPLICABLE"
    COUPON_NOT_ACTIVE = "COUPON_NOT_ACTIVE"
    COUPON_NOT_APPLICABLE = "COUPON_NOT_APPLICABLE"
    PRICE_TIER_NOT_DYNAMIC = "PRICE_TIER_NOT_DYNAMIC"
    PRICE_TIER_LOCKED = "PRICE_TIER_LOCKED"
    QUOTE_EXPIRED = "QUOTE_EXPIRED"
    QUOTE_NOT_APPLICABLE = "QUOTE_NOT_APPLICABLE"
    VENUE_IN_USE = "VENUE_IN_USE"
    CONFIRMATION_INVALID = "CONFIRMATION_INVALID"
    SALE_NOT_ACTIVE = "SALE_NOT_ACTIVE"
    LINE_EXCEEDED = "LINE_EXCEEDED"
    HOLD_LIFETIME_EXCEEDED = "HOLD_LIFETIME_EXCEEDED"
    HISTORY_NOT_RETAINED = "HISTORY_NOT_RETAINED"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    NOT_BUILT_YET = "NOT_BUILT_YET"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    MEDIA_TYPE_NOT_SUPPORTED = "MEDIA_TYPE_NOT_SUPPORTED"
    OUTSIDE_THE_MESH = "OUTSIDE_THE_MESH"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that breaks a rule.

    `field` is a path such as `section.total` or `lines[2].quantity`, empty for the request as a whole.
    """

    field: str
    message: str


class DomainError(Exception):
    """A refusal with a reason that callers can act on.

    `message` is shown to callers, so it holds no internals. `metadata` is what the reason documents in
    `error_reason.proto`. `retry_after_seconds` is set where trying again later can help.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.violations: tuple[FieldViolation, ...] = tuple(violations)
        self.retry_after_seconds = retry_after_seconds

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason.value}, {self.message!r}, metadata={dict(self.metadata)!r})"


class StartRefused(Exception):  # noqa: N818 - it names what happened, like SystemExit
    """The process must not start: what it was given is unsafe or wrong. The message names the cause, never a secret."""


def invalid(field: str, message: str) -> DomainError:
    """Give the VALIDATION_FAILED error of one field."""
    return DomainError(
        Reason.VALIDATION_FAILED,
        f"{field}: {message}" if field else message,
        violations=(FieldViolation(field=field, message=message),),
    )
