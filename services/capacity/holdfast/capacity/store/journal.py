"""The journal as rows, and as the relay's source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from holdfast.capacity.store.tables import event_inventories, inventory_changes, inventory_checkpoints
from holdfast.common.outbox import OutboxLag, OutboxSource

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.metrics import Metrics

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


class JournalSource(OutboxSource):
    """`capacity.inventory_changes` as a relay's source: the journal is the outbox, and is kept.

    The event's lock makes an event's sequence that of its versions. With its lag it also reports how many holds are
    live.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        super().__init__(
            "capacity",
            table="inventory_changes",
            aggregate="event_id",
            message_id="'capacity-' || event_id || '-' || version",
            subject=f"'capacity.' || organization_id || '.' || event_id || '.{MESSAGE_TYPE}'",
            type_=f"'{MESSAGE_TYPE}'",
            retention_days=None,
        )
        self._metrics = metrics

    async def lag(self, transaction: Transaction) -> OutboxLag:
        """Measure what waits, by the database's clock."""
        if self._metrics is not None:
            live = await transaction.execute(select(func.coalesce(func.sum(event_inventories.c.live_holds), 0)))
            self._metrics.holds_active.set(int(live.scalar_one()))
        return await super().lag(transaction)
