"""REST load: a closed loop of keep-alive connections on bare asyncio protocols, requests encoded in advance.

Job: `port`, `connections`, `script`, and what `Requests` and `Measurement` read.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import uvloop

from benchmarks.load.http_messages import NotUnderstoodError, split
from benchmarks.load.outcome import WARM_SECONDS_MAX, Measurement, Outcome, work
from benchmarks.load.scripts import SCRIPTS, ExhaustedError, Requests, Script, WrongAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_SECONDS_MAX = 15.0
"""How long the last answers may take after the end; what has none by then is an error."""


class Connection(asyncio.Protocol):
    """One connection: at most one request in flight; the next one follows the answer at once."""

    __slots__ = ("_began", "_buffer", "_measurement", "_script", "_transport", "busy", "idle")

    def __init__(self, script: Script, measurement: Measurement) -> None:
        self._script = script
        self._measurement = measurement
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport
        self.busy = False
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def begin(self) -> None:
        """Begin an operation, unless the time is over."""
        now = time.perf_counter()
        try:
            if self._measurement.over(now):
                self._rest()
                return
            request = self._script.begin()
        except ExhaustedError:
            self._measurement.failed("nothing left to ask for")
            self._rest()
            return
        self.busy = True
        self._began = now
        self._transport.write(request)

    def _rest(self) -> None:
        self.busy = False
        self.idle.set()

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        if self._buffer:
            data = self._buffer + data
        try:
            message = split(data)
            if message is None:
                self._buffer = data
                return
            self._buffer = b""
            head, body = message
            following = self._script.proceed(head[9:12], body)
        except (WrongAnswerError, NotUnderstoodError) as error:
            self._measurement.failed(str(error))
        except (KeyError, TypeError, ValueError) as error:
            self._measurement.failed(f"{type(error).__name__} in an answer")
        else:
            if following is not None:
                self._transport.write(following)
                return
            script = self._script
            self._measurement.done(self._began, time.perf_counter(), held=script.held, sold=script.sold)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what was in flight."""
        if self.busy:
            self._measurement.failed(f"connection lost {type(exc).__name__ if exc else ''}".strip())
        self._rest()

    def close(self) -> None:
        """Hang up; what is still in flight is an error."""
        if self.busy:
            self._measurement.failed("no answer")
            self.busy = False
        self._transport.close()


async def drive(job: Mapping[str, Any]) -> Outcome:
    """Run the load."""
    loop = asyncio.get_running_loop()
    measurement = Measurement(job)
    requests = Requests(job)
    script = SCRIPTS[job["script"]]
    connections = []
    for _ in range(job["connections"]):
        _, connection = await loop.create_connection(
            lambda: Connection(script(requests), measurement), "127.0.0.1", job["port"]
        )
        connections.append(connection)
    measurement.start()
    for connection in connections:
        connection.begin()
    try:
        async with asyncio.timeout(max(job["warm_seconds"], WARM_SECONDS_MAX) + job["seconds"] + ANSWER_SECONDS_MAX):
            for connection in connections:
                await connection.idle.wait()
    except TimeoutError:
        pass  # close() counts what has no answer
    for connection in connections:
        connection.close()
    return measurement.outcome()


def run(job: Mapping[str, Any]) -> Outcome:
    """Run the load in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(drive(job))


if __name__ == "__main__":
    work(run)
