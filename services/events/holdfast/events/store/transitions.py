"""The history of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select

from holdfast.events.domain.lifecycle import EventState, Transition
from holdfast.events.store.tables import EVENT_TRANSITIONS

if TYPE_CHECKING:
    from holdfast.common.database import Transaction


async def insert_transition(
    transaction: Transaction, organization_id: str, event_id: str, transition: Transition
) -> None:
    """Write a step."""
    await transaction.execute(
        insert(EVENT_TRANSITIONS).values(
            organization_id=organization_id,
            event_id=event_id,
            version=transition.version,
            name=transition.name,
            from_state=transition.from_state.value,
            to_state=transition.to_state.value,
            actor=transition.actor,
            reason=transition.reason,
            create_time=transition.create_time,
        )
    )


async def list_transitions(
    transaction: Transaction, organization_id: str, event_id: str, *, after_version: int, limit: int
) -> list[Transition]:
    """Read a page of an event's history, oldest first."""
    rows = await transaction.execute(
        select(EVENT_TRANSITIONS)
        .where(
            EVENT_TRANSITIONS.c.organization_id == organization_id,
            EVENT_TRANSITIONS.c.event_id == event_id,
            EVENT_TRANSITIONS.c.version > after_version,
        )
        .order_by(EVENT_TRANSITIONS.c.version)
        .limit(limit)
    )
    return [
        Transition(
            version=row.version,
            name=row.name,
            from_state=EventState(row.from_state),
            to_state=EventState(row.to_state),
            actor=row.actor,
            reason=row.reason,
            create_time=row.create_time,
        )
        for row in rows
    ]


async def count_transitions(transaction: Transaction, organization_id: str, event_id: str) -> int:
    """Count the steps of an event's history."""
    counted = await transaction.execute(
        select(func.count())
        .select_from(EVENT_TRANSITIONS)
        .where(
            EVENT_TRANSITIONS.c.organization_id == organization_id,
            EVENT_TRANSITIONS.c.event_id == event_id,
        )
    )
    return int(counted.scalar_one())
