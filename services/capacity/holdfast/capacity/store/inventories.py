"""The row of an event's inventory: locked first by every mutation, read alone by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.capacity.domain.holds import Void, VoidCause
from holdfast.capacity.store.sections import counters_of, crossed_of, crossed_text
from holdfast.capacity.store.tables import event_inventories, voids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.sections import Counters, Crossing
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class StoredInventory:
    """The row. `controls` are the bytes of the EventControls message, empty before the first."""

    event_id: str
    version: int
    last_change_time: datetime
    controls_version: int
    controls: bytes
    counters: Counters
    crossed: frozenset[Crossing]
    live_holds: int


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
    """Return the row as it is now."""
    result = await transaction.execute(
        select(event_inventories).where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
    )
    row = result.one_or_none()
    if row is None:
        return None
    return StoredInventory(
        event_id=row.event_id,
        version=row.version,
        last_change_time=row.last_change_time,
        controls_version=row.controls_version,
        controls=bytes(row.controls),
        counters=counters_of(row),
        crossed=crossed_of(row.crossed),
        live_holds=row.live_holds,
    )


async def clock(transaction: Transaction, *, at_least: datetime | None = None) -> datetime:
    """Return the database's clock now, never before an earlier change. Not now(): that is older than a lock wait."""
    moment: datetime = (await transaction.execute(select(func.clock_timestamp()))).scalar_one()
    return moment if at_least is None else max(moment, at_least)


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


async def open_voids(transaction: Transaction, event_id: str) -> tuple[Void, ...]:
    """Return the voids whose holds are not all brought up to date."""
    result = await transaction.execute(
        select(voids)
        .where(
            voids.c.organization_id == transaction.organization_id,
            voids.c.event_id == event_id,
            voids.c.done.is_(False),
        )
        .order_by(voids.c.through_version, voids.c.cause, voids.c.schedule_id)
    )
    return tuple(
        Void(
            cause=VoidCause(row.cause),
            through_version=row.through_version,
            at=row.effect_time,
            schedule_id=row.schedule_id or None,
        )
        for row in result
    )


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


async def hold_still(transaction: Transaction, event_id: str) -> bool:
    """Keep others from changing an event's inventory until the transaction ends; False when there is none."""
    result = await transaction.execute(
        select(event_inventories.c.event_id)
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .with_for_update(read=True)
    )
    return result.one_or_none() is not None
