"""The row of an event's inventory, locked first by every mutation; and the voids of the event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select

from holdfast.capacity.domain.holds import Void, VoidCause
from holdfast.capacity.store.sections import counters_of, crossed_of
from holdfast.capacity.store.tables import due_work, event_inventories, voids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.sections import Counters, Crossing
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class StoredInventory:
    """The row, and the moment `at` which it was read: the database's clock, never before the last change `changed_at`.

    `controls` are the bytes of the EventControls message. `due_time` is when something is due, None = nothing;
    `voided` whether voids are open.
    """

    event_id: str
    version: int
    changed_at: datetime
    at: datetime
    controls: bytes
    counters: Counters
    crossed: frozenset[Crossing]
    live_holds: int
    due_time: datetime | None
    voided: bool


async def read(transaction: Transaction, event_id: str) -> StoredInventory | None:
    """Return the row as it is now, with the time.

    The clock is that of the statement, not now(): that is when the transaction began, before a wait for the lock.
    """
    mine = (
        event_inventories.c.organization_id == transaction.organization_id,
        event_inventories.c.event_id == event_id,
    )
    due = select(due_work.c.due_time).where(
        due_work.c.organization_id == transaction.organization_id, due_work.c.event_id == event_id
    )
    open_voids_there_are = exists().where(
        voids.c.organization_id == transaction.organization_id, voids.c.event_id == event_id, voids.c.done.is_(False)
    )
    result = await transaction.execute(
        select(
            event_inventories,
            func.greatest(func.clock_timestamp(), event_inventories.c.last_change_time).label("at"),
            due.scalar_subquery().label("due_time"),
            open_voids_there_are.label("voided"),
        ).where(*mine)
    )
    row = result.one_or_none()
    if row is None:
        return None
    return StoredInventory(
        event_id=row.event_id,
        version=row.version,
        changed_at=row.last_change_time,
        at=row.at,
        controls=bytes(row.controls),
        counters=counters_of(row),
        crossed=crossed_of(row.crossed),
        live_holds=row.live_holds,
        due_time=row.due_time,
        voided=row.voided,
    )


async def newest(transaction: Transaction, event_id: str) -> tuple[int, datetime] | None:
    """Return the newest version of an event and the time at which it was that; None when the event is not known."""
    result = await transaction.execute(
        select(
            event_inventories.c.version,
            func.greatest(func.clock_timestamp(), event_inventories.c.last_change_time).label("at"),
        ).where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
    )
    row = result.one_or_none()
    return None if row is None else (row.version, row.at)


async def newest_committed(transaction: Transaction, event_id: str) -> int:
    """Return the newest version of an event that is known, after the commit that is under way.

    Every later commit has a later time than this statement. Commits wait until the transaction ends.
    """
    result = await transaction.execute(
        select(event_inventories.c.version)
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .with_for_update(read=True)
    )
    return int(result.scalar_one())


async def clock(transaction: Transaction) -> datetime:
    """Return the database's clock now."""
    moment: datetime = (await transaction.execute(select(func.clock_timestamp()))).scalar_one()
    return moment


async def open_voids(transaction: Transaction, event_ids: Sequence[str]) -> dict[str, tuple[Void, ...]]:
    """Return the voids of events whose holds are not all brought up to date, by event, in the order of their effect."""
    found: dict[str, tuple[Void, ...]] = {}
    if not event_ids:
        return found
    result = await transaction.execute(
        select(voids)
        .where(
            voids.c.organization_id == transaction.organization_id,
            voids.c.event_id.in_(list(event_ids)),
            voids.c.done.is_(False),
        )
        .order_by(voids.c.through_version, voids.c.cause, voids.c.schedule_id)
    )
    for row in result:
        void = Void(
            cause=VoidCause(row.cause),
            through_version=row.through_version,
            at=row.effect_time,
            schedule_id=row.schedule_id or None,
        )
        found[row.event_id] = (*found.get(row.event_id, ()), void)
    return found
