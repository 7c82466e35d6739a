"""Venues in the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from holdfast.events.domain.venues import Address, Gate, Venue, VenueKind
from holdfast.events.store.tables import VENUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping

    from holdfast.common.database import Transaction


def _venue(row: RowMapping) -> Venue:
    values: dict[str, Any] = dict(row)
    address = values["address"]
    return Venue(
        **values
        | {
            "kind": VenueKind(values["kind"]),
            "address": None if address is None else Address(**address | {"lines": tuple(address["lines"])}),
            "gates": tuple(Gate(**gate) for gate in values["gates"]),
        }
    )


def _values(venue: Venue) -> dict[str, Any]:
    return {column.name: getattr(venue, column.name) for column in VENUES.c} | {
        "kind": venue.kind.value,
        "address": None if venue.address is None else asdict(venue.address),
        "gates": [asdict(gate) for gate in venue.gates],
    }


async def find_venue(
    transaction: Transaction, organization_id: str, venue_id: str, *, lock: bool = False
) -> Venue | None:
    """Read a venue that is not deleted.

    With `lock`, everything that decides over the venue's time or size waits here for its turn. An exclusion constraint
    over the dates could not do it: whether two dates may overlap depends on each request's `allow_overlap`, on the
    states of the dates and on those of their events. `FOR NO KEY UPDATE` leaves foreign key checks alone.
    """
    query = select(VENUES).where(
        VENUES.c.organization_id == organization_id, VENUES.c.id == venue_id, VENUES.c.delete_time.is_(None)
    )
    if lock:
        query = query.with_for_update(key_share=True)
    row = (await transaction.execute(query)).mappings().one_or_none()
    return None if row is None else _venue(row)


async def find_venues(transaction: Transaction, organization_id: str, venue_ids: Sequence[str]) -> dict[str, Venue]:
    """Read the venues of a page of events by id."""
    rows = await transaction.execute(
        select(VENUES).where(VENUES.c.organization_id == organization_id, VENUES.c.id.in_(venue_ids))
    )
    return {row["id"]: _venue(row) for row in rows.mappings()}


async def insert_venue(transaction: Transaction, venue: Venue) -> bool:
    """Write a new venue; False, and nothing is written, if its slug is taken."""
    written = await transaction.execute(
        insert(VENUES)
        .values(_values(venue))
        .on_conflict_do_nothing(
            index_elements=[VENUES.c.organization_id, VENUES.c.slug], index_where=VENUES.c.delete_time.is_(None)
        )
        .returning(VENUES.c.id)
    )
    return written.one_or_none() is not None


async def update_venue(transaction: Transaction, venue: Venue) -> None:
    """Write a venue that this transaction has locked."""
    await transaction.execute(
        update(VENUES)
        .where(VENUES.c.organization_id == venue.organization_id, VENUES.c.id == venue.id)
        .values(_values(venue))
    )


async def taken_slugs(transaction: Transaction, organization_id: str, base: str) -> frozenset[str]:
    """Give which of `base`, `base-2`, `base-3`, … the organization's venues have."""
    rows = await transaction.execute(
        select(VENUES.c.slug).where(
            VENUES.c.organization_id == organization_id,
            VENUES.c.delete_time.is_(None),
            (VENUES.c.slug == base) | VENUES.c.slug.startswith(f"{base}-", autoescape=True),
        )
    )
    return frozenset(rows.scalars())


async def list_venues(
    transaction: Transaction, organization_id: str, *, before_id: str | None, limit: int
) -> list[Venue]:
    """Read a page of venues, newest first: ids are made in the order of time."""
    query = select(VENUES).where(VENUES.c.organization_id == organization_id, VENUES.c.delete_time.is_(None))
    if before_id is not None:
        query = query.where(VENUES.c.id < before_id)
    rows = await transaction.execute(query.order_by(VENUES.c.id.desc()).limit(limit))
    return [_venue(row) for row in rows.mappings()]


async def count_venues(transaction: Transaction, organization_id: str) -> int:
    """Count the organization's venues."""
    counted = await transaction.execute(
        select(func.count())
        .select_from(VENUES)
        .where(VENUES.c.organization_id == organization_id, VENUES.c.delete_time.is_(None))
    )
    return int(counted.scalar_one())
