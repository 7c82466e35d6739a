"""One HTTP connection: uvicorn's httptools protocol with the limits that it does not have itself.

A request's head may have 16 kB and 100 lines and must arrive in time, a client must take its answer in time, and
there are only so many connections.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.problems import HEADERS_TOO_LARGE, problem
from holdfast.gateway.transport import JoiningTransport

if TYPE_CHECKING:
    import asyncio

HEAD_BYTES_MAX: Final = 16 * 1024
HEADER_LINES_MAX: Final = 100
WRITE_SECONDS_MAX: Final = 30.0
GONE: Final = "holdfast.gone"
"""The extension of ASGI's scope that tells whether the client has left: a callable."""
_LINE_OVERHEAD: Final = 4
_BAD_REQUEST: Final = 400
_UNAVAILABLE: Final = 503


class HeadTooLargeError(Exception):
    """The head of a request is beyond the limit; stops the parser."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection; `bounded_protocol` sets the limits."""

    read_seconds_max: ClassVar[float]
    connections_max: ClassVar[int]

    _in_head = True
    _head_bytes = 0
    _head_lines = 0
    _received = 0
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _refusal = _BAD_REQUEST

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin; refuse what is one connection too many."""
        super().connection_made(JoiningTransport(transport))  # type: ignore[arg-type]  # it passes on the rest
        if len(self.connections) > self.connections_max:
            self._refusal = _UNAVAILABLE
            self.send_400_response("")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._head_arrived()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete, and parse."""
        if self.transport.is_closing():
            return
        if self._in_head:
            if self._head_timer is None:
                self._await_head()
            self._received += len(data)
        super().data_received(data)
        # A line that never ends is not shown to `on_header`: count what came in as well.
        if self._in_head and self._received > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refusal = HEADERS_TOO_LARGE
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._head_bytes = self._head_lines = 0
        super().on_message_begin()
        self.scope["extensions"] = {GONE: self.transport.is_closing}  # type: ignore[dict-item] # ASGI leaves it open

    def on_url(self, url: bytes) -> None:
        """Count."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count; the trailers of a chunked body count on."""
        self._head_lines += 1
        self._count_head(len(name) + len(value) + _LINE_OVERHEAD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the head is there in time."""
        self._in_head = False
        self._received = 0
        self._head_arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect a head again."""
        self._in_head = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Give the client time to take what was written."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS_MAX, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client took it."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request that could be answered, and close. The text of the parser is not told."""
        del msg
        self._head_arrived()
        answer = problem(_refusal(self._refusal), trace_id=uuid.uuid4().hex, status=self._refusal)
        lines = [STATUS_LINE[answer.status]]
        for name, value in (
            *self.server_state.default_headers,
            *answer.headers,
            (b"content-length", str(len(answer.body)).encode()),
            (b"connection", b"close"),
        ):
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join([*lines, b"\r\n", answer.body]))
        self.transport.close()

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX or self._head_lines > HEADER_LINES_MAX:
            self._refusal = HEADERS_TOO_LARGE
            raise HeadTooLargeError

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.read_seconds_max, self.transport.close)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def bounded_protocol(*, read_seconds_max: float, connections_max: int) -> type[BoundedProtocol]:
    """Make the protocol class with its limits; uvicorn instantiates it for each connection."""
    limits = {"read_seconds_max": read_seconds_max, "connections_max": connections_max}
    return type("Connection", (BoundedProtocol,), limits)


def _refusal(status: int) -> DomainError:
    if status == HEADERS_TOO_LARGE:
        return DomainError(
            Reason.VALIDATION_FAILED,
            f"a request's head may have {HEAD_BYTES_MAX} bytes and {HEADER_LINES_MAX} lines",
            metadata={"limit_bytes": str(HEAD_BYTES_MAX)},
        )
    if status == _UNAVAILABLE:
        return DomainError(
            Reason.OVERLOADED, "too many connections", metadata={"queue": "connections"}, retry_after_seconds=1
        )
    return DomainError(Reason.VALIDATION_FAILED, "this is not a valid HTTP request")
