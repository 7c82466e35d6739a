"""The row of an event's inventory, locked first by every mutation; and the voids of the event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.capacity.domain.holds import Void, VoidCause
from holdfast.capacity.store.sections import counters_of, crossed_of, crossed_text
from holdfast.capacity.store.tables import due_work, event_inventories, voids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.sections import Counters, Crossing
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class StoredInventory:
    """The row, and the moment `at` which it was read: the database's clock, never before the last change.

    `controls` are the bytes of the EventControls message. `due_time` is when something is due, None = nothing;
    `voided` whether voids are open.
    """

    event_id: str
    version: int
    at: datetime
    controls: bytes
    counters: Counters
    crossed: frozenset[Crossing]
    live_holds: int
    due_time: datetime | None
    voided: bool


async def make(transaction: Transaction, event_id: str) -> None:
    """Make the row of an event that is seen for the first time, if nobody did."""
    await transaction.execute(
        insert(event_inventories)
        .values(
            organization_id=transaction.organization_id,
            event_id=event_id,
            version=0,
            last_change_time=func.clock_timestamp(),
            controls_version=0,
            controls=b"",
            total=0,
            held=0,
            pending=0,
            sold=0,
            blocked=0,
            crossed="",
            live_holds=0,
        )
        .on_conflict_do_nothing()
    )


async def lock(transaction: Transaction, event_id: str) -> bool:
    """Lock the row until the transaction ends; False when there is none.

    FOR NO KEY UPDATE: foreign keys of other transactions do not wait. Nothing is read here: what a locking statement
    reads may be older than the wait.
    """
    result = await transaction.execute(
        select(event_inventories.c.event_id)
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .with_for_update(key_share=True)
    )
    return result.one_or_none() is not None


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
        at=row.at,
        controls=bytes(row.controls),
        counters=counters_of(row),
        crossed=crossed_of(row.crossed),
        live_holds=row.live_holds,
        due_time=row.due_time,
        voided=row.voided,
    )


async def clock(transaction: Transaction) -> datetime:
    """Return the database's clock now."""
    moment: datetime = (await transaction.execute(select(func.clock_timestamp()))).scalar_one()
    return moment


async def change(  # noqa: PLR0913 (the columns of the row)
    transaction: Transaction,
    event_id: str,
    *,
    version: int,
    at: datetime,
    counters: Counters,
    crossed: frozenset[Crossing],
    live_holds: int,
    controls: tuple[int, bytes] | None,
) -> None:
    """Write the row back; the lock is held."""
    values: dict[str, object] = {
        "version": version,
        "last_change_time": at,
        "total": counters.total,
        "held": counters.held,
        "pending": counters.pending,
        "sold": counters.sold,
        "blocked": counters.blocked,
        "crossed": crossed_text(crossed),
        "live_holds": live_holds,
    }
    if controls is not None:
        values["controls_version"], values["controls"] = controls
    await transaction.execute(
        update(event_inventories)
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .values(values)
    )


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


async def add_voids(transaction: Transaction, event_id: str, new: Sequence[Void]) -> None:
    """Note what a change of the event ended."""
    await transaction.execute(
        insert(voids),
        [
            {
                "organization_id": transaction.organization_id,
                "event_id": event_id,
                "through_version": void.through_version,
                "cause": void.cause.value,
                "schedule_id": void.schedule_id or "",
                "effect_time": void.at,
                "done": False,
            }
            for void in new
        ],
    )


async def finish_void(transaction: Transaction, event_id: str, void: Void) -> None:
    """Note that no hold of a void is left."""
    await transaction.execute(
        update(voids)
        .where(
            voids.c.organization_id == transaction.organization_id,
            voids.c.event_id == event_id,
            voids.c.through_version == void.through_version,
            voids.c.cause == void.cause.value,
            voids.c.schedule_id == (void.schedule_id or ""),
        )
        .values(done=True)
    )
