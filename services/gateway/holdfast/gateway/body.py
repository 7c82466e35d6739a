"""The body of a request as it arrives: bounded in size and time, and discarded politely when it is refused."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.gateway.protocol import Connection

UNREAD_BYTES_MAX: Final = 64 * 1024
"""How much of a body may wait for whoever reads it; beyond, the connection is not read."""
DISCARD_BYTES_MAX: Final = 4 * 1024 * 1024
DISCARD_SECONDS_MAX: Final = 1.0

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_JSON: Final = re.compile(rb'application/json[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE)
_DIGITS_MAX: Final = 15


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete; nobody is there to answer."""


class ClientTooSlowError(DomainError):
    """The client did not send its request in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Reason.DEADLINE_EXCEEDED, f"the body did not arrive within {seconds:g} s")


class Body:
    """One request's body. `headers` by lower-case name; the connection hands it over with `feed`, `end`, `leave`."""

    __slots__ = (
        "_announced",
        "_connection",
        "_ended",
        "_expected",
        "_gone",
        "_limit",
        "_parts",
        "_size",
        "_waiter",
        "headers",
    )

    def __init__(self, headers: Mapping[bytes, bytes], connection: Connection) -> None:
        length = headers.get(b"content-length", b"0")
        self.headers = headers
        self._connection = connection
        # The HTTP parser has refused what is no number.
        self._expected = int(length) if len(length) <= _DIGITS_MAX else 10**_DIGITS_MAX
        self._announced = self._expected > 0 or b"transfer-encoding" in headers
        self._parts: list[bytes] | None = []
        """None when nobody will want them."""
        self._size = 0
        self._limit = UNREAD_BYTES_MAX
        self._ended = self._gone = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, part: bytes) -> None:
        """Take a part."""
        self._size += len(part)
        if self._parts is not None:
            self._parts.append(part)
        if self._size > self._limit:
            self._connection.flow.pause_reading()
        self._wake()

    def end(self) -> None:
        """Note that it is complete."""
        self._ended = True
        self._wake()

    def leave(self) -> None:
        """Note that its client has left."""
        self._gone = True
        self._wake()

    async def read(self, *, seconds_max: float, bytes_max: int) -> bytes:
        """Read all of it, counting as it comes: what a chunked body will amount to is not known before.

        Raises MEDIA_TYPE_NOT_SUPPORTED, BODY_TOO_LARGE, ClientTooSlowError or ClientGoneError.
        """
        if not self._announced:
            return b""
        encoding = self.headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            raise _not_supported("bodies are taken as they are, not compressed", encoding)
        if self._expected > bytes_max:
            raise _too_large(bytes_max)
        if self.headers.get(b"expect", b"").lower() == b"100-continue":
            self._connection.transport.write(_CONTINUE)
        if not self._ended:
            try:
                async with asyncio.timeout(seconds_max):
                    await self._arrive(bytes_max)
            except TimeoutError:
                raise ClientTooSlowError(seconds_max) from None
        if self._gone:
            raise ClientGoneError
        if self._size > bytes_max:
            raise _too_large(bytes_max)
        kind = self.headers.get(b"content-type", b"")
        if self._size and not _JSON.fullmatch(kind):
            raise _not_supported("the body must be application/json", kind)
        parts, self._parts = self._parts or [], None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def discard(self) -> bool:
        """Let what was not read run out before a refusal is sent; tells whether it did.

        Closing a connection with bytes in it resets it, and the sender would never see why. What is too long or too
        slow for that is reset all the same. A sender that waits for permission is not given it.
        """
        if self._ended or not self._announced:
            return True
        if self._expected > DISCARD_BYTES_MAX or b"expect" in self.headers:
            return False
        self._parts, self._size = None, 0
        try:
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                await self._arrive(DISCARD_BYTES_MAX)
        except TimeoutError:
            return False
        return self._ended

    async def _arrive(self, bytes_max: int) -> None:
        """Wait until it is complete, its client has left, or it is longer than so many bytes."""
        self._limit = bytes_max
        self._connection.flow.resume_reading()
        while not (self._ended or self._gone or self._size > bytes_max):
            self._waiter = self._connection.loop.create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _too_large(limit: int) -> DomainError:
    return DomainError(
        Reason.BODY_TOO_LARGE, f"the body is larger than {limit} bytes", metadata={"limit_bytes": str(limit)}
    )


def _not_supported(message: str, kind: bytes) -> DomainError:
    text = kind[:100].decode("ascii", "backslashreplace")
    return DomainError(Reason.MEDIA_TYPE_NOT_SUPPORTED, message, metadata={"content_type": text})
