"""What an event's counters and seats are counted from, read a bounded part at a time.

Every function is one statement that looks at a bounded number of rows, found by their keys. To compare the rows of an
event with each other all of them have to be read in one snapshot (`Database.run(…, snapshot=True)`): the journal aside,
which is never changed, any two reads of different moments would differ by what was sold in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import TextClause, func, select, text

from holdfast.capacity.store.tables import event_inventories, seat_claims, sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from holdfast.common.database import Transaction

COUNTERS: Final = ("total", "held", "pending", "sold", "blocked")
OWNERS_MAX: Final = 20_000
"""Holds, sales or blocks whose places one statement adds up."""
SEATED_OWNERS_MAX: Final = 2_000
"""Of events with seats, whose lines are looked at one by one here: selling goes on in the same process."""
CLAIMS_MAX: Final = 5_000
"""Claims of seats that are read at once."""

Cursor = tuple[datetime, str]
START: Final[Cursor] = (datetime(1970, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class StoredCounters:
    """The counters of a section's row; `seats` tells whether it has seats."""

    section_id: str
    counters: dict[str, int]
    buffer: int
    seats: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """The row of an event, and the moment of reading. `live_holds` is how many holds it takes for live."""

    version: int
    at: datetime
    sums: dict[str, int]
    live_holds: int
    repaired_version: int


@dataclass(frozen=True, slots=True)
class Part:
    """Places of some owners: `sums` by section and counter, `seats` by section and owner, and how many owners.

    `cursor` is where the next part begins; None = there is none.
    """

    sums: tuple[tuple[str, str, int], ...]
    seats: tuple[tuple[str, str, tuple[int, ...]], ...]
    owners: int
    cursor: Cursor | None


# Each takes the owners after a cursor, in the order of an index; their lines are looked up by their keys.
_LIVE: Final = """
WITH owners AS MATERIALIZED (
  SELECT h.expire_time AS place, h.id, h.id AS claimant,
    CASE h.state WHEN 'ACTIVE' THEN 'held' ELSE 'pending' END AS counter
  FROM capacity.holds h
  WHERE h.organization_id = :organization_id AND h.event_id = :event_id AND h.state IN ('ACTIVE', 'PENDING')
    AND (h.expire_time, h.id) > (:after_place, :after_id)
  ORDER BY h.expire_time, h.id LIMIT :owners),
lines AS (
  SELECT o.claimant, o.counter, l.section_id, l.quantity, l.seats
  FROM owners o CROSS JOIN LATERAL (
    SELECT i.section_id, i.quantity, i.seats FROM capacity.hold_lines i
    WHERE i.organization_id = :organization_id AND i.hold_id = o.id OFFSET 0) l)"""
# Sales have no time in their index: their ids are in the order of their time.
_SOLD: Final = """
WITH owners AS MATERIALIZED (
  SELECT CAST(:after_place AS timestamptz) AS place, s.id, s.hold_id AS claimant, 'sold' AS counter
  FROM capacity.sales s
  WHERE s.organization_id = :organization_id AND s.event_id = :event_id AND s.id > :after_id
  ORDER BY s.id LIMIT :owners),
lines AS (
  SELECT o.claimant, o.counter, l.section_id, l.quantity, l.seats
  FROM owners o CROSS JOIN LATERAL (
    SELECT i.section_id, i.quantity - i.returned_quantity - i.exchanged_quantity AS quantity,
      CASE WHEN i.returned_seats = '{}' AND i.exchanged_seats = '{}' THEN i.seats ELSE ARRAY (
        SELECT unnest(i.seats) EXCEPT SELECT unnest(i.returned_seats || i.exchanged_seats)) END AS seats
    FROM capacity.sale_lines i
    WHERE i.organization_id = :organization_id AND i.sale_id = o.id OFFSET 0) l)"""
_BLOCKED: Final = """
WITH owners AS MATERIALIZED (
  SELECT b.create_time AS place, b.id, b.id AS claimant, 'blocked' AS counter,
    b.section_id, b.quantity, b.seats, b.end_time
  FROM capacity.blocks b
  WHERE b.organization_id = :organization_id AND b.event_id = :event_id
    AND (b.create_time, b.id) > (:after_place, :after_id)
  ORDER BY b.create_time, b.id LIMIT :owners),
lines AS (SELECT claimant, counter, section_id, quantity, seats FROM owners WHERE end_time IS NULL)"""
_SUMS: Final = """,
sums AS (SELECT section_id, counter, sum(quantity) AS quantity FROM lines GROUP BY section_id, counter)
SELECT (SELECT count(*) FROM owners) AS owners, last.place, last.id AS last_id,
  sums.section_id, sums.counter, sums.quantity, NULL AS claimant, NULL AS seats
FROM (SELECT o.place, o.id FROM owners o ORDER BY o.place DESC, o.id DESC LIMIT 1) last LEFT JOIN sums ON true"""
_EACH: Final = """
SELECT (SELECT count(*) FROM owners) AS owners, last.place, last.id AS last_id,
  l.section_id, l.counter, l.quantity, l.claimant, l.seats
FROM (SELECT o.place, o.id FROM owners o ORDER BY o.place DESC, o.id DESC LIMIT 1) last LEFT JOIN lines l ON true"""


