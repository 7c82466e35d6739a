"""When something of an event is due. The sweeper reads it across organizations; nothing else may be read so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from holdfast.capacity.store.tables import due_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class Due:
    """An event of which something is due."""

    organization_id: str
    event_id: str


async def find(transaction: Transaction, *, limit: int) -> Sequence[Due]:
    """Return what is due now, of any organization, longest due first. For the sweeper's role."""
    result = await transaction.execute(
        select(due_work.c.organization_id, due_work.c.event_id)
        # The time is asked for once: compared with each row's, it would keep the index from being used.
        .where(due_work.c.due_time <= select(func.clock_timestamp()).scalar_subquery())
        .order_by(due_work.c.due_time)
        .limit(limit)
    )
    return [Due(organization_id=row.organization_id, event_id=row.event_id) for row in result]
