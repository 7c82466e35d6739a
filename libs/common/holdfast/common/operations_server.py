"""What operators and probes ask a service over plain HTTP: /metrics, /health/live, /health/ready. Nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import orjson
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from holdfast.common.errors import StartRefused
from holdfast.common.settings import host_port
from holdfast.common.tasks import Background, watch_loop_lag

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.common.metrics import Metrics

CONNECTIONS_MAX: Final = 64
REQUEST_BYTES_MAX: Final = 8 * 1024
REQUEST_SECONDS_MAX: Final = 5.0
_JSON: Final = "application/json"
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Unavailable"}


class OperationsServer:
    """A small HTTP/1.1 server: one GET a connection, bounded in size, time and number.

    `ready` tells whether the service takes work. That it answers /health/live at all says that its loop runs.
    """

    def __init__(self, *, metrics: Metrics, listen: str, ready: Callable[[], bool]) -> None:
        self.port = 0
        self._metrics = metrics
        self._host, self._listen_port = host_port(listen)
        self._ready = ready
        self._server: asyncio.Server | None = None
        self._connections = 0
        self._lag = Background("loop-lag", lambda stop: watch_loop_lag(metrics, stop))

    async def start(self) -> None:
        """Listen; StartRefused when the address cannot be had."""
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self._listen_port, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            raise StartRefused(f"cannot listen on {self._host}:{self._listen_port}: {error.strerror}") from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._lag.start()

    async def stop(self) -> None:
        """Stop listening; connections in work end within their own limit."""
        await self._lag.stop()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                status, kind, body = await self._answer(reader)
                head = (
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (TimeoutError, OSError):
            pass  # Slow or gone: nobody to answer.
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, str, bytes]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return 400, _JSON, b'{"status":"bad request"}'
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if words[0] != b"GET" or len(words) != 3:  # noqa: PLR2004 - method, path, version
            return 405, _JSON, b'{"status":"GET only"}'
        path = words[1].split(b"?", 1)[0]
        if path == b"/metrics":
            # In a thread: writing thousands of samples must not hold up calls.
            text = await asyncio.to_thread(generate_latest, self._metrics.registry)
            return 200, CONTENT_TYPE_PLAIN_0_0_4, text
        if path == b"/health/live":
            return 200, _JSON, self._state("live")
        if path == b"/health/ready":
            return (200, _JSON, self._state("ready")) if self._ready() else (503, _JSON, self._state("not ready"))
        return 404, _JSON, b'{"status":"not found"}'

    def _state(self, status: str) -> bytes:
        return orjson.dumps({"status": status, "service": self._metrics.service})
