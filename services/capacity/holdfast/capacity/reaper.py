"""Tidying: rows that say less than the truth are brought up to date. Nothing that a buyer sees depends on it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.capacity.operations.tidying import Tidy
from holdfast.capacity.store import due
from holdfast.common.errors import DomainError

if TYPE_CHECKING:
    from holdfast.capacity.engine.batches import Engine
    from holdfast.capacity.store.due import Due
    from holdfast.common.database import Database, Transaction

EVENTS_MAX: Final = 100
"""Events that one look finds."""
DEADLINE_SECONDS: Final = 10.0
CHUNKS_MAX: Final = 1_000
"""Chunks of one event in a row; what is left then is found by the next look."""
logger = structlog.get_logger(__name__)


class Reaper:
    """Finds what is due by the sweeper's role, across organizations, and does it inside one, a chunk a transaction.

    Several may run: the event's lock puts them in a row, and what one did the other finds done.
    """

    def __init__(self, *, sweeper: Database, engine: Engine, interval_seconds: float) -> None:
        self._sweeper = sweeper
        self._engine = engine
        self._interval_seconds = interval_seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now rather than at the next interval."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Outlives restarts of PostgreSQL, and goes on past an event that fails."""
        while not stop.is_set():
            found = tidied = 0
            try:
                found, tidied = await self._look(stop)
            except DomainError as error:
                logger.info("reaper waits", cause=str(error))
            if found < EVENTS_MAX or tidied == 0:
                await self._rest(stop)

    async def _look(self, stop: asyncio.Event) -> tuple[int, int]:
        """Tidy what is due; returns of how many events something was, and how many of them were tidied."""

        async def find(transaction: Transaction) -> list[Due]:
            return list(await due.find(transaction, limit=EVENTS_MAX))

        found = await self._sweeper.run(find, organization_id=None)
        tidied = 0
        for each in found:
            if stop.is_set():
                break
            try:
                await self._tidy(each, stop)
            except DomainError as error:
                # Somebody works on it, or the database is away: it stays due.
                logger.info("reaper goes on without an event", event_id=each.event_id, cause=str(error))
            except Exception:
                logger.exception("reaper failed on an event", event_id=each.event_id)
            else:
                tidied += 1
        return len(found), tidied

    async def _tidy(self, work: Due, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        for _ in range(CHUNKS_MAX):
            more = await self._engine.submit(
                work.organization_id, work.event_id, Tidy(), deadline=clock() + DEADLINE_SECONDS
            )
            if not more or stop.is_set():
                return

    async def _rest(self, stop: asyncio.Event) -> None:
        tasks = [asyncio.create_task(self._woken.wait()), asyncio.create_task(stop.wait())]
        await asyncio.wait(tasks, timeout=self._interval_seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        self._woken.clear()
