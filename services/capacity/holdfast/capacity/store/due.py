"""When something of an event is due. The sweeper reads it across organizations; nothing else may be read so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from holdfast.capacity.store.tables import due_work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class Due:
    """An event of which something is due."""

    organization_id: str
    event_id: str


async def note(transaction: Transaction, event_id: str, due_time: datetime) -> None:
    """Note that something of an event is due at a time; the earliest counts."""
    statement = insert(due_work).values(
        organization_id=transaction.organization_id, event_id=event_id, due_time=due_time
    )
    await transaction.execute(
        statement.on_conflict_do_update(
            index_elements=[due_work.c.organization_id, due_work.c.event_id],
            set_={"due_time": statement.excluded.due_time},
            where=due_work.c.due_time > statement.excluded.due_time,
        )
    )


async def settle(transaction: Transaction, event_id: str, next_time: datetime | None) -> None:
    """Replace what is due by what is due next, under the event's lock."""
    await transaction.execute(
        delete(due_work).where(
            due_work.c.organization_id == transaction.organization_id, due_work.c.event_id == event_id
        )
    )
    if next_time is not None:
        await note(transaction, event_id, next_time)


async def find(transaction: Transaction, *, limit: int) -> Sequence[Due]:
    """Return what is due now, of any organization, longest due first. For the sweeper's role."""
    result = await transaction.execute(
        select(due_work.c.organization_id, due_work.c.event_id)
        .where(due_work.c.due_time <= func.clock_timestamp())
        .order_by(due_work.c.due_time)
        .limit(limit)
    )
    return [Due(organization_id=row.organization_id, event_id=row.event_id) for row in result]
