"""Reasons → HTTP, complete."""

from __future__ import annotations

import json

import pytest

from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.gateway.problems import http_status, internal_error, problem

STATUS = {
    400: "VALIDATION_FAILED INVALID_DATE_RANGE UNKNOWN_TIME_ZONE PAGE_TOKEN_INVALID UNKNOWN_CURRENCY "
    "INVALID_SEATING_CONFIG MALFORMED_BODY INVALID_RECURRENCE",
    401: "TOKEN_INVALID TOKEN_EXPIRED PEER_UNKNOWN",
    403: "PERMISSION_MISSING CALLER_NOT_ALLOWED ORGANIZATION_SUSPENDED",
    404: "ORGANIZATION_NOT_FOUND VENUE_NOT_FOUND EVENT_NOT_FOUND SCHEDULE_NOT_FOUND SECTION_NOT_FOUND HOLD_NOT_FOUND "
    "SALE_NOT_FOUND PRICE_TIER_NOT_FOUND PATH_NOT_FOUND COUPON_NOT_FOUND QUOTE_NOT_FOUND "
    "API_KEY_NOT_FOUND CATEGORY_NOT_FOUND CANCELLATION_REPORT_NOT_FOUND BLOCK_NOT_FOUND SEAT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "SLUG_TAKEN OVERLAPPING_EVENT SECTION_EXISTS NAME_TAKEN INSUFFICIENT_CAPACITY SEATS_TAKEN HOLD_EXPIRED "
    "HOLD_NOT_ACTIVE HOLD_VOIDED LINES_SPAN_EVENTS PRICE_LOCK_EXPIRED TOTAL_MISMATCH EVENT_NOT_ON_SALE EVENT_CANCELLED "
    "EVENT_POSTPONED SALES_WINDOW_CLOSED VENUE_CAPACITY_EXCEEDED PURCHASE_LIMIT INVALID_TRANSITION REQUIREMENT_MISSING "
    "CONFIRMATION_REQUIRED TICKETS_SOLD COUPON_EXHAUSTED NOT_EDITABLE SECTION_CLOSED CAPACITY_COMMITTED "
    "PRICE_TIER_NOT_APPLICABLE COUPON_CODE_TAKEN COUPON_NOT_ACTIVE COUPON_NOT_APPLICABLE PRICE_TIER_NOT_DYNAMIC "
    "PRICE_TIER_LOCKED QUOTE_EXPIRED QUOTE_NOT_APPLICABLE "
    "VENUE_IN_USE CONFIRMATION_INVALID SALE_NOT_ACTIVE LINE_EXCEEDED HOLD_LIFETIME_EXCEEDED "
    "HISTORY_NOT_RETAINED",
    412: "ETAG_MISMATCH",
    413: "BODY_TOO_LARGE",
    415: "MEDIA_TYPE_NOT_SUPPORTED",
    422: "IDEMPOTENCY_KEY_REUSED",
    429: "RATE_LIMITED OVERLOADED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "NOT_BUILT_YET OUTSIDE_THE_MESH",
    503: "DEPENDENCY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
TABLE = {name: status for status, names in STATUS.items() for name in names.split()}


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_status(reason: Reason) -> None:
    assert http_status(reason) == TABLE[reason.value]


def test_the_table_names_no_reason_that_does_not_exist() -> None:
    assert set(TABLE) == set(Reason.__members__)


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2")])
def test_retry_after_is_whole_seconds_and_never_zero(seconds: float | None, header: str) -> None:
    answer = problem(DomainError(Reason.RATE_LIMITED, "x", retry_after_seconds=seconds), trace_id="t")
    assert dict(answer.headers)[b"retry-after"].decode() == header


def test_a_conflict_tells_when_to_come_back_only_if_it_is_known() -> None:
    assert b"retry-after" not in dict(problem(DomainError(Reason.SEATS_TAKEN, "x"), trace_id="t").headers)
    known = DomainError(Reason.SEATS_TAKEN, "x", retry_after_seconds=3)
    assert dict(problem(known, trace_id="t").headers)[b"retry-after"] == b"3"


def test_a_problem_lists_fields_and_metadata() -> None:
    error = DomainError(
        Reason.VALIDATION_FAILED,
        "quantity: must be at least 1",
        metadata={"a": "b"},
        violations=[FieldViolation("quantity", "must be at least 1")],
    )
    answer = problem(error, trace_id="abc")
    assert (answer.status, dict(answer.headers)[b"content-type"]) == (400, b"application/problem+json")
    assert json.loads(answer.body) == {
        "type": "urn:holdfast:problem:validation-failed",
        "title": "Validation failed",
        "status": 400,
        "detail": "quantity: must be at least 1",
        "code": "VALIDATION_FAILED",
        "errors": [{"field": "quantity", "message": "must be at least 1"}],
        "metadata": {"a": "b"},
        "trace_id": "abc",
    }


def test_a_fault_tells_its_trace_id_only() -> None:
    error = DomainError(
        Reason.INTERNAL, "KeyError in /srv/x.py", metadata={"path": "/srv"}, violations=[FieldViolation("x", "secret")]
    )
    document = json.loads(problem(error, trace_id="abc").body)
    assert document["metadata"] == {"trace_id": "abc"}
    assert document["errors"] == []
    assert "srv" not in json.dumps(document)
    assert document == json.loads(problem(internal_error(), trace_id="abc").body)


def test_401_names_the_scheme_and_405_the_methods() -> None:
    invalid = dict(problem(DomainError(Reason.TOKEN_INVALID, "x"), trace_id="t").headers)
    assert invalid[b"www-authenticate"] == b'Bearer realm="holdfast"'
    expired = dict(problem(DomainError(Reason.TOKEN_EXPIRED, "x"), trace_id="t").headers)
    assert b"invalid_token" in expired[b"www-authenticate"]
    method = DomainError(Reason.METHOD_NOT_ALLOWED, "x", metadata={"allowed": "GET, HEAD"})
    assert dict(problem(method, trace_id="t").headers)[b"allow"] == b"GET, HEAD"
