"""One transaction of an event at a time in this process; the others wait here, not for a lock with a connection each.

Affinity, never correctness: the event's row is what keeps replicas apart. So a rush on one event does not take the
connections that other events need.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WAITING_MAX: Final = 500
"""Requests of one event that wait; more are refused at once."""


class _Lane:
    __slots__ = ("inside", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.inside = 0


class Lanes:
    """A queue for each event that somebody works on, in the order of arrival."""

    def __init__(self, *, waiting_max: int = WAITING_MAX) -> None:
        self._waiting_max = waiting_max
        self._lanes: dict[tuple[str, str], _Lane] = {}

    @asynccontextmanager
    async def of(self, organization_id: str, event_id: str) -> AsyncIterator[None]:
        """Wait for one's turn on an event. Raises OVERLOADED at once when too many wait already."""
        name = (organization_id, event_id)
        lane = self._lanes.setdefault(name, _Lane())
        if lane.inside > self._waiting_max:
            raise DomainError(
                Reason.OVERLOADED,
                "too much is waiting for the same event",
                metadata={"queue": "event"},
                retry_after_seconds=1.0,
            )
        lane.inside += 1
        try:
            async with lane.lock:
                yield
        finally:
            lane.inside -= 1
            if lane.inside == 0:
                del self._lanes[name]
