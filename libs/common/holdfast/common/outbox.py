"""Messages are written in the transaction that causes them; the relay publishes them afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert

from holdfast.common import schema as tables
from holdfast.common.database import Statement, Transaction
from holdfast.common.message import OutgoingMessage
from holdfast.common.roles import checked_name

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
    """A table of what transactions said, as a relay's source: `<schema>.outbox`, or one that has as much to tell.

    The table has `organization_id`, `version`, `sequence`, `body`, `occur_time`, `traceparent`, `publish_time` and
    `publish_epoch`; its key is `organization_id`, the column named by `aggregate`, and `version`. The others say how to
    get the rest of a message: names of columns, or SQL over them. The sequence of an aggregate's rows is that of their
    commits. `retention_days` is how long published rows are kept, None = for ever.
    """

    def __init__(  # noqa: PLR0913 (what a table calls the parts of a message)
        self,
        schema: str,
        *,
        table: str = "outbox",
        aggregate: str = "aggregate_id",
        message_id: str = "message_id",
        subject: str = "subject",
        type_: str = "type",
        retention_days: int | None = tables.OUTBOX_RETENTION_DAYS,
    ) -> None:
        parts = {
            "table": f"{checked_name(schema)}.{checked_name(table)}",
            "key": f"organization_id, {checked_name(aggregate)}, version",
            "message": f"{message_id}, organization_id, {aggregate}, version, {subject}, {type_}",
            "limit": COUNTED_MAX,
        }
        self._retention_days = retention_days
        self._pending = _PENDING.format_map(parts)
        self._mark = _MARK.format_map(parts)
        self._rewind = _REWIND.format_map(parts)
        self._lag = _LAG.format_map(parts)
        self._prune = _PRUNE.format_map(parts)

    def pending(self, limit: int) -> Statement:
        """Ask for the oldest unpublished messages, in the order of their commits within an aggregate."""
        return Statement(self._pending, (limit,))

    def message(self, row: tuple[Any, ...]) -> OutgoingMessage:
        """Read a row of `pending`."""
        return OutgoingMessage(*row)

    def mark_published(self, messages: Sequence[OutgoingMessage], *, epoch: int) -> Statement:
        """Mark messages as published under `epoch`."""
        organizations = [each.organization_id for each in messages]
        aggregates = [each.aggregate_id for each in messages]
        return Statement(self._mark, (organizations, aggregates, [each.version for each in messages], epoch))

    async def rewind(self, transaction: Transaction, limit: int) -> int:
        """Mark up to `limit` published rows as unpublished, and return how many."""
        (rows,) = await transaction.send(Statement(self._rewind, (limit,)))
        return len(rows)

    async def lag(self, transaction: Transaction) -> OutboxLag:
        """Measure what waits, by the database's clock."""
        (rows,) = await transaction.send(Statement(self._lag))
        pending, age = rows[0]
        return OutboxLag(pending=pending, oldest_age_seconds=max(0.0, float(age or 0)))

    async def prune(self, transaction: Transaction, limit: int) -> int:
        """Delete up to `limit` rows whose retention is over, and return how many."""
        if self._retention_days is None:
            return 0
        (rows,) = await transaction.send(Statement(self._prune, (self._retention_days, limit)))
        return len(rows)


_PENDING: Final = """
SELECT {message}, body, occur_time, traceparent FROM {table}
WHERE publish_time IS NULL ORDER BY sequence LIMIT $1::bigint"""
_MARK: Final = """
UPDATE {table} SET publish_time = clock_timestamp(), publish_epoch = $4::bigint
WHERE ({key}) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]))"""
_REWIND: Final = """
UPDATE {table} SET publish_time = NULL
WHERE ({key}) IN (SELECT {key} FROM {table} WHERE publish_time IS NOT NULL LIMIT $1::bigint)
RETURNING 1"""
_LAG: Final = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(waiting.occur_time))
FROM (SELECT occur_time FROM {table} WHERE publish_time IS NULL ORDER BY sequence LIMIT {limit}) AS waiting"""
_PRUNE: Final = """
DELETE FROM {table}
WHERE ({key}) IN (
  SELECT {key} FROM {table}
  WHERE publish_time < clock_timestamp() - make_interval(days => $1::int) LIMIT $2::bigint
)
RETURNING 1"""