Kind = tuple[TextClause, TextClause]


def _pair(owners: str) -> Kind:
    """Give the statements for events without seats and with them."""
    return text(owners + _SUMS), text(owners + _EACH)


HOLDS: Final = _pair(_LIVE)
SALES: Final = _pair(_SOLD)
BLOCKS: Final = _pair(_BLOCKED)
KINDS: Final = (HOLDS, SALES, BLOCKS)
"""What counts as held or pending, as sold, and as blocked besides the buffer."""


async def event(transaction: Transaction, event_id: str) -> StoredEvent | None:
    """Read the row of an event; None when it is not known here."""
    table = event_inventories
    result = await transaction.execute(
        select(
            table.c.version,
            func.greatest(func.clock_timestamp(), table.c.last_change_time).label("at"),
            *(table.c[name] for name in COUNTERS),
            table.c.live_holds,
            table.c.repaired_version,
        ).where(table.c.organization_id == transaction.organization_id, table.c.event_id == event_id)
    )
    row = result.one_or_none()
    if row is None:
        return None
    return StoredEvent(
        version=row.version,
        at=row.at,
        sums={name: int(getattr(row, name)) for name in COUNTERS},
        live_holds=int(row.live_holds),
        repaired_version=int(row.repaired_version),
    )


async def stored(transaction: Transaction, event_id: str) -> list[StoredCounters]:
    """Read the counters of all sections of an event, deleted ones too."""
    result = await transaction.execute(
        select(
            sections.c.id,
            *(sections.c[name] for name in COUNTERS),
            sections.c.buffer,
            sections.c.taken.is_not(None).label("seats"),
            sections.c.delete_time.is_not(None).label("deleted"),
        )
        .where(sections.c.organization_id == transaction.organization_id, sections.c.event_id == event_id)
        .order_by(sections.c.id)
    )
    return [
        StoredCounters(
            section_id=row.id,
            counters={name: int(getattr(row, name)) for name in COUNTERS},
            buffer=row.buffer,
            seats=row.seats,
            deleted=row.deleted,
        )
        for row in result
    ]


async def part(transaction: Transaction, event_id: str, kind: Kind, *, after: Cursor, seats: bool) -> Part:
    """Add up what the next owners of a kind have; with `seats` also tell which seats."""
    limit = SEATED_OWNERS_MAX if seats else OWNERS_MAX
    result = await transaction.execute(
        kind[seats],
        {
            "organization_id": transaction.require_organization(),
            "event_id": event_id,
            "after_place": after[0],
            "after_id": after[1],
            "owners": limit,
        },
    )
    rows = result.all()
    owners = int(rows[0].owners) if rows else 0
    told = [row for row in rows if row.section_id is not None]
    return Part(
        sums=tuple((row.section_id, row.counter, int(row.quantity)) for row in told),
        seats=tuple((row.section_id, row.claimant, tuple(row.seats)) for row in told if row.seats),
        owners=owners,
        cursor=(rows[0].place, rows[0].last_id) if owners == limit else None,
    )


async def claims(transaction: Transaction, section_id: str, *, first_seat: int) -> Sequence[Row[Any]]:
    """Read the next claims of a section's seats, from a seat on, as `seat_index` and `owner`: a hold, or a block."""
    result = await transaction.execute(
        select(seat_claims.c.seat_index, func.coalesce(seat_claims.c.hold_id, seat_claims.c.block_id).label("owner"))
        .where(
            seat_claims.c.organization_id == transaction.organization_id,
            seat_claims.c.section_id == section_id,
            seat_claims.c.seat_index >= first_seat,
        )
        .order_by(seat_claims.c.seat_index)
        .limit(CLAIMS_MAX)
    )
    return result.all()


async def bitmap(transaction: Transaction, section_id: str) -> int:
    """Read the set of the seats of a section that count as taken."""
    result = await transaction.execute(
        select(sections.c.taken).where(
            sections.c.organization_id == transaction.organization_id, sections.c.id == section_id
        )
    )
    return int.from_bytes(result.scalar_one() or b"", "little")


async def layout(transaction: Transaction, section_id: str) -> dict[str, Any]:
    """Read the layout of a section with seats."""
    result = await transaction.execute(
        select(sections.c.row_layout).where(
            sections.c.organization_id == transaction.organization_id, sections.c.id == section_id
        )
    )
    document: dict[str, Any] = result.scalar_one()
    return document
