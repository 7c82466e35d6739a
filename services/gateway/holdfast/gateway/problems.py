"""Errors → RFC 9457 problem documents: the one place that maps reasons to HTTP.

A document has `type`, `title`, `status`, `detail`, `code` (the reason), `errors` (field and message), `metadata`
and `trace_id`. What is not one of the mesh's errors becomes INTERNAL: nothing of it is told but the trace id.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import grpc
import orjson

from holdfast.common.errors import DomainError, Reason
from holdfast.common.status import CODES
from holdfast.gateway.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = b"application/problem+json"
TYPE_PREFIX: Final = "urn:holdfast:problem:"
RETRY_AFTER_SECONDS_DEFAULT: Final = 1
HEADERS_TOO_LARGE: Final = 431

_OF_CODE: Final[Mapping[grpc.StatusCode, int]] = MappingProxyType(
    {
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.ALREADY_EXISTS: 409,
        grpc.StatusCode.ABORTED: 409,
        grpc.StatusCode.FAILED_PRECONDITION: 409,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.CANCELLED: 499,
        grpc.StatusCode.UNIMPLEMENTED: 501,
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    }
)
_OF_REASON: Final[Mapping[Reason, int]] = MappingProxyType(
    {
        Reason.IDEMPOTENCY_KEY_REUSED: 422,
        Reason.ETAG_MISMATCH: 412,
        Reason.BODY_TOO_LARGE: 413,
        Reason.METHOD_NOT_ALLOWED: 405,
        Reason.MEDIA_TYPE_NOT_SUPPORTED: 415,
    }
)
_TRIED_AGAIN: Final = frozenset({429, 503})


def http_status(reason: Reason) -> int:
    """Give the HTTP status of a reason."""
    return _OF_REASON.get(reason) or _OF_CODE[CODES[reason]]


def problem(error: DomainError, *, trace_id: str, status: int | None = None) -> Answer:
    """Give the problem document of an error, with Retry-After, Allow and WWW-Authenticate where they belong."""
    code = status or http_status(error.reason)
    internal = error.reason is Reason.INTERNAL
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + error.reason.value.lower().replace("_", "-"),
        "title": error.reason.value.replace("_", " ").capitalize(),
        "status": code,
        "detail": "a fault of the mesh; quote the trace id" if internal else error.message,
        "code": error.reason.value,
        "errors": [] if internal else [{"field": v.field, "message": v.message} for v in error.violations],
        "metadata": {"trace_id": trace_id} if internal else dict(error.metadata),
        "trace_id": trace_id,
    }
    headers: list[tuple[bytes, bytes]] = [(b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store")]
    if code in _TRIED_AGAIN or error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(retry_after_seconds(error)).encode()))
    if error.reason is Reason.METHOD_NOT_ALLOWED:
        headers.append((b"allow", error.metadata.get("allowed", "").encode("ascii", "replace")))
    if error.reason is Reason.TOKEN_EXPIRED:
        headers.append((b"www-authenticate", b'Bearer realm="holdfast", error="invalid_token"'))
    elif code == 401:  # noqa: PLR2004 - Unauthorized
        headers.append((b"www-authenticate", b'Bearer realm="holdfast"'))
    return Answer(status=code, headers=headers, body=orjson.dumps(document))


def retry_after_seconds(error: DomainError) -> int:
    """Give whole seconds to wait, at least one: a caller told 0 would come back at once."""
    seconds = error.retry_after_seconds
    return max(1, math.ceil(seconds)) if seconds is not None else RETRY_AFTER_SECONDS_DEFAULT


def internal_error() -> DomainError:
    """Give what a caller is told of a fault: nothing."""
    return DomainError(Reason.INTERNAL, "a fault of the mesh; quote the trace id")
