"""The body of a request as it arrives: bounded in size and time, and discarded politely when it is refused."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

DISCARD_BYTES_MAX: Final = 4 * 1024 * 1024
DISCARD_SECONDS_MAX: Final = 1.0

_JSON: Final = re.compile(rb'application/json[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE)
_DIGITS_MAX: Final = 15


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete; nobody is there to answer."""


class ClientTooSlowError(DomainError):
    """The client did not send its request in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Reason.DEADLINE_EXCEEDED, f"the body did not arrive within {seconds:g} s")


class Body:
    """One request's body. `headers` by lower-case name; `receive` is ASGI's."""

    __slots__ = ("_bytes_max", "_chunked", "_complete", "_expected", "_receive", "headers")

    def __init__(
        self,
        headers: Mapping[bytes, bytes],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        *,
        bytes_max: int,
    ) -> None:
        length = headers.get(b"content-length", b"0")
        self.headers = headers
        self._receive = receive
        self._bytes_max = bytes_max
        self._chunked = b"transfer-encoding" in headers
        # The HTTP parser has refused what is no number.
        self._expected = int(length) if len(length) <= _DIGITS_MAX else 10**_DIGITS_MAX
        self._complete = not self._expected and not self._chunked

    async def read(self, *, seconds_max: float) -> bytes:
        """Read all of it, counting as it comes: what a chunked body will amount to is not known before.

        Raises MEDIA_TYPE_NOT_SUPPORTED, BODY_TOO_LARGE, ClientTooSlowError or ClientGoneError.
        """
        if self._complete:
            return b""
        encoding = self.headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            raise _not_supported("bodies are taken as they are, not compressed", encoding)
        if self._expected > self._bytes_max:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(seconds_max):
                more = True
                while more:
                    part, more = await self._part()
                    size += len(part)
                    if size > self._bytes_max:
                        raise self._too_large()
                    parts.append(part)
        except TimeoutError:
            raise ClientTooSlowError(seconds_max) from None
        kind = self.headers.get(b"content-type", b"")
        if size and not _JSON.fullmatch(kind):
            raise _not_supported("the body must be application/json", kind)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def discard(self) -> bool:
        """Let what was not read run out before a refusal is sent; tells whether it did.

        Closing a connection with bytes in it resets it, and the sender would never see why. What is too long or too
        slow for that is reset all the same. A sender that waits for permission is not given it.
        """
        if self._complete:
            return True
        if self._expected > DISCARD_BYTES_MAX or b"expect" in self.headers:
            return False
        size = 0
        try:
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                more = True
                while more and size <= DISCARD_BYTES_MAX:
                    part, more = await self._part()
                    size += len(part)
        except (TimeoutError, ClientGoneError):
            return False
        return not more

    async def _part(self) -> tuple[bytes, bool]:
        """Give the next part and whether more may come."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = bool(message.get("more_body", False))
        self._complete = not more
        return bytes(message.get("body", b"")), more

    def _too_large(self) -> DomainError:
        limit = self._bytes_max
        return DomainError(
            Reason.BODY_TOO_LARGE, f"the body is larger than {limit} bytes", metadata={"limit_bytes": str(limit)}
        )


def _not_supported(message: str, kind: bytes) -> DomainError:
    text = kind[:100].decode("ascii", "backslashreplace")
    return DomainError(Reason.MEDIA_TYPE_NOT_SUPPORTED, message, metadata={"content_type": text})
