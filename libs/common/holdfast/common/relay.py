"""From the outbox to JetStream: in order per aggregate, at least once, by one process at a time."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from holdfast.common import leases
from holdfast.common.database import Database, Pipeline, Sender, Statement, Transaction
from holdfast.common.errors import DomainError
from holdfast.common.leases import LeaseLost
from holdfast.common.message import OutgoingMessage
from holdfast.common.messaging import Messaging, PublishError
from holdfast.common.metrics import Metrics
from holdfast.common.outbox import OutboxLag, OutboxSource
from holdfast.common.tasks import REST_SECONDS, pause

RELAY_LEASE: Final = "relay"
BATCH: Final = 256
BATCH_MAX: Final = 4_096
CHUNK: Final = 1_000

_POLL_SECONDS: Final = 0.1
_BACKOFF_SECONDS_FIRST: Final = 0.1
_BACKOFF_SECONDS_MAX: Final = 2.0
_REPORT_SECONDS: Final = 1.0
_PRUNE_SECONDS: Final = 60.0
_CHECK_STREAM_SECONDS: Final = 30.0
_RELEASE_SECONDS: Final = 2.0

__all__ = ["OutboxLag", "OutboxSource", "Relay", "RelaySource"]

T = TypeVar("T")

_LOG = structlog.get_logger("holdfast.relay")


class RelaySource(Protocol):
    """Where a relay finds messages: a table whose rows are marked with `publish_time` and `publish_epoch`."""

    def pending(self, limit: int) -> Statement:
        """Ask for the oldest unpublished messages, those of an aggregate by version without a hole."""

    def message(self, row: tuple[Any, ...]) -> OutgoingMessage:
        """Read a row of `pending`."""

    def mark_published(self, messages: Sequence[OutgoingMessage], *, epoch: int) -> Statement:
        """Mark messages as published. The relay has fenced the transaction by the lease's epoch."""

    async def rewind(self, transaction: Transaction, limit: int) -> int:
        """Mark up to `limit` published rows as unpublished, and return how many: the stream was lost."""

    async def lag(self, transaction: Transaction) -> OutboxLag:
        """Measure what waits."""

    async def prune(self, transaction: Transaction, limit: int) -> int:
        """Delete up to `limit` rows that were published longer ago than they are kept, and return how many."""


