"""A batch: one transaction of two round trips that decides many commands of one event.

What the callers get is what was committed. A refusal is an answer and fails nothing else. When the database fails, the
whole batch runs again; the ids of what commands make were given before the first attempt, so that an attempt after an
unknown commit finds what the one before it did. An item that the database refuses is found by splitting the batch.
Where the claims of seats refuse what a bitmap shows free, the batch is decided again by the claims.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError

from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.times import instant
from holdfast.capacity.engine.needs import Needs
from holdfast.capacity.engine.queues import Item, Queues
from holdfast.capacity.engine.reading import Reader
from holdfast.capacity.engine.writing import JournalRowTooLargeError, write
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from prometheus_client import Histogram

    from holdfast.api.capacity.v1 import messages_pb2
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.capacity.engine.unit import Command, Unit
    from holdfast.common.database import Database, Pipeline
    from holdfast.common.metrics import Metrics

R = TypeVar("R")

LOCK_ATTEMPTS_MAX: Final = 3
"""How often a batch waits for the event's lock before its callers are told that too much is waiting."""
TIDY_MAX: Final = 200
"""Commits that tidy for one request: a request for 50,000 places may have to wait for 50,000 expired holds."""
COLLISIONS_MAX: Final = 3
"""How often a batch runs again because another replica used one of its keys for another event in the meantime."""
LOCK_NOT_AVAILABLE: Final = "55P03"
KEY_CONSTRAINTS: Final = frozenset({"holds_request", "requests_pkey", "seating_sagas_request"})
SEAT_CONSTRAINT: Final = "seat_claims_pkey"

logger = structlog.get_logger(__name__)


class FaultyItemError(Exception):
    """An item whose rules failed otherwise than by a refusal: a fault of ours."""

    def __init__(self, item: Item, fault: Exception) -> None:
        super().__init__(str(fault))
        self.item = item
        self.fault = fault


class Engine:
    """The way to an event's inventory. `tidying()` makes the command that brings an event's rows up to date.

    `observe` is told every change that this process committed.
    """

    def __init__(  # noqa: PLR0913 (the composition root names each of them)
        self,
        *,
        database: Database,
        layouts: Layouts,
        metrics: Metrics,
        workers_max: int,
        tidying: Callable[[], Command[Any]],
        observe: Callable[[messages_pb2.InventoryChanged], None] | None = None,
    ) -> None:
        self._database = database
        self._reader = Reader(layouts)
        self._metrics = metrics
        self._tidying = tidying
        self._observe = observe
        self.queues = Queues(self._work, workers_max=workers_max, metrics=metrics)
        self._stages = {stage: metrics.engine_batch_seconds.labels(stage) for stage in ("read", "decide", "commit")}

    def submit(self, organization_id: str, event_id: str, command: Command[R], *, deadline: float) -> Awaitable[R]:
        """Decide a command in a batch of its event and give its answer once it is committed. `deadline`: `loop.time()`.

        Raises the command's DomainError, EVENT_NOT_FOUND, OVERLOADED, DEPENDENCY_UNAVAILABLE, DEADLINE_EXCEEDED.
        """
        return self.queues.submit(organization_id, event_id, command, deadline=deadline)

    async def close(self) -> None:
        """Finish the batches under way."""
        await self.queues.close()

    async def _work(self, organization_id: str, event_id: str, items: list[Item]) -> list[Item]:
        """Decide and answer items; gives those back that are to be decided again. Never raises."""
        self._metrics.engine_batch_size.observe(len(items))
        await self._run(organization_id, event_id, items)
        again = [item for item in items if item.again]
        if any(item.tidied for item in again):
            await self._tidy_for(organization_id, event_id, again)
        for item in items:
            if not item.again:
                if isinstance(item.error, DomainError):
                    self._metrics.engine_refusals_total.labels(item.error.reason.value).inc()
                item.done(item)
        return [item for item in again if item.again]

    async def _tidy_for(self, organization_id: str, event_id: str, again: list[Item]) -> None:
        """Bring the event's rows up to date in a commit of its own, for items that wait for the places."""
        tidy = Item(command=self._tidying(), deadline=0.0, done=lambda _: None)
        await self._run(organization_id, event_id, [tidy])
        for item in again:
            if not item.tidied:
                continue
            if tidy.error is not None:
                item.error, item.again = tidy.error, False
            elif item.tidied > TIDY_MAX:
                item.error, item.again = _too_much_to_tidy(), False

    async def _run(self, organization_id: str, event_id: str, items: list[Item]) -> None:
        """Decide items in one commit, or, when one fails it, in several. Never raises: items have the errors."""
        known = _Known()
        clock = asyncio.get_running_loop().time
        while items:
            attempt = _Attempt(self._reader, self._stages, event_id, items, known)
            try:
                await self._database.run_pipeline(attempt.run, organization_id=organization_id)
            except FaultyItemError as faulty:
                logger.exception("a command failed", event_id=event_id)
                faulty.item.error = faulty.fault
                items = [item for item in items if item is not faulty.item]
            except Exception as error:  # noqa: BLE001 (whatever it was, nobody may wait for ever)
                if known.learn(error):
                    continue
                if len(items) > 1 and isinstance(error, (DBAPIError, psycopg.Error, JournalRowTooLargeError)):
                    await self._split(organization_id, event_id, items)
                else:
                    _fail(items, error)
                return
            else:
                self._stages["commit"].observe(clock() - attempt.decided)
                self._metrics.holds_expired_total.inc(attempt.expired)
                if attempt.change is not None and self._observe is not None:
                    self._observe(attempt.change)
                return

    async def _split(self, organization_id: str, event_id: str, items: list[Item]) -> None:
        """Decide the halves in commits of their own, the earlier arrivals first."""
        self._metrics.engine_splits_total.inc()
        middle = len(items) // 2
        await self._run(organization_id, event_id, items[:middle])
        await self._run(organization_id, event_id, items[middle:])


