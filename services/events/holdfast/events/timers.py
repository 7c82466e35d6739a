"""What the clock does: sales that start, dates that begin and end, controls that spread.

One replica at a time, by a lease; any other takes over when it dies. Each step is safe in two replicas at once, so a
lease that overlaps does no harm.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.common import leases
from holdfast.common.errors import DomainError, Reason
from holdfast.common.leases import LeaseLost
from holdfast.common.tasks import pause
from holdfast.events.operations import due as operations
from holdfast.events.operations.answers import NOT_ASKED, AnswerNeeded, Answers, Question
from holdfast.events.store import due_work
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from holdfast.common.clock import Clock
    from holdfast.common.database import Database, Transaction
    from holdfast.events.operations.due import Ran
    from holdfast.events.outside import Outside
    from holdfast.events.store.due_work import Due

LEASE: Final = "timers"
LEASE_SECONDS: Final = 6.0
POLL_SECONDS_MAX: Final = 0.25
POLL_SECONDS_MIN: Final = 0.01
BATCH: Final = 100
CONCURRENCY: Final = 4
logger = structlog.get_logger(__name__)


class Timers:
    """Looks for what is due with the relay's role, and does it with the service's, inside one organization."""

    def __init__(self, *, database: Database, lookout: Database, clock: Clock, outside: Outside) -> None:
        self._database = database
        self._lookout = lookout
        self._clock = clock
        self._outside = outside
        self._holder = f"{LEASE}-{uuid.uuid4()}"

    async def run(self, stop: asyncio.Event) -> None:
        """Work, or stand by, until `stop` is set."""
        while not stop.is_set():
            try:
                epoch = await self._acquire()
                if epoch is not None:
                    await self._work(epoch, stop)
                    return
            except LeaseLost:
                logger.warning("timers lost the lease")
            except DomainError as error:
                logger.info("timers wait", cause=error.reason.value)
            await pause(stop, LEASE_SECONDS / 4)

    async def _acquire(self) -> int | None:
        return await self._lookout.run(
            lambda transaction: leases.acquire(
                transaction, schema=SCHEMA, name=LEASE, holder=self._holder, ttl_seconds=LEASE_SECONDS
            ),
            organization_id=None,
        )

    async def _work(self, epoch: int, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        try:
            while not stop.is_set():
                if loop.time() - renewed > LEASE_SECONDS / 3:
                    await self._lookout.run(
                        lambda transaction: leases.renew(
                            transaction, schema=SCHEMA, name=LEASE, epoch=epoch, ttl_seconds=LEASE_SECONDS
                        ),
                        organization_id=None,
                    )
                    renewed = loop.time()
                await pause(stop, await self.run_once())
        finally:
            with suppress(Exception):
                await self._lookout.run(
                    lambda transaction: leases.release(transaction, schema=SCHEMA, name=LEASE, epoch=epoch),
                    organization_id=None,
                )

    async def run_once(self) -> float:
        """Do what is due now, at most a batch of it; give how many seconds to wait before the next look."""
        now = self._clock.now()
        found = await due_work.look_out(self._lookout, now=now, limit=BATCH)
        wait = POLL_SECONDS_MAX if found.next_time is None else (found.next_time - now).total_seconds()
        wait = min(POLL_SECONDS_MAX, max(POLL_SECONDS_MIN, wait))
        limit = asyncio.Semaphore(CONCURRENCY)

        async def do(due: Due) -> bool:
            async with limit:
                return await self._do(due)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(do(due)) for due in found.due]
        # An event that somebody else has locked is due still; it is looked at again at the next poll, not at once.
        return wait if not found.due or any(task.result() for task in running) else POLL_SECONDS_MAX

    async def _do(self, due: Due) -> bool:
        """Do one thing that is due, and say whether an event moved. What fails is put off and holds up nothing else."""
        try:
            ran = await self._run_due(due)
        except DomainError as error:
            logger.info("due work put off", event_id=due.event_id, kind=due.kind.value, reason=error.reason.value)
            if error.reason is Reason.OVERLOADED or error.metadata.get("dependency") == "database":
                return False  # it stays due, and is done to the second once the database is back
        except Exception:
            logger.exception("due work failed", event_id=due.event_id, kind=due.kind.value)
        else:
            if ran.missing:
                logger.info("sales do not start yet", event_id=due.event_id, missing=",".join(ran.missing))
            if ran.scene is not None:
                await self._outside.push_controls(ran.scene)
            return ran.scene is not None
        with suppress(DomainError):  # the database is away: it is due still when it comes back
            await self._database.run(
                lambda transaction: operations.postpone(transaction, due, now=self._clock.now()),
                organization_id=due.organization_id,
            )
        return False

    async def _run_due(self, due: Due) -> Ran:
        answers = NOT_ASKED
        for _ in Question:
            try:
                return await self._database.run(
                    partial(self._attempt, due, answers), organization_id=due.organization_id
                )
            except AnswerNeeded as needed:
                answers = await self._outside.answer(
                    needed.question, organization_id=due.organization_id, event_id=due.event_id, known=answers
                )
        return await self._database.run(partial(self._attempt, due, answers), organization_id=due.organization_id)

    async def _attempt(self, due: Due, answers: Answers, transaction: Transaction) -> Ran:
        return await operations.run_due(transaction, due, answers=answers, now=self._clock.now())
