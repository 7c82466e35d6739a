"""One timer for the deadlines of all that waits: nearly all of it is answered long before and needs none of its own."""

from __future__ import annotations

import asyncio
import math
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.gateway.mutations import WaitingCall

PAUSE_SECONDS: Final = 0.005
"""How often at most everything is looked through; a deadline is noticed that much later when many pass at a time."""


class Deadlines:
    """Tells `expire` of each item whose deadline passes while it is here. Make it inside the event loop."""

    def __init__(self, expire: Callable[[WaitingCall], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._items: set[WaitingCall] = set()
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: WaitingCall) -> None:
        """Watch an item's deadline."""
        self._items.add(item)
        if item.deadline < self._next:
            self._look_at(item.deadline)

    def remove(self, item: WaitingCall) -> None:
        """Watch it no more."""
        self._items.discard(item)

    def close(self) -> None:
        """Watch nothing any more."""
        self._items.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = moment
        self._timer = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        self._next, self._timer = math.inf, None
        now = self._loop.time()
        for item in sorted((item for item in self._items if item.deadline <= now), key=attrgetter("deadline")):
            self._items.discard(item)
            self._expire(item)
        if self._items:
            self._look_at(max(min(item.deadline for item in self._items), now + PAUSE_SECONDS))
