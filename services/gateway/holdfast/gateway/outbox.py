"""Answers of one turn of the event loop leave together at its end.

Written one by one, each would wake its client while the next one is still being made: on a busy machine the two
would take turns on the processor for every answer instead of once for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Outbox:
    """What is to be written at the end of this turn, to all connections of a server."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
        """Write at the end of this turn."""
        if not self._waiting:
            loop.call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        """Write now: before a connection closes, and before anything else is written to one."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            transport.write(data)
