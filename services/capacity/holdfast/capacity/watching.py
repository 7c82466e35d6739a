"""Following what is left of events: each follower is told how what it was told last differs from what is so now.

Nothing is queued for anybody. A follower keeps the view that it was told, and when it can take more, it gets the
difference to the newest one, however many commits that is: who reads slowly is told less often, and misses nothing.
What is so now comes from the memory of this process, shared by all who follow or ask; nobody holds a connection to the
database meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.watching import Delta, Told, View, changed, changed_since
from holdfast.capacity.following import AGE_MAX, EVENTS_MAX
from holdfast.capacity.store import journal
from holdfast.capacity.watch_messages import touched_by
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from holdfast.capacity.availability import Availabilities
    from holdfast.capacity.seat_maps import SeatMaps
    from holdfast.common.database import Database

STEP_SECONDS_MIN: Final = 0.05
"""How long a follower waits after a step at least; commits in between come together."""
STEPS_PER_SECOND_MAX: Final = 1_000
"""Steps of all followers of a process: with more of them, each waits longer."""
RESUMED_VERSIONS_MAX: Final = 64
"""Who is further behind gets a snapshot, which is less than so many rows of the journal."""
EVENTS_WATCHED_MAX: Final = EVENTS_MAX * 3 // 4
"""Events that are followed at once: they stay in memory, beside those that others ask for."""
RESUMING_MAX: Final = 4
"""Followers for whom the journal is read at once."""
READ_SECONDS_MAX: Final = 10.0
VIEW_ATTEMPTS_MAX: Final = 8
RETRY_AFTER_SECONDS: Final = 5.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Watch:
    """What somebody follows: an event, or one of its dates; `hidden` sections too, and seats, if asked for."""

    organization_id: str
    event_id: str
    schedule_id: str | None
    hidden: bool
    with_seats: bool

    @property
    def key(self) -> Key:
        """The event."""
        return self.organization_id, self.event_id


class Watches:
    """The followers of this process."""

    def __init__(self, *, database: Database, availabilities: Availabilities, seat_maps: SeatMaps) -> None:
        self._database = database
        self._availabilities = availabilities
        self._seat_maps = seat_maps
        self._followers: Counter[Key] = Counter()
        self._resuming = asyncio.Semaphore(RESUMING_MAX)

    async def steps(self, watch: Watch, *, after_version: int) -> AsyncGenerator[Told]:
        """Tell steps without end: first a snapshot, or what changed since a version; then what changes.

        Raises EVENT_NOT_FOUND, SCHEDULE_NOT_FOUND, DEPENDENCY_UNAVAILABLE, OVERLOADED.
        """
        clock = asyncio.get_running_loop().time
        with self._counted(watch.key):
            view = await self._view(watch, at_least=after_version)
            yield Told(view, await self._since(watch, after_version, view) if after_version else None)
            while True:
                told = clock()
                await self._change(watch, view)
                await asyncio.sleep(max(0.0, told + self._pace() - clock()))
                now = await self._view(watch, at_least=view.version)
                if now.name != view.name:
                    yield Told(now, changed(view, now))
                    view = now

    @contextmanager
    def _counted(self, key: Key) -> Iterator[None]:
        if key not in self._followers and len(self._followers) >= EVENTS_WATCHED_MAX:
            raise DomainError(
                Reason.OVERLOADED,
                "as many events are followed as can be",
                metadata={"queue": "streams"},
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._followers[key] += 1
        try:
            yield
        finally:
            self._followers[key] -= 1
            if not self._followers[key]:
                del self._followers[key]

    def _pace(self) -> float:
        return max(STEP_SECONDS_MIN, self._followers.total() / STEPS_PER_SECOND_MAX)

    async def _change(self, watch: Watch, view: View) -> None:
        """Wait until there may be something to tell."""
        seconds = AGE_MAX.total_seconds()
        if view.next_change_time is not None:
            seconds = min(seconds, (view.next_change_time - view.at).total_seconds())
        until = asyncio.get_running_loop().time() + seconds
        await self._availabilities.news(*watch.key, after_version=view.version, until=until)

    async def _view(self, watch: Watch, *, at_least: int) -> View:
        """Look at what is left, and at the seats, at one version."""
        for _ in range(VIEW_ATTEMPTS_MAX):
            event, at = await self._availabilities.of(*watch.key, at_least=at_least)
            if not watch.with_seats:
                found = event.answer(at, schedule_id=watch.schedule_id, hidden=watch.hidden)
                return View(found, at, event.at)
            seats, seats_at = await self._seat_maps.of(*watch.key, at_least=event.version)
            if seats.version == event.version:
                at = max(at, seats_at)
                return View(
                    event.answer(at, schedule_id=watch.schedule_id, hidden=watch.hidden),
                    at,
                    min(event.at, seats.at),
                    seats=seats.shown(at, schedule_id=watch.schedule_id, hidden=watch.hidden),
                    claimed={section_id: each.taken for section_id, each in seats.seats.items()},
                )
            at_least = max(event.version, seats.version)
        raise DomainError(
            Reason.OVERLOADED,
            "the inventory changes faster than it can be followed",
            metadata={"queue": "streams"},
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )

    async def _since(self, watch: Watch, after_version: int, view: View) -> Delta | None:
        """Tell what changed since a version that a follower knows; None when only a snapshot tells that."""
        behind = view.version - after_version
        if not 0 <= behind <= RESUMED_VERSIONS_MAX:
            return None
        bodies: list[bytes] = []
        if behind:
            async with self._resuming:
                bodies = await self._database.run(
                    lambda transaction: journal.page(
                        transaction, watch.event_id, after_version=after_version, limit=behind
                    ),
                    organization_id=watch.organization_id,
                    deadline=asyncio.get_running_loop().time() + READ_SECONDS_MAX,
                )
        touched = touched_by(bodies, after_version=after_version, version=view.version)
        return None if touched is None else changed_since(after_version, touched, view, schedule_id=watch.schedule_id)
