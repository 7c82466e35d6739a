"""Which pages of other origins may call the API from a browser: by default none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.gateway.answers import Answer

PREFLIGHT_SECONDS: Final = b"600"
REQUEST_HEADERS: Final = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Request-Timeout, traceparent"
)
RESPONSE_HEADERS: Final = b"ETag, Idempotency-Replayed, Location, Retry-After, traceparent, X-Request-Id"


class Cors:
    """The allowed origins. Credentials of the browser (cookies) are never asked for: tokens are sent by the page."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.encode() for origin in allowed)

    @property
    def enabled(self) -> bool:
        """Whether any origin is allowed."""
        return bool(self._allowed)

    def allow(self, answer: Answer, origin: bytes | None) -> None:
        """Add the headers that let the origin's page see the answer; an answer with Allow also answers a preflight."""
        answer.headers.append((b"vary", b"Origin"))
        if origin is None or not (self._any or origin in self._allowed):
            return
        answer.headers += (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", RESPONSE_HEADERS),
        )
        methods = next((value for name, value in answer.headers if name == b"allow"), None)
        if methods is not None:
            answer.headers += (
                (b"access-control-allow-methods", methods),
                (b"access-control-allow-headers", REQUEST_HEADERS),
                (b"access-control-max-age", PREFLIGHT_SECONDS),
            )
