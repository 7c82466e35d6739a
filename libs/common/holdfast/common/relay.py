"""From the outbox to JetStream: in order per aggregate, at least once, by one process at a time."""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Row, Select, Update, delete, func, select, tuple_, update

from holdfast.common import leases
from holdfast.common import schema as tables
from holdfast.common.database import Database, Transaction
from holdfast.common.errors import DomainError
from holdfast.common.leases import LeaseLost
from holdfast.common.message import OutgoingMessage
from holdfast.common.messaging import Messaging, PublishError
from holdfast.common.metrics import Metrics

RELAY_LEASE: Final = "relay"
BATCH: Final = 256
BATCH_MAX: Final = 4_096
CHUNK: Final = 1_000
COUNTED_MAX: Final = 10_000

_POLL_SECONDS_MIN: Final = 0.01
_POLL_SECONDS_MAX: Final = 0.1
_BACKOFF_SECONDS_FIRST: Final = 0.1
_BACKOFF_SECONDS_MAX: Final = 2.0
_REPORT_SECONDS: Final = 1.0
_PRUNE_SECONDS: Final = 60.0
_CHECK_STREAM_SECONDS: Final = 30.0
_RELEASE_SECONDS: Final = 2.0

_LOG = structlog.get_logger("holdfast.relay")


@dataclass(frozen=True, slots=True)
class OutboxLag:
    """What waits to be published: how many (counted up to COUNTED_MAX) and how old the oldest is, 0 for none."""

    pending: int
    oldest_age_seconds: float


class RelaySource(Protocol):
    """Where a relay finds messages: a table whose rows are marked with `publish_time` and `publish_epoch`."""

    async def pending(self, transaction: Transaction, limit: int) -> Sequence[OutgoingMessage]:
        """Return the oldest unpublished messages, those of an aggregate by version without a hole."""

    async def mark_published(
        self, transaction: Transaction, messages: Sequence[OutgoingMessage], *, epoch: int
    ) -> None:
        """Mark messages as published. The relay has fenced the transaction by the lease's epoch."""

    async def rewind(self, transaction: Transaction, limit: int) -> int:
        """Mark up to `limit` published rows as unpublished, and return how many: the stream was lost."""

    async def lag(self, transaction: Transaction) -> OutboxLag:
        """Measure what waits."""

    async def prune(self, transaction: Transaction, limit: int) -> int:
        """Delete up to `limit` rows that were published longer ago than they are kept, and return how many."""


class OutboxSource:
    """`<schema>.outbox` as a relay's source."""

    def __init__(self, schema: str) -> None:
        self._outbox = tables.outbox_table(schema)

    async def pending(self, transaction: Transaction, limit: int) -> Sequence[OutgoingMessage]:
        """Return the oldest unpublished messages in the order of their commits within an aggregate."""
        outbox = self._outbox
        rows = await transaction.execute(
            select(outbox).where(outbox.c.publish_time.is_(None)).order_by(outbox.c.sequence).limit(limit)
        )
        return [_message(row) for row in rows]

    async def mark_published(
        self, transaction: Transaction, messages: Sequence[OutgoingMessage], *, epoch: int
    ) -> None:
        """Mark messages as published under `epoch`."""
        outbox = self._outbox
        keys = [(each.organization_id, each.aggregate_id, each.version) for each in messages]
        await transaction.execute(
            update(outbox)
            .where(tuple_(outbox.c.organization_id, outbox.c.aggregate_id, outbox.c.version).in_(keys))
            .values(publish_time=func.clock_timestamp(), publish_epoch=epoch)
        )

    async def rewind(self, transaction: Transaction, limit: int) -> int:
        """Mark up to `limit` published rows as unpublished."""
        outbox = self._outbox
        key = tuple_(outbox.c.organization_id, outbox.c.aggregate_id, outbox.c.version)
        some = (
            select(outbox.c.organization_id, outbox.c.aggregate_id, outbox.c.version)
            .where(outbox.c.publish_time.is_not(None))
            .limit(limit)
        )
        done = await transaction.execute(update(outbox).where(key.in_(some)).values(publish_time=None))
        return int(done.rowcount)

    async def lag(self, transaction: Transaction) -> OutboxLag:
        """Measure what waits, by the database's clock."""
        outbox = self._outbox
        waiting = (
            select(outbox.c.occur_time)
            .where(outbox.c.publish_time.is_(None))
            .order_by(outbox.c.sequence)
            .limit(COUNTED_MAX)
            .subquery()
        )
        age = func.extract("epoch", func.clock_timestamp() - func.min(waiting.c.occur_time))
        row = (await transaction.execute(select(func.count().label("pending"), age.label("age")).select_from(waiting))).one()
        return OutboxLag(pending=int(row.pending), oldest_age_seconds=max(0.0, float(row.age or 0)))

    async def prune(self, transaction: Transaction, limit: int) -> int:
        """Delete up to `limit` rows whose retention is over."""
        outbox = self._outbox
        key = tuple_(outbox.c.organization_id, outbox.c.aggregate_id, outbox.c.version)
        old = (
            select(outbox.c.organization_id, outbox.c.aggregate_id, outbox.c.version)
            .where(
                outbox.c.publish_time
                < func.clock_timestamp() - func.make_interval(0, 0, 0, tables.OUTBOX_RETENTION_DAYS)
            )
            .limit(limit)
        )
        done = await transaction.execute(delete(outbox).where(key.in_(old)))
        return int(done.rowcount)


def _message(row: Row[Any]) -> OutgoingMessage:
    return OutgoingMessage(
        message_id=row.message_id,
        organization_id=row.organization_id,
        aggregate_id=row.aggregate_id,
        version=row.version,
        subject=row.subject,
        type=row.type,
        body=bytes(row.body),
        occur_time=row.occur_time,
        traceparent=row.traceparent,
    )


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
        self.working = False
        """Whether this relay holds the lease."""

    def hint(self) -> None:
        """Say that something was committed; an idle relay looks at once instead of at its next poll."""
        self._wake.set()
