"""Answers every request with the same hold under another id: what the generator can do when nothing is behind it.

Job: `body`, a hold as the gateway answered it, and `hold_id`, the id in it.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, cast

from benchmarks.load.http_messages import split
from benchmarks.load.serving import serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class CannedAnswers:
    """The answers; ids count up, because the generator refuses to see one twice."""

    def __init__(self, body: bytes, hold_id: bytes) -> None:
        before, _, after = body.partition(hold_id)
        head = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._before, self._after = head + before + hold_id[:24], after
        self._numbers: Iterator[int] = itertools.count()

    def next(self) -> bytes:
        """Give an answer."""
        return b"%b%012x%b" % (self._before, next(self._numbers), self._after)


class Canned(asyncio.Protocol):
    """One connection."""

    def __init__(self, answers: CannedAnswers) -> None:
        self._answers = answers
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the request is complete."""
        self._buffer += data
        if split(self._buffer) is not None:
            self._buffer = b""
            self._transport.write(self._answers.next())


async def start(job: Mapping[str, Any]) -> int:
    """Listen; give the port."""
    answers = CannedAnswers(job["body"].encode(), job["hold_id"].encode())
    server = await asyncio.get_running_loop().create_server(lambda: Canned(answers), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    return port


if __name__ == "__main__":
    serve(start)
