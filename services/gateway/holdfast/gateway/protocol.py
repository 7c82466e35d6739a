"""One HTTP connection: uvicorn's httptools protocol with the limits that it does not have itself.

A request's head may have 16 kB and 100 lines and must arrive in time, a client must take its answer in time, and
there are only so many connections. Requests of the API go to it as they are; what is served beside it goes through
uvicorn and ASGI (docs/adr/0015-the-api-without-asgi.md).
"""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from holdfast.common.errors import DomainError, Reason
from holdfast.gateway.exchange import Exchange
from holdfast.gateway.outbox import Outbox
from holdfast.gateway.problems import HEADERS_TOO_LARGE, problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

HEAD_BYTES_MAX: Final = 16 * 1024
HEADER_LINES_MAX: Final = 100
WRITE_SECONDS_MAX: Final = 30.0
_LINE_OVERHEAD: Final = 4
_BAD_REQUEST: Final = 400
_UNAVAILABLE: Final = 503


class HeadTooLargeError(Exception):
    """The head of a request is beyond the limit; stops the parser."""


class Connection(HttpToolsProtocol):
    """One connection; `connection_class` sets what is the same for all."""

    serve: ClassVar[Callable[[Exchange], Coroutine[Any, Any, None]]]
    asgi_paths: ClassVar[frozenset[bytes]]
    outbox: ClassVar[Outbox]
    read_seconds_max: ClassVar[float]
    connections_max: ClassVar[int]

    cycle: Any
    """The request that came last: uvicorn's own cycle, or an Exchange."""
    pipeline: Any
    """Requests that came while another was served, the newest first, each with the ASGI application that serves it."""

    _in_head = True
    _head_bytes = 0
    _received = 0
    _awaits_head = False
    """Whether the deadline is that of a head; else it is that of a connection at rest."""
    _deadline = math.inf
    _looks_at = math.inf
    _look: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _refusal = _BAD_REQUEST

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin; refuse what is one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            self._refusal = _UNAVAILABLE
            self.send_400_response("")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._look is not None:
            self._look.cancel()
        self.resume_writing()
        if isinstance(self.cycle, Exchange):
            self.cycle.body.leave()
            self.cycle = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete, and parse."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._received += len(data)
        super().data_received(data)
        if not (self._in_head and self._received) or self.transport.is_closing():
            return
        # A line that never ends is not shown to `on_header`: count what came in as well.
        if self._received > HEAD_BYTES_MAX:
            self._refusal = HEADERS_TOO_LARGE
            self.send_400_response("")
        elif not self._awaits_head:
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        self._head_bytes = 0
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """Keep, and count."""
        self.url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep, and count; the trailers of a chunked body count on."""
        self.headers.append((name.lower(), value))
        self._count_head(len(name) + len(value) + _LINE_OVERHEAD)

    def on_headers_complete(self) -> None:
        """Note that the head is there in time, and begin with the request."""
        self._in_head = self._awaits_head = False
        self._received = 0
        self._deadline = math.inf
        url = httptools.parse_url(self.url)
        if url.path in self.asgi_paths:
            self._begin_asgi()
        else:
            self._begin(url.path, url.query or b"")

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body to whoever serves the request."""
        cycle = self.cycle
        if not isinstance(cycle, Exchange):
            super().on_body(body)
        elif not cycle.response_complete:
            cycle.body.feed(body)

    def on_message_complete(self) -> None:
        """Expect a head again."""
        self._in_head = True
        if isinstance(self.cycle, Exchange):
            self.cycle.body.end()
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request if it is there already; else give the client time to send one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        following = self.pipeline.pop() if self.pipeline else None
        if not self.pipeline:
            self.flow.resume_reading()
        if following is not None:
            self._start_asgi_task(*following)
        elif not self._awaits_head:
            self._expect(self.timeout_keep_alive)

    def shutdown(self) -> None:
        """Let the request in flight be the last one; without any, close."""
        self.outbox.flush()
        super().shutdown()

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
        self._deadline = math.inf
        self.outbox.flush()
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

    def _begin(self, path: bytes, query: bytes) -> None:
        """Let the API serve the request, after those that came before it."""
        path.decode("ascii")  # an address with other bytes is none
        version = self.parser.get_http_version()
        exchange = Exchange(
            self,
            method=self.parser.get_method().decode("ascii"),
            raw_path=path,
            query=query,
            headers=self.headers,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
        )
        before, self.cycle = self.cycle, exchange
        if before is None or before.response_complete:
            self._start_asgi_task(exchange, None)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, None))

    def _begin_asgi(self) -> None:
        """Let uvicorn serve the request: tell it what the parser told us."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        super().on_url(url)
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if not isinstance(cycle, Exchange):
            super()._start_asgi_task(cycle, app)
            return
        task = self.loop.create_task(type(self).serve(cycle))
        self.tasks.add(task)
        task.add_done_callback(cycle.ended)

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX or len(self.headers) > HEADER_LINES_MAX:
            self._refusal = HEADERS_TOO_LARGE
            raise HeadTooLargeError

    def _await_head(self) -> None:
        self._awaits_head = True
        self._expect(self.read_seconds_max)

    def _expect(self, seconds: float) -> None:
        """Close the connection in so many seconds unless something else is expected of it by then.

        A request moves the deadline, and the timer that looks at it is left as it is while it comes soon enough.
        """
        self._deadline = self.loop.time() + seconds
        if self._deadline < self._looks_at:
            if self._look is not None:
                self._look.cancel()
            self._look_later()

    def _look_later(self) -> None:
        self._looks_at = self._deadline
        self._look = self.loop.call_at(self._looks_at, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._looks_at = math.inf
        self._look = None
        if self.loop.time() >= self._deadline:
            self.transport.close()
        elif self._deadline < math.inf:
            self._look_later()


def connection_class(
    serve: Callable[[Exchange], Coroutine[Any, Any, None]],
    *,
    asgi_paths: frozenset[bytes],
    read_seconds_max: float,
    connections_max: int,
) -> type[Connection]:
    """Make the protocol class with what is the same for all; uvicorn instantiates it for each connection."""
    same = {
        "serve": staticmethod(serve),
        "asgi_paths": asgi_paths,
        "outbox": Outbox(),
        "read_seconds_max": read_seconds_max,
        "connections_max": connections_max,
    }
    return type("BoundedConnection", (Connection,), same)


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
