"""The journal as rows, and as the relay's source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, tuple_, update

from holdfast.capacity.store.tables import event_inventories, inventory_changes, inventory_checkpoints
from holdfast.common.message import OutgoingMessage
from holdfast.common.outbox import COUNTED_MAX, OutboxLag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from holdfast.common.database import Transaction
    from holdfast.common.metrics import Metrics

BODY_BYTES_MAX = 262_144
MESSAGE_TYPE = "inventory_changed"
REPLAY_CHUNK = 16
"""Changes that are read at once: up to 4 MB, and as many as can be read through without delaying who sells."""


async def page(transaction: Transaction, event_id: str, *, after_version: int, limit: int) -> list[bytes]:
    """Return changes after a version, in order, as the bytes of InventoryChanged."""
    result = await transaction.execute(
        select(inventory_changes.c.body)
        .where(
            inventory_changes.c.organization_id == transaction.organization_id,
            inventory_changes.c.event_id == event_id,
            inventory_changes.c.version > after_version,
        )
        .order_by(inventory_changes.c.version)
        .limit(limit)
    )
    return [bytes(row.body) for row in result]


async def checkpoint_before(transaction: Transaction, event_id: str, version: int) -> tuple[int, bytes] | None:
    """Return the newest checkpoint of before a version: its own version, and the counters of all sections as JSON."""
    table = inventory_checkpoints
    result = await transaction.execute(
        select(table.c.version, table.c.body)
        .where(
            table.c.organization_id == transaction.organization_id,
            table.c.event_id == event_id,
            table.c.version < version,
        )
        .order_by(table.c.version.desc())
        .limit(1)
    )
    row = result.one_or_none()
    return None if row is None else (row.version, bytes(row.body))


async def between(
    transaction: Transaction, event_id: str, *, after_version: int, through_version: int
) -> list[tuple[int, bytes]]:
    """Return the next changes after a version up to another, in order, with their versions; at most `REPLAY_CHUNK`."""
    result = await transaction.execute(
        select(inventory_changes.c.version, inventory_changes.c.body)
        .where(
            inventory_changes.c.organization_id == transaction.organization_id,
            inventory_changes.c.event_id == event_id,
            inventory_changes.c.version > after_version,
            inventory_changes.c.version <= through_version,
        )
        .order_by(inventory_changes.c.version)
        .limit(REPLAY_CHUNK)
    )
    return [(row.version, bytes(row.body)) for row in result]


async def count(transaction: Transaction, event_id: str, *, after_version: int, through_version: int) -> int:
    """Count the changes after a version up to another."""
    result = await transaction.execute(
        select(func.count()).where(
            inventory_changes.c.organization_id == transaction.organization_id,
            inventory_changes.c.event_id == event_id,
            inventory_changes.c.version > after_version,
            inventory_changes.c.version <= through_version,
        )
    )
    return int(result.scalar_one())


async def occur_time(transaction: Transaction, event_id: str, version: int) -> datetime | None:
    """Return when a version was committed; None when its row is not there."""
    result = await transaction.execute(
        select(inventory_changes.c.occur_time).where(
            inventory_changes.c.organization_id == transaction.organization_id,
            inventory_changes.c.event_id == event_id,
            inventory_changes.c.version == version,
        )
    )
    return result.scalar_one_or_none()


class JournalSource:
    """`capacity.inventory_changes` as a relay's source: the journal is the outbox.

    With its lag it also reports how many holds are live.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics

    async def pending(self, transaction: Transaction, limit: int) -> Sequence[OutgoingMessage]:
        """Return the oldest unpublished changes. The event's lock makes an event's sequence that of its versions."""
        rows = await transaction.execute(
            select(inventory_changes)
            .where(inventory_changes.c.publish_time.is_(None))
            .order_by(inventory_changes.c.sequence)
            .limit(limit)
        )
        return [_message(row) for row in rows]

    async def mark_published(
        self, transaction: Transaction, messages: Sequence[OutgoingMessage], *, epoch: int
    ) -> None:
        """Mark changes as published under `epoch`."""
        table = inventory_changes
        keys = [(each.organization_id, each.aggregate_id, each.version) for each in messages]
        await transaction.execute(
            update(table)
            .where(tuple_(table.c.organization_id, table.c.event_id, table.c.version).in_(keys))
            .values(publish_time=func.clock_timestamp(), publish_epoch=epoch)
        )

    async def rewind(self, transaction: Transaction, limit: int) -> int:
        """Mark up to `limit` published changes as unpublished."""
        table = inventory_changes
        key = tuple_(table.c.organization_id, table.c.event_id, table.c.version)
        some = (
            select(table.c.organization_id, table.c.event_id, table.c.version)
            .where(table.c.publish_time.is_not(None))
            .limit(limit)
        )
        done = await transaction.execute(update(table).where(key.in_(some)).values(publish_time=None))
        return int(done.rowcount)

    async def lag(self, transaction: Transaction) -> OutboxLag:
        """Measure what waits, by the database's clock."""
        waiting = (
            select(inventory_changes.c.occur_time)
            .where(inventory_changes.c.publish_time.is_(None))
            .order_by(inventory_changes.c.sequence)
            .limit(COUNTED_MAX)
            .subquery()
        )
        age = func.extract("epoch", func.clock_timestamp() - func.min(waiting.c.occur_time))
        if self._metrics is not None:
            live = await transaction.execute(select(func.coalesce(func.sum(event_inventories.c.live_holds), 0)))
            self._metrics.holds_active.set(int(live.scalar_one()))
        row = (
            await transaction.execute(select(func.count().label("pending"), age.label("age")).select_from(waiting))
        ).one()
        return OutboxLag(pending=int(row.pending), oldest_age_seconds=max(0.0, float(row.age or 0)))

    async def prune(self, transaction: Transaction, limit: int) -> int:
        """Delete nothing: the journal is kept, counters are recomputed from it."""
        del transaction, limit
        return 0


def _message(row: Row[Any]) -> OutgoingMessage:
    return OutgoingMessage(
        message_id=f"capacity-{row.event_id}-{row.version}",
        organization_id=row.organization_id,
        aggregate_id=row.event_id,
        version=row.version,
        subject=f"capacity.{row.organization_id}.{row.event_id}.{MESSAGE_TYPE}",
        type=MESSAGE_TYPE,
        body=bytes(row.body),
        occur_time=row.occur_time,
        traceparent=row.traceparent,
    )
