"""The time that this service goes by: the database's, so that replicas agree whatever their machines' clocks say."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.common.errors import DomainError
from holdfast.common.tasks import pause
from holdfast.events.store.clock import database_time

if TYPE_CHECKING:
    import asyncio

    from holdfast.common.database import Database

SYNCHRONIZE_SECONDS: Final = 15.0
logger = structlog.get_logger(__name__)


class DatabaseClock:
    """The database's time when it was last asked, plus what a monotonic clock counted since.

    Exact to half a round trip. While the database cannot be asked it goes on from the last answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._base: datetime | None = None
        self._base_seconds = 0.0

    def now(self) -> datetime:
        """Give the time, aware, in UTC. RuntimeError before the first `synchronize`."""
        if self._base is None:
            raise RuntimeError("the clock was not synchronized yet")
        return self._base + timedelta(seconds=time.monotonic() - self._base_seconds)

    async def synchronize(self) -> None:
        """Ask the database. Raises DEPENDENCY_UNAVAILABLE."""
        before = time.monotonic()
        moment = await self._database.run(database_time, organization_id=None)
        self._base_seconds = (before + time.monotonic()) / 2
        self._base = moment.astimezone(UTC)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask again and again until `stop` is set."""
        while not await pause(stop, SYNCHRONIZE_SECONDS):
            try:
                await self.synchronize()
            except DomainError as error:
                logger.info("clock goes on without the database", cause=error.reason.value)