class Relay:
    """Publishes what a source has; several may run, the lease lets one work.

    `database` runs as the schema's relay role, with `allow_cross_organization`. `publisher` must publish the stream,
    by default the schema's name in capitals. A frozen or dead holder is replaced after `lease_seconds`.
    """

    def __init__(  # noqa: PLR0913 (parts and limits)
        self,
        *,
        database: Database,
        source: RelaySource,
        publisher: Messaging,
        lease_name: str = RELAY_LEASE,
        stream: str | None = None,
        lease_seconds: float = 5.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._database = database
        self._source = source
        self._publisher = publisher
        self._lease_name = lease_name
        self._stream = stream or database.schema.upper()
        self._lease_seconds = lease_seconds
        self._metrics = metrics
        self._holder = f"{publisher.service}-{uuid.uuid4()}"
        self._wake = asyncio.Event()
        self._lease_end = 0.0
        self._checked_generation = -1
        self._next_report = 0.0
        self._next_prune = 0.0
        self._next_check = 0.0
        # Whether the lag may be another than was reported last.
        self._stirred = True
        self.working = False
        """Whether this relay holds the lease."""

    def hint(self) -> None:
        """Say that something was committed: a relay with nothing to do looks at once, not only at its next poll."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work, or stand by, until `stop` is set. Outlives restarts of PostgreSQL and NATS."""
        backoff = _BACKOFF_SECONDS_FIRST
        while not stop.is_set():
            try:
                epoch = await self._acquire()
                if epoch is not None:
                    _LOG.info("relay took the lease", relay=self._lease_name, epoch=epoch)
                    await self._work(epoch, stop)
                    return
                backoff = self._lease_seconds / 4
            except LeaseLost:
                _LOG.warning("relay lost the lease", relay=self._lease_name)
                backoff = _BACKOFF_SECONDS_FIRST
            except DomainError as error:
                _LOG.info("relay waits", relay=self._lease_name, cause=str(error))
                backoff = min(backoff * 2, _BACKOFF_SECONDS_MAX)
            except Exception:  # noqa: BLE001 (logged, and tried again for ever: a relay has nobody to raise to)
                # Whatever it was, messages wait: begin anew, from what the database says.
                _LOG.exception("relay failed and begins anew", relay=self._lease_name)
                backoff = min(backoff * 2, _BACKOFF_SECONDS_MAX)
            finally:
                self.working = False
            await pause(stop, backoff)

    async def _work(self, epoch: int, stop: asyncio.Event) -> None:
        self.working = True
        self._checked_generation = -1
        self._stirred = True
        stuck = 0
        failures = 0
        stopped = asyncio.create_task(stop.wait())
        stopped.add_done_callback(lambda _: self._wake.set())
        try:
            while not stop.is_set():
                self._wake.clear()
                await self._keep(epoch)
                await self._look_after(epoch)
                published, failed, full = await self._pass_on(epoch, limit=min(BATCH + stuck, BATCH_MAX))
                stuck = failed
                self._stirred = self._stirred or published + failed > 0
                failures = failures + 1 if failed else 0
                if failed:
                    # Slower while something does not go out; what can go out still does, at each round.
                    await pause(stop, min(_BACKOFF_SECONDS_FIRST * 2 ** min(failures, 5), _BACKOFF_SECONDS_MAX))
                elif not published:
                    await pause(self._wake, _POLL_SECONDS)
                elif not full:
                    await pause(stop, REST_SECONDS)
        finally:
            stopped.cancel()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_RELEASE_SECONDS):
                    await self._release(epoch)

    async def _pass_on(self, epoch: int, *, limit: int) -> tuple[int, int, bool]:
        """Publish what waits and mark it; return how many went out, how many did not, and whether more may wait."""
        if not self._publisher.ready:
            return 0, 1, False
        (rows,) = await self._database.run_statements(self._source.pending(limit), organization_id=None)
        if not rows:
            return 0, 0, False
        messages = [self._source.message(row) for row in rows]
        await self._keep(epoch)
        published: Sequence[OutgoingMessage] = messages
        failed: Sequence[OutgoingMessage] = ()
        try:
            # A relay that was frozen finds this time over when it thaws, and publishes nothing out of turn.
            await self._publisher.publish(messages, until=self._lease_end)
        except PublishError as error:
            published, failed = error.published, error.failed
            _LOG.warning("messages could not be published", relay=self._lease_name, cause=str(error))
            if error.stream_missing:
                self._checked_generation = -1
        if published:
            await self._mark(published, epoch)
        return len(published), len(failed), len(messages) >= limit

    async def _mark(self, published: Sequence[OutgoingMessage], epoch: int) -> None:
        async def mark(pipeline: Pipeline) -> None:
            await self._fence(pipeline, epoch)
            pipeline.last.append(self._source.mark_published(published, epoch=epoch))

        await self._database.run_pipeline(mark, organization_id=None)
        if self._metrics is not None:
            self._metrics.outbox_published_total.inc(len(published))

    async def _keep(self, epoch: int) -> None:
        """Renew the lease when a third of it is over; its end is counted from before the question, never too late."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._lease_end - now > self._lease_seconds * 2 / 3:
            return

        async def renew(transaction: Transaction) -> None:
            await leases.renew(
                transaction,
                schema=self._database.schema,
                name=self._lease_name,
                epoch=epoch,
                ttl_seconds=self._lease_seconds,
            )

        await self._run(renew)
        self._lease_end = now + self._lease_seconds

    async def _look_after(self, epoch: int) -> None:
        """Do what is due besides publishing: check the stream, report, tidy."""
        now = asyncio.get_running_loop().time()
        generation = self._publisher.generation
        if self._publisher.ready and (generation != self._checked_generation or now >= self._next_check):
            await self._check_stream(epoch)
            self._checked_generation = generation
            self._next_check = now + _CHECK_STREAM_SECONDS
        if self._metrics is not None and self._stirred and now >= self._next_report:
            self._stirred = False
            lag = await self._run(self._source.lag)
            self._metrics.outbox_pending.set(lag.pending)
            self._metrics.outbox_lag_seconds.set(lag.oldest_age_seconds)
            self._next_report = now + _REPORT_SECONDS
        if now >= self._next_prune:
            pruned = await self._run(lambda transaction: self._source.prune(transaction, CHUNK))
            # A full chunk means that more is due.
            self._next_prune = now + (_REPORT_SECONDS if pruned >= CHUNK else _PRUNE_SECONDS)

    async def _check_stream(self, epoch: int) -> None:
        """Find out whether NATS has the stream that was published to, and publish all that is kept again if not.

        The stream's identity stands in the lease's note, written only after the rewinding, so that a crash in between
        is repeated. Consumers know by their positions what they have applied.
        """
        identity = await self._publisher.stream_identity(self._stream)

        async def read(transaction: Transaction) -> str:
            return (await self._fence(transaction, epoch)).note

        known = await self._run(read)
        if known == identity:
            return
        if known:
            _LOG.warning("the stream is a new one: all that is kept is published again", stream=self._stream)
            while await self._run(lambda transaction: self._rewind(transaction, epoch)) >= CHUNK:
                await self._keep(epoch)

        async def note(transaction: Transaction) -> None:
            await leases.leave_note(
                transaction, schema=self._database.schema, name=self._lease_name, epoch=epoch, note=identity
            )

        await self._run(note)

    async def _rewind(self, transaction: Transaction, epoch: int) -> int:
        await self._fence(transaction, epoch)
        return await self._source.rewind(transaction, CHUNK)

    async def _fence(self, transaction: Sender, epoch: int) -> leases.Lease:
        return await leases.fence(transaction, schema=self._database.schema, name=self._lease_name, epoch=epoch)

    async def _acquire(self) -> int | None:
        now = asyncio.get_running_loop().time()

        async def acquire(transaction: Transaction) -> int | None:
            return await leases.acquire(
                transaction,
                schema=self._database.schema,
                name=self._lease_name,
                holder=self._holder,
                ttl_seconds=self._lease_seconds,
            )

        epoch = await self._run(acquire)
        self._lease_end = now + self._lease_seconds
        return epoch

    async def _release(self, epoch: int) -> None:
        async def release(transaction: Transaction) -> None:
            await leases.release(transaction, schema=self._database.schema, name=self._lease_name, epoch=epoch)

        await self._run(release)

    async def _run(self, operation: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._database.run(operation, organization_id=None)
