"""What there is of events, in the memory of this process: read from the tables once, then following the journal.

A reading is good for two seconds. Every commit that comes after it, this process' own or another's, makes it newer,
because a commit is known to have been the newest version when it was made. What is older is brought up to date by one
reading of the tables for all who ask: usually only of the version, or of the journal's rows in between.

Without messages of others' commits everything still works: readings are then made every two seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.capacity.domain.database_clock import DatabaseClock
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import inventories, journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from prometheus_client import Counter

    from holdfast.common.database import Database, Transaction
    from holdfast.common.message import IncomingMessage

AGE_MAX: Final = timedelta(seconds=2)
"""What is older is read anew."""
EVENTS_MAX: Final = 256
"""Events that are kept; those that nobody asked for the longest are forgotten first."""
WAITING_MAX: Final = 128
"""Commits of an event that wait to be applied until somebody asks; with more, they are applied at once."""
COMMITS: Final = "capacity.*.*.inventory_changed"
"""The subject of the messages that tell of commits."""
CATCH_UP_MAX: Final = 64
"""Rows of the journal that are read at once; an event that is further behind is read as a whole."""
READ_SECONDS_MAX: Final = 10.0

Key = tuple[str, str]


class Read(Protocol):
    """A reading of the tables: at a version, at a moment."""

    @property
    def version(self) -> int:
        """The version that was the newest."""

    @property
    def at(self) -> datetime:
        """When it was that."""


class Followed(Protocol):
    """Something of an event at a version, which was the newest at least until `at`."""

    version: int
    at: datetime

    def known_newest(self, at: datetime) -> None:
        """Take note that the version still was the newest at a moment."""


E = TypeVar("E", bound=Followed)
R = TypeVar("R", bound=Read)
Found = TypeVar("Found", bound=Read)


@dataclass(slots=True)
class _Kept(Generic[E]):
    """An event, None until it is read as a whole; and commits that were not applied yet, by version."""

    event: E | None = None
    waiting: dict[int, messages_pb2.InventoryChanged] = field(default_factory=dict)

    def knows(self, version: int) -> bool:
        """Tell whether a commit was taken note of."""
        return version in self.waiting or (self.event is not None and version <= self.event.version)

    def forget_older(self, version: int) -> None:
        """Forget commits up to a version."""
        self.waiting = {number: change for number, change in self.waiting.items() if number > version}


@dataclass(frozen=True, slots=True)
class _News:
    """The newest version of an event at a moment, and the rows of the journal up to it, or beyond."""

    version: int
    at: datetime
    bodies: tuple[bytes, ...] = ()


class Following(Generic[E, R]):
    """What there is of the events that are asked for.

    `read` reads all of an event in one snapshot, None when it is not known; `made` makes of that what is kept, `follow`
    applies the next commit to it, False when only the tables can tell what came of it. `readings` counts readings.
    """

    def __init__(  # noqa: PLR0913 (what differs between the things that are kept)
        self,
        *,
        database: Database,
        read: Callable[[Transaction, str], Awaitable[R | None]],
        made: Callable[[R], E],
        follow: Callable[[E, messages_pb2.InventoryChanged], bool],
        readings: Counter,
        events_max: int = EVENTS_MAX,
    ) -> None:
        self._database = database
        self._read = read
        self._made = made
        self._follow = follow
        self._readings_total = readings
        self._events_max = events_max
        self._kept: OrderedDict[Key, _Kept[E]] = OrderedDict()
        self._readings: dict[Key, asyncio.Task[E]] = {}
        self._waiters: dict[Key, set[asyncio.Future[None]]] = {}
        self._clock = DatabaseClock()

    def observe(self, change: messages_pb2.InventoryChanged) -> None:
        """Take note of a commit, made here or told by a message. Repeated and unordered ones are welcome.

        Costs next to nothing: it is applied when somebody asks.
        """
        kept = self._kept.get((change.organization_id, change.event_id))
        if kept is None or kept.knows(change.version):
            return
        kept.waiting[change.version] = change
        if len(kept.waiting) >= WAITING_MAX:
            self._applied(kept)
        if len(kept.waiting) >= WAITING_MAX:  # one of those before them is missing
            kept.waiting.clear()
        for waiter in self._waiters.pop((change.organization_id, change.event_id), ()):
            if not waiter.done():
                waiter.set_result(None)

    def hear(self, incoming: IncomingMessage) -> None:
        """Take note of a commit that a message tells of."""
        kept = self._kept.get((incoming.organization_id, incoming.event_id or ""))
        if kept is None or kept.knows(incoming.version):
            return
        change = messages_pb2.InventoryChanged.FromString(incoming.body)
        if (change.organization_id, change.event_id) == (incoming.organization_id, incoming.event_id):
            self.observe(change)

    async def of(self, organization_id: str, event_id: str, *, at_least: int = 0) -> tuple[E, datetime]:
        """Give what there is of an event, at most 2 s old, and the database's time now.

        Not before the version `at_least`, unless the event has not reached it. EVENT_NOT_FOUND, DEPENDENCY_UNAVAILABLE.
        """
        key = (organization_id, event_id)
        kept = self._kept.get(key)
        event = None if kept is None else self._applied(kept)
        if event is not None:
            self._kept.move_to_end(key)
            now = max(self._clock.now(time.monotonic()), event.at)
            if now - event.at <= AGE_MAX and event.version >= at_least:
                return event, now
        joined = key in self._readings
        event = await self._reading(key)
        if joined and event.version < at_least:  # it may have begun before there was that version
            event = await self._reading(key)
        return event, max(self._clock.now(time.monotonic()), event.at)

    async def news(self, organization_id: str, event_id: str, *, after_version: int, until: float) -> None:
        """Wait until a commit of an event after a version was heard of, or until a moment of the loop's clock."""
        key = (organization_id, event_id)
        kept = self._kept.get(key)
        if kept is None or (kept.event is not None and kept.event.version > after_version):
            return
        if any(version > after_version for version in kept.waiting):
            return
        heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(key, set())
        waiters.add(heard)
        try:
            async with asyncio.timeout_at(until):
                await heard
        except TimeoutError:
            pass
        finally:
            waiters.discard(heard)
            if not waiters and self._waiters.get(key) is waiters:
                del self._waiters[key]

    async def _reading(self, key: Key) -> E:
        """Join the reading of an event that is under way, or begin one."""
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.create_task(self._brought_up_to_date(key), name="following")
            reading.add_done_callback(lambda task: self._over(key, task))
        return await asyncio.shield(reading)

    async def close(self) -> None:
        """End readings under way. Nobody may ask any more."""
        readings = list(self._readings.values())
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)

    def _applied(self, kept: _Kept[E]) -> E | None:
        """Apply the commits that follow one another; None when the event must be read as a whole."""
        event = kept.event
        while event is not None and (change := kept.waiting.pop(event.version + 1, None)) is not None:
            if change.repaired or not self._follow(event, change):
                event = kept.event = None
        return event

    def _begun_anew(self, kept: _Kept[E], read: R) -> E:
        """Begin anew with a reading, and what was committed since."""
        kept.event = self._made(read)
        kept.forget_older(read.version)
        applied = self._applied(kept)
        if applied is None:
            # Something that only the tables tell changed right after the reading, which is good as it is.
            applied = kept.event = self._made(read)
        return applied

    def _over(self, key: Key, reading: asyncio.Task[E]) -> None:
        del self._readings[key]
        if not reading.cancelled():
            reading.exception()  # seen: who asked may be gone
        kept = self._kept.get(key)
        if kept is not None and kept.event is None:
            del self._kept[key]  # there is no such event; it takes nobody's place
        while len(self._kept) > self._events_max:
            self._kept.popitem(last=False)

    async def _brought_up_to_date(self, key: Key) -> E:
        """Bring an event up to date, or read it as a whole. One at a time for each event."""
        kept = self._kept.setdefault(key, _Kept())
        event = await self._caught_up(key, kept)
        if event is not None:
            return event
        self._readings_total.labels("everything").inc()
        return self._begun_anew(kept, await self._run(key, lambda transaction: self._everything(transaction, key[1])))

    async def _everything(self, transaction: Transaction, event_id: str) -> R:
        read = await self._read(transaction, event_id)
        if read is None:
            raise event_not_found(event_id)
        return read

    async def _caught_up(self, key: Key, kept: _Kept[E]) -> E | None:
        """Apply what the journal has since; None when the event must be read as a whole."""
        if kept.event is None:
            return None
        after = kept.event.version
        self._readings_total.labels("journal").inc()
        news = await self._run(key, lambda transaction: _news(transaction, key[1], after))
        for change in map(messages_pb2.InventoryChanged.FromString, news.bodies):
            kept.waiting[change.version] = change
        event = self._applied(kept)
        if event is None or event.version < news.version:
            return None
        kept.forget_older(event.version)
        event.known_newest(news.at)
        return event

    async def _run(self, key: Key, operation: Callable[[Transaction], Awaitable[Found]]) -> Found:
        before = time.monotonic()
        deadline = asyncio.get_running_loop().time() + READ_SECONDS_MAX
        found = await self._database.run(operation, organization_id=key[0], deadline=deadline, snapshot=True)
        self._clock.calibrate(found.at, before=before, after=time.monotonic())
        return found


async def _news(transaction: Transaction, event_id: str, after_version: int) -> _News:
    found = await inventories.newest(transaction, event_id)
    if found is None:
        raise event_not_found(event_id)
    version, at = found
    if not after_version < version <= after_version + CATCH_UP_MAX:
        return _News(version, at)
    bodies = await journal.page(transaction, event_id, after_version=after_version, limit=CATCH_UP_MAX)
    return _News(version, at, tuple(bodies))
