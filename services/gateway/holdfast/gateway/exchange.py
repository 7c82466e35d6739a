"""One request of the API and its answer: from the parser to the API and back, with nothing between them."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Final

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from holdfast.gateway.body import Body
from holdfast.gateway.problems import internal_error, problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from holdfast.gateway.answers import Answer
    from holdfast.gateway.protocol import Connection

_READ: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"idempotency-key",
        b"if-match",
        b"if-none-match",
        b"origin",
        b"request-timeout",
        b"traceparent",
        b"transfer-encoding",
    }
)
"""The headers that are read at all. Whatever else a client sends, such as a principal of its own, is not looked at."""
_WITHOUT_CONTENT: Final = frozenset({204, 304})
_UNFIT: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

logger = structlog.get_logger(__name__)


class Exchange:
    """A request as it was sent, and the way back. uvicorn keeps it where it keeps what it serves by ASGI."""

    __slots__ = (
        "_connection",
        "body",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "query",
        "raw_path",
        "repeated",
        "response_complete",
    )

    def __init__(  # noqa: PLR0913 - what the head of a request says
        self,
        connection: Connection,
        *,
        method: str,
        raw_path: bytes,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.raw_path = raw_path
        self.query = query
        self.headers: dict[bytes, bytes] = {}
        self.repeated = ""
        """The name of a header that came twice where that has no meaning."""
        self._read(headers)
        self.body = Body(self.headers, connection)
        self.gone: Callable[[], bool] = connection.transport.is_closing
        """Tells whether the client has left."""
        self.keep_alive = keep_alive
        self.response_complete = False

    def _read(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        found = self.headers
        for name, value in pairs:
            if name not in _READ:
                continue
            if name not in found:
                found[name] = value
            elif name == b"if-none-match":
                found[name] += b", " + value  # a list may come in several lines
            else:
                found[name] = value
                if name != b"traceparent":
                    self.repeated = name.decode("ascii")

    async def answer(self, answer: Answer) -> None:
        """Send the answer; a client that is gone gets none."""
        flow = self._connection.flow
        if flow.write_paused:
            await flow.drain()
        if not self.gone():
            self._write(answer)

    def ended(self, task: asyncio.Task[None]) -> None:
        """Look at how the API's work ended: who was not answered because it failed or was stopped is answered here."""
        connection = self._connection
        connection.tasks.discard(task)
        if self.response_complete or self.gone():
            return
        fault = None if task.cancelled() else task.exception()
        logger.error("request not answered", method=self.method, stopped=task.cancelled(), exc_info=fault)
        self.keep_alive = False
        self._write(problem(internal_error(), trace_id=uuid.uuid4().hex))

    def _write(self, answer: Answer) -> None:
        """Write head and body at once, in one packet, and let the connection go on."""
        connection, body = self._connection, answer.body
        parts = [STATUS_LINE[answer.status]]
        for name, value in (*connection.server_state.default_headers, *answer.headers):
            if _UNFIT.search(value):
                raise ValueError(f"the header {name.decode()} holds what no header may")
            parts += (name, b": ", value, b"\r\n")
        if answer.status not in _WITHOUT_CONTENT:  # those have no length either
            parts.append(b"content-length: %d\r\n" % len(body))
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if self.method != "HEAD":
            parts.append(body)
        connection.outbox.put(connection.transport, b"".join(parts), connection.loop)
        self.response_complete = True
        if not self.keep_alive:
            connection.outbox.flush()
            connection.transport.close()
        connection.on_response_complete()
