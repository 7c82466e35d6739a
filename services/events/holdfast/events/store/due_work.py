"""When something of an event is due: which event and when, nothing of its business.

Rows are written in the transactions that cause them, so nothing that is due is forgotten in a crash. They are looked
for across organizations with the relay's role, which may read this table; the work itself is done by the service's
role inside one organization. The relay's role is the least that can do it: it reads whole messages of every
organization already, and this table adds no more than that an event has something due.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.common.database import Statement
from holdfast.events.domain.lifecycle import TERMINAL_STATES
from holdfast.events.store.tables import DUE_WORK, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.common.database import Database, Transaction


class DueKind(StrEnum):
    """What is due."""

    SALES = "SALES"
    """Sales start by themselves."""
    DATES = "DATES"
    """A date starts or ends, and the event with its last one."""
    CONTROLS = "CONTROLS"
    """The venue or the organization changed what capacity must know of the event."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something that is due."""

    organization_id: str
    event_id: str
    kind: DueKind
    due_time: datetime
    attempt: int


def _due(row: Sequence[Any]) -> Due:
    organization_id, event_id, kind, due_time, attempt = row
    return Due(
        organization_id=organization_id, event_id=event_id, kind=DueKind(kind), due_time=due_time, attempt=attempt
    )


@dataclass(frozen=True, slots=True)
class Lookout:
    """What is due in any organization, longest due first, and when the next thing of all is, due or not."""

    due: tuple[Due, ...]
    next_time: datetime | None


async def look_out(database: Database, *, now: datetime, limit: int) -> Lookout:
    """Look for what is due, at most `limit`, with the relay's role."""
    due, following = await database.run_statements(
        Statement(_DUE, (now, limit)), Statement(_NEXT), organization_id=None
    )
    return Lookout(due=tuple(_due(row) for row in due), next_time=following[0][0])


_DUE: Final = """
SELECT organization_id, event_id, kind, due_time, attempt FROM events.due_work
WHERE due_time <= $1 ORDER BY due_time, organization_id, event_id LIMIT $2::bigint"""
_NEXT: Final = "SELECT min(due_time) FROM events.due_work"


async def take_due(transaction: Transaction, due: Due, *, now: datetime) -> Due | None:
    """Lock one row if it is still due and nobody else works on it. The event is locked before."""
    row = (
        await transaction.execute(
            select(DUE_WORK)
            .where(
                DUE_WORK.c.organization_id == due.organization_id,
                DUE_WORK.c.event_id == due.event_id,
                DUE_WORK.c.kind == due.kind.value,
                DUE_WORK.c.due_time <= now,
            )
            .with_for_update(skip_locked=True)
        )
    ).one_or_none()
    return None if row is None else _due(row)


async def set_due(
    transaction: Transaction, organization_id: str, event_id: str, times: dict[DueKind, datetime | None]
) -> None:
    """Write when the kinds named in `times` are due, from the first attempt on; None = not at all."""
    gone = [kind.value for kind, moment in times.items() if moment is None]
    if gone:
        await transaction.execute(
            delete(DUE_WORK).where(
                DUE_WORK.c.organization_id == organization_id,
                DUE_WORK.c.event_id == event_id,
                DUE_WORK.c.kind.in_(gone),
            )
        )
    rows: Sequence[dict[str, object]] = [
        {"organization_id": organization_id, "event_id": event_id, "kind": kind.value, "due_time": moment, "attempt": 0}
        for kind, moment in times.items()
        if moment is not None
    ]
    if rows:
        statement = insert(DUE_WORK).values(rows)
        await transaction.execute(
            statement.on_conflict_do_update(
                index_elements=[DUE_WORK.c.organization_id, DUE_WORK.c.event_id, DUE_WORK.c.kind],
                set_={"due_time": statement.excluded.due_time, "attempt": 0},
            )
        )


async def postpone_due(transaction: Transaction, due: Due, *, due_time: datetime) -> None:
    """Try again later; counts the attempt."""
    await transaction.execute(
        update(DUE_WORK)
        .where(
            DUE_WORK.c.organization_id == due.organization_id,
            DUE_WORK.c.event_id == due.event_id,
            DUE_WORK.c.kind == due.kind.value,
        )
        .values(due_time=due_time, attempt=DUE_WORK.c.attempt + 1)
    )


async def spread_controls(
    transaction: Transaction, organization_id: str, *, venue_id: str | None, now: datetime
) -> int:
    """Note for every event that is not over, at one venue or everywhere, that its controls changed; give how many.

    One statement in the transaction that changed the venue or the organization, however many events there are: the
    events themselves follow one by one, each with a version and a message of its own.
    """
    events = select(
        EVENTS.c.organization_id, EVENTS.c.id, literal(DueKind.CONTROLS.value), literal(now), literal(0)
    ).where(
        EVENTS.c.organization_id == organization_id,
        EVENTS.c.delete_time.is_(None),
        EVENTS.c.state.not_in(sorted(state.value for state in TERMINAL_STATES)),
    )
    if venue_id is not None:
        events = events.where(EVENTS.c.venue_id == venue_id)
    statement = insert(DUE_WORK).from_select(
        ["organization_id", "event_id", "kind", "due_time", "attempt"], events.order_by(EVENTS.c.id)
    )
    written = await transaction.execute(
        statement.on_conflict_do_update(
            index_elements=[DUE_WORK.c.organization_id, DUE_WORK.c.event_id, DUE_WORK.c.kind],
            set_={"due_time": statement.excluded.due_time, "attempt": 0},
        )
    )
    return int(written.rowcount)
