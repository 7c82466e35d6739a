"""Messages are written in the transaction that causes them; the relay publishes them afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, select, tuple_, update

from holdfast.common import schema as tables
from holdfast.common.database import Transaction
from holdfast.common.message import OutgoingMessage

COUNTED_MAX: Final = 10_000
"""The lag is counted up to here."""

BODY_BYTES_MAX = 512 * 1024
"""The largest body of a message. NATS takes 1 MiB with headers; a larger one could never be published."""


async def append(transaction: Transaction, *messages: OutgoingMessage, schema: str) -> None:
    """Append messages, one at least, to `<schema>.outbox` in their order.

    The aggregates' versions must have been taken under the aggregates' row locks in this same transaction: that is what
    makes the order of the rows the order of the commits. Raises ValueError when a body is larger than can be published,
    IntegrityError when an aggregate has this version already.
    """
    for message in messages:
        if len(message.body) > BODY_BYTES_MAX:
            reason = f"the body of {message.type} has {len(message.body)} bytes, more than {BODY_BYTES_MAX}"
            raise ValueError(reason)
    await transaction.execute(
        insert(tables.outbox_table(schema)),
        [
            {
                "organization_id": message.organization_id,
                "aggregate_id": message.aggregate_id,
                "version": message.version,
                "message_id": message.message_id,
                "subject": message.subject,
                "type": message.type,
                "body": message.body,
                "occur_time": message.occur_time,
                "traceparent": message.traceparent,
            }
            for message in messages
        ],
    )


@dataclass(frozen=True, slots=True)
class OutboxLag:
    """What waits to be published: how many (counted up to COUNTED_MAX) and how old the oldest is, 0 for none."""

    pending: int
    oldest_age_seconds: float


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
        row = (
            await transaction.execute(select(func.count().label("pending"), age.label("age")).select_from(waiting))
        ).one()
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
