"""Events in the database, with the figures that capacity reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.common.database import Statement
from holdfast.events.domain.events import Event, EventKind, Figures, Visibility
from holdfast.events.domain.lifecycle import EventState
from holdfast.events.store.tables import EVENT_FIGURES, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping, Select

    from holdfast.common.database import Transaction

_LISTS = ("tags", "special_requirements", "meta_keywords", "gate_ids")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a list has; empty = all. `visibility` None = any."""

    states: frozenset[EventState] = frozenset()
    venue_id: str = ""
    organizer_id: str = ""
    visibility: Visibility | None = None


def _event(row: RowMapping) -> Event:
    values: dict[str, Any] = dict(row)
    lists = {name: tuple(values[name]) for name in _LISTS}
    return Event(
        **values
        | lists
        | {
            "kind": EventKind(values["kind"]),
            "state": EventState(values["state"]),
            "visibility": Visibility(values["visibility"]),
        }
    )


def _values(event: Event) -> dict[str, Any]:
    return (
        {column.name: getattr(event, column.name) for column in EVENTS.c}
        | {name: list(getattr(event, name)) for name in _LISTS}
        | {"kind": event.kind.value, "state": event.state.value, "visibility": event.visibility.value}
    )


async def find_event(
    transaction: Transaction,
    organization_id: str,
    event_id: str,
    *,
    lock: Literal["none", "wait", "skip"] = "none",
) -> Event | None:
    """Read an event, deleted ones too. Changes of the event `wait` here for their turn, or `skip` it: None then."""
    query = select(EVENTS).where(EVENTS.c.organization_id == organization_id, EVENTS.c.id == event_id)
    if lock != "none":
        query = query.with_for_update(key_share=True, skip_locked=lock == "skip")
    row = (await transaction.execute(query)).mappings().one_or_none()
    return None if row is None else _event(row)


async def find_event_by_slug(transaction: Transaction, organization_id: str, slug: str) -> Event | None:
    """Read an event that is not deleted by its slug."""
    query = select(EVENTS).where(
        EVENTS.c.organization_id == organization_id, EVENTS.c.slug == slug, EVENTS.c.delete_time.is_(None)
    )
    row = (await transaction.execute(query)).mappings().one_or_none()
    return None if row is None else _event(row)


async def venue_of_event(transaction: Transaction, organization_id: str, event_id: str) -> str | None:
    """Read where an event is, to lock that venue before the event."""
    found = await transaction.execute(
        select(EVENTS.c.venue_id).where(EVENTS.c.organization_id == organization_id, EVENTS.c.id == event_id)
    )
    return found.scalar_one_or_none()


async def insert_event(transaction: Transaction, event: Event) -> bool:
    """Write a new event; False, and nothing is written, if its slug is taken."""
    written = await transaction.execute(
        insert(EVENTS)
        .values(_values(event))
        .on_conflict_do_nothing(
            index_elements=[EVENTS.c.organization_id, EVENTS.c.slug], index_where=EVENTS.c.delete_time.is_(None)
        )
        .returning(EVENTS.c.id)
    )
    return written.one_or_none() is not None


async def update_event(transaction: Transaction, event: Event) -> None:
    """Write an event that this transaction has locked."""
    await transaction.execute(
        update(EVENTS)
        .where(EVENTS.c.organization_id == event.organization_id, EVENTS.c.id == event.id)
        .values(_values(event))
    )


async def taken_slugs(transaction: Transaction, organization_id: str, base: str) -> frozenset[str]:
    """Give which of `base`, `base-2`, `base-3`, … the organization's events have."""
    rows = await transaction.execute(
        select(EVENTS.c.slug).where(
            EVENTS.c.organization_id == organization_id,
            EVENTS.c.delete_time.is_(None),
            (EVENTS.c.slug == base) | EVENTS.c.slug.startswith(f"{base}-", autoescape=True),
        )
    )
    return frozenset(rows.scalars())


def _filtered(query: Select[Any], organization_id: str, which: EventFilter) -> Select[Any]:
    query = query.where(EVENTS.c.organization_id == organization_id, EVENTS.c.delete_time.is_(None))
    if which.states:
        query = query.where(EVENTS.c.state.in_(sorted(state.value for state in which.states)))
    if which.venue_id:
        query = query.where(EVENTS.c.venue_id == which.venue_id)
    if which.organizer_id:
        query = query.where(EVENTS.c.organizer_id == which.organizer_id)
    if which.visibility is not None:
        query = query.where(EVENTS.c.visibility == which.visibility.value)
    return query


async def list_events(
    transaction: Transaction, organization_id: str, which: EventFilter, *, before_id: str | None, limit: int
) -> list[Event]:
    """Read a page of events, newest first: ids are made in the order of time."""
    query = _filtered(select(EVENTS), organization_id, which)
    if before_id is not None:
        query = query.where(EVENTS.c.id < before_id)
    rows = await transaction.execute(query.order_by(EVENTS.c.id.desc()).limit(limit))
    return [_event(row) for row in rows.mappings()]


async def count_events(transaction: Transaction, organization_id: str, which: EventFilter) -> int:
    """Count the events that a list has."""
    query = _filtered(select(func.count()).select_from(EVENTS), organization_id, which)
    return int((await transaction.execute(query)).scalar_one())


async def find_figures(transaction: Transaction, organization_id: str, event_ids: Sequence[str]) -> dict[str, Figures]:
    """Read what capacity last reported of some events; those it reported nothing of are absent."""
    rows = await transaction.execute(
        select(EVENT_FIGURES).where(
            EVENT_FIGURES.c.organization_id == organization_id, EVENT_FIGURES.c.event_id.in_(event_ids)
        )
    )
    return {
        row.event_id: Figures(
            capacity=row.capacity,
            available=row.available,
            sold=row.sold,
            sold_out=row.sold_out,
            inventory_version=row.inventory_version,
        )
        for row in rows
    }


def write_figures(organization_id: str, event_id: str, figures: Figures, *, crossed: bool) -> Statement:
    """Write what capacity reported, unless something newer is there or there is no such event.

    `sold_out` is taken only if the report `crossed` that line; otherwise what an earlier one said stays. A table of its
    own: figures change with every hold, and must change neither the event's version nor its etag.
    """
    return Statement(
        _WRITE_FIGURES,
        (
            organization_id,
            event_id,
            figures.capacity,
            figures.available,
            figures.sold,
            figures.sold_out,
            figures.inventory_version,
            crossed,
        ),
    )


_WRITE_FIGURES: Final = """
INSERT INTO events.event_figures AS f
  (organization_id, event_id, capacity, available, sold, sold_out, inventory_version)
SELECT e.organization_id, e.id, $3::int, $4::int, $5::int, $6::bool, $7::bigint
FROM events.events e WHERE e.organization_id = $1 AND e.id = $2
ON CONFLICT (organization_id, event_id) DO UPDATE SET
  capacity = excluded.capacity,
  available = excluded.available,
  sold = excluded.sold,
  sold_out = CASE WHEN $8::bool THEN excluded.sold_out ELSE f.sold_out END,
  inventory_version = excluded.inventory_version
WHERE f.inventory_version < excluded.inventory_version"""


async def venue_has_events(transaction: Transaction, organization_id: str, venue_id: str) -> bool:
    """Tell whether any event that is not deleted is at a venue."""
    found = await transaction.execute(
        select(EVENTS.c.id)
        .where(
            EVENTS.c.organization_id == organization_id,
            EVENTS.c.venue_id == venue_id,
            EVENTS.c.delete_time.is_(None),
        )
        .limit(1)
    )
    return found.one_or_none() is not None