def _fail(items: list[Item], error: Exception) -> None:
    for item in items:
        item.error, item.again = error, False


def _too_much_to_tidy() -> DomainError:
    return DomainError(
        Reason.OVERLOADED,
        "too many holds of the event end at once",
        metadata={"queue": "tidying"},
        retry_after_seconds=1.0,
    )


@dataclass(slots=True)
class _Known:
    """What attempts at a batch that failed have taught, so that another one may succeed.

    `collisions` is how often a key had been used by another replica in the meantime, `locks` how often the event's lock
    was waited for in vain. `by_claims`: a bitmap is wrong, and the claims of seats tell which are taken.
    """

    collisions: int = 0
    locks: int = 0
    by_claims: bool = False

    def learn(self, error: Exception) -> bool:
        """Take note of what failed an attempt; whether there is to be another one."""
        if _sqlstate(error) == LOCK_NOT_AVAILABLE:
            self.locks += 1
            return self.locks < LOCK_ATTEMPTS_MAX
        constraint = _constraint(error)
        if constraint in KEY_CONSTRAINTS:
            self.collisions += 1
            return self.collisions <= COLLISIONS_MAX
        if constraint == SEAT_CONSTRAINT and not self.by_claims:
            logger.error("seats are claimed that a bitmap shows free", exc_info=error)
            self.by_claims = True
            return True
        return False


class _Attempt:
    """One run of a batch's transaction; the database may run it several times."""

    __slots__ = ("_event_id", "_items", "_known", "_reader", "_runs", "_stages", "change", "decided", "expired")

    def __init__(
        self, reader: Reader, stages: Mapping[str, Histogram], event_id: str, items: list[Item], known: _Known
    ) -> None:
        self._reader = reader
        self._stages = stages
        self._event_id = event_id
        self._items = items
        self._known = known
        self._runs = int(known.collisions > 0)
        self.change: messages_pb2.InventoryChanged | None = None
        self.decided = 0.0
        self.expired = 0

    async def run(self, pipeline: Pipeline) -> None:
        """Read, decide, and leave what is to be written to travel with COMMIT."""
        clock = asyncio.get_running_loop().time
        needs = Needs(again=self._runs > 0, by_claims=self._known.by_claims)
        self._runs += 1
        for item in self._items:
            item.error, item.result, item.again = None, None, False
            item.command.need(needs)
        started = clock()
        unit = await self._reader.read(pipeline, self._event_id, needs)
        read = clock()
        self._stages["read"].observe(read - started)
        if unit is None:
            for item in self._items:
                item.error = DomainError(
                    Reason.EVENT_NOT_FOUND, "there is no such event", metadata={"event_id": self._event_id}
                )
            self.decided = read
            return
        due_before = unit.inventory.due_time
        self._decide(unit)
        if unit.inventory.untold:
            _tell_times(self._items, await self._reader.next_expire_times(pipeline, unit.inventory))
        pipeline.last, self.change = write(unit, due_before=due_before) if unit.dirty else ([], None)
        self.expired = unit.inventory.expired_count
        self.decided = clock()
        self._stages["decide"].observe(self.decided - read)

    def _decide(self, unit: Unit) -> None:
        inventory = unit.inventory
        for item in self._items:
            if inventory.full:
                item.again = True
                continue
            try:
                item.result = item.command.decide(unit)
            except DomainError as error:
                item.error = error
            except TidyFirst:
                item.again = True
                item.tidied += 1
            except Exception as fault:
                raise FaultyItemError(item, fault) from fault


def _tell_times(items: list[Item], times: Mapping[str, datetime]) -> None:
    """Let refusals tell when places of their section may come back."""
    for item in items:
        error = item.error
        if isinstance(error, DomainError) and error.reason is Reason.INSUFFICIENT_CAPACITY:
            time = times.get(error.metadata.get("section_id", ""))
            if time is not None and "block_id" not in error.metadata:
                metadata = {**error.metadata, "next_change_time": instant(time)}
                item.error = DomainError(error.reason, error.message, metadata=metadata)


def _sqlstate(error: BaseException) -> str | None:
    cause = error.__cause__ if isinstance(error, DomainError) else error
    if isinstance(cause, DBAPIError):
        cause = cause.orig
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


def _constraint(error: BaseException) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None
