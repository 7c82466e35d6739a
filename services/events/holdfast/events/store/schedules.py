"""Dates in the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, tuple_, update

from holdfast.events.domain.lifecycle import EventState
from holdfast.events.domain.schedules import OCCUPYING_STATES, Schedule, ScheduleState
from holdfast.events.store.tables import EVENTS, SCHEDULES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import RowMapping

    from holdfast.common.database import Transaction

SCHEDULES_PER_EVENT_MAX = 730
"""The longest recurrence there is; an event's dates are always read whole."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Another event that has the venue at the time."""

    event_id: str
    name: str


def _schedule(row: RowMapping) -> Schedule:
    values: dict[str, Any] = dict(row)
    return Schedule(**values | {"state": ScheduleState(values["state"])})


def _values(schedule: Schedule) -> dict[str, Any]:
    return {column.name: getattr(schedule, column.name) for column in SCHEDULES.c} | {"state": schedule.state.value}


async def schedules_of_event(transaction: Transaction, organization_id: str, event_id: str) -> list[Schedule]:
    """Read all dates of an event in the order of their start."""
    rows = await transaction.execute(
        select(SCHEDULES)
        .where(SCHEDULES.c.organization_id == organization_id, SCHEDULES.c.event_id == event_id)
        .order_by(SCHEDULES.c.start_time, SCHEDULES.c.id)
        .limit(SCHEDULES_PER_EVENT_MAX)
    )
    return [_schedule(row) for row in rows.mappings()]


async def schedules_of_events(
    transaction: Transaction, organization_id: str, event_ids: Sequence[str]
) -> dict[str, list[Schedule]]:
    """Read the dates of a page of events, by event, in the order of their start."""
    found: dict[str, list[Schedule]] = {event_id: [] for event_id in event_ids}
    rows = await transaction.execute(
        select(SCHEDULES)
        .where(SCHEDULES.c.organization_id == organization_id, SCHEDULES.c.event_id.in_(event_ids))
        .order_by(SCHEDULES.c.event_id, SCHEDULES.c.start_time, SCHEDULES.c.id)
    )
    for row in rows.mappings():
        found[row["event_id"]].append(_schedule(row))
    return found


async def list_schedules(
    transaction: Transaction,
    organization_id: str,
    event_id: str,
    *,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Schedule]:
    """Read a page of an event's dates in the order of their start; `after` = start and id of the last one seen."""
    query = select(SCHEDULES).where(SCHEDULES.c.organization_id == organization_id, SCHEDULES.c.event_id == event_id)
    if after is not None:
        query = query.where(tuple_(SCHEDULES.c.start_time, SCHEDULES.c.id) > tuple_(*after))
    rows = await transaction.execute(query.order_by(SCHEDULES.c.start_time, SCHEDULES.c.id).limit(limit))
    return [_schedule(row) for row in rows.mappings()]


async def count_schedules(transaction: Transaction, organization_id: str, event_id: str) -> int:
    """Count an event's dates."""
    counted = await transaction.execute(
        select(func.count())
        .select_from(SCHEDULES)
        .where(SCHEDULES.c.organization_id == organization_id, SCHEDULES.c.event_id == event_id)
    )
    return int(counted.scalar_one())


async def insert_schedule(transaction: Transaction, schedule: Schedule) -> None:
    """Write a new date."""
    await transaction.execute(insert(SCHEDULES).values(_values(schedule)))


async def update_schedule(transaction: Transaction, schedule: Schedule) -> None:
    """Write a date of an event that this transaction has locked."""
    await transaction.execute(
        update(SCHEDULES)
        .where(SCHEDULES.c.organization_id == schedule.organization_id, SCHEDULES.c.id == schedule.id)
        .values(_values(schedule))
    )


async def find_overlap(  # noqa: PLR0913 - what a request says, by name
    transaction: Transaction,
    organization_id: str,
    *,
    venue_id: str,
    event_id: str,
    start_time: datetime,
    end_time: datetime,
) -> Overlap | None:
    """Find another event that has the venue at this time: a date that takes place, of an event that does.

    Exact only under the venue's lock, in a statement after the one that took it. Times that only touch do not overlap.
    """
    row = (
        await transaction.execute(
            select(EVENTS.c.id, EVENTS.c.name)
            .join(
                SCHEDULES,
                (SCHEDULES.c.organization_id == EVENTS.c.organization_id) & (SCHEDULES.c.event_id == EVENTS.c.id),
            )
            .where(
                EVENTS.c.organization_id == organization_id,
                SCHEDULES.c.organization_id == organization_id,
                EVENTS.c.venue_id == venue_id,
                EVENTS.c.id != event_id,
                EVENTS.c.delete_time.is_(None),
                EVENTS.c.state != EventState.CANCELLED.value,
                SCHEDULES.c.state.in_(sorted(state.value for state in OCCUPYING_STATES)),
                SCHEDULES.c.start_time < end_time,
                SCHEDULES.c.end_time > start_time,
            )
            .order_by(SCHEDULES.c.start_time, EVENTS.c.id)
            .limit(1)
        )
    ).one_or_none()
    return None if row is None else Overlap(event_id=row.id, name=row.name)
