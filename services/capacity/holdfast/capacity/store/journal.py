"""The journal as rows, and as the relay's source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from holdfast.capacity.store.tables import event_inventories, inventory_changes
from holdfast.common.outbox import OutboxLag, OutboxSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.common.database import Transaction
    from holdfast.common.metrics import Metrics

MESSAGE_TYPE = "inventory_changed"
REPLAY_CHUNK = 500


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


async def all_through(transaction: Transaction, event_id: str, version: int) -> AsyncIterator[bytes]:
    """Yield every change up to a version, in order, a chunk at a time."""
    after = 0
    while after < version:
        bodies = await page(transaction, event_id, after_version=after, limit=min(REPLAY_CHUNK, version - after))
        for body in bodies:
            yield body
        if not bodies:
            return
        after += len(bodies)


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
