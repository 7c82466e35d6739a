"""What a batch reads: queries for many ids at once, and rows as domain values.

`$1` is the organization and `$2` the event wherever both are there. Sets of ids are arrays that are made first
(`= ANY (ARRAY (…))`), and look-ups for each of many keys stand in a LATERAL of their own (`OFFSET 0`): so the planner
finds rows by their keys, whatever it believes of the tables' sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.capacity.domain.blocks import Block, BlockKind
from holdfast.capacity.domain.holds import Hold, HoldState, Line, LinePrice, VoidCause
from holdfast.capacity.domain.parts import Part
from holdfast.capacity.domain.sales import Sale, SaleState
from holdfast.capacity.domain.sections import Counters, Crossing, Section, SectionKind
from holdfast.common.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row = tuple[Any, ...]

_SECTION: Final = """
SELECT s.id, s.event_id, s.schedule_id, s.name, s.code, s.subsection, s.kind, s.tier,
  s.total, s.held, s.pending, s.sold, s.blocked, s.buffer, s.min_per_order, s.max_per_order,
  s.active, s.visible, s.crossed, s.layout_revision, s.revision, s.create_time, s.update_time, s.taken, s.delete_time
FROM capacity.sections s WHERE s.organization_id = $1 AND s.event_id = $2"""
# All that are not deleted, and those of `$3`.
SECTIONS_ALL: Final = f"{_SECTION} AND (s.delete_time IS NULL OR s.id = ANY ($3::text[]))"
# A deleted section is read as one; what looks for sections by their ids says that it is not there.
SECTIONS: Final = f"{_SECTION} AND s.id = ANY ($3::text[])"
# The sections of `$3`, and those of the holds of `$4`, the sales of `$5` and the blocks of `$6`.
SECTIONS_OF: Final = f"""{_SECTION} AND (
  s.id = ANY ($3::text[]) OR s.id IN (
    SELECT l.section_id FROM capacity.hold_lines l WHERE l.organization_id = $1 AND l.hold_id = ANY ($4::text[])
    UNION ALL
    SELECT l.section_id FROM capacity.sale_lines l WHERE l.organization_id = $1 AND l.sale_id = ANY ($5::text[])
    UNION ALL
    SELECT b.section_id FROM capacity.blocks b WHERE b.organization_id = $1 AND b.id = ANY ($6::text[])))"""

_LINE: Final = """l.number, l.section_id, l.schedule_id, l.quantity, l.seats, l.labels, l.block_id,
  l.price_tier_id, l.price_tier_version, l.currency_code, l.total_minor, l.locked_price"""
HOLDS: Final = f"""
SELECT h.id, h.event_id, h.customer_id, h.placed_by, h.state, h.create_time, h.expire_time, h.placed_version,
  h.order_reference, h.request_id, h.request_hash, h.end_time, h.void_cause, h.sale_id, h.replaces_hold_id,
  h.payment_time, h.revision, {_LINE}
FROM capacity.holds h JOIN capacity.hold_lines l ON l.organization_id = $1 AND l.hold_id = h.id"""
HOLDS_ORDER: Final = "ORDER BY h.id, l.number"
HOLDS_BY_ID: Final = f"""{HOLDS}
WHERE h.organization_id = $1 AND h.event_id = $2 AND h.id = ANY ($3::text[]) {HOLDS_ORDER}"""
# Not of the event only: a key belongs to its caller, whatever event it came for first. The empty id names the index.
HOLDS_BY_KEY: Final = f"""{HOLDS}
WHERE h.organization_id = $1 AND h.id = ANY (ARRAY (
  SELECT o.id FROM unnest($2::text[], $3::text[]) AS k (placed_by, request_id) CROSS JOIN LATERAL (
    SELECT r.id FROM capacity.holds r
    WHERE r.organization_id = $1 AND r.placed_by = k.placed_by AND r.request_id = k.request_id AND r.request_id <> ''
    OFFSET 0) o)) {HOLDS_ORDER}"""
_HOLD_COLUMNS: Final = 17

# The sales of `$3`, and those that confirming the holds of `$4` made.
SALES: Final = f"""
SELECT s.id, s.event_id, s.hold_id, s.customer_id, s.state, s.order_reference, s.create_time, s.update_time,
  s.revision, l.returned_quantity, l.returned_seats, l.exchanged_quantity, l.exchanged_seats, l.cancelled, {_LINE}
FROM capacity.sales s JOIN capacity.sale_lines l ON l.organization_id = $1 AND l.sale_id = s.id"""
SALES_ORDER: Final = "ORDER BY s.id, l.number"
SALES_OF: Final = f"""{SALES}
WHERE s.organization_id = $1 AND s.event_id = $2 AND s.id = ANY ($3::text[] || ARRAY (
  SELECT o.id FROM capacity.sales o WHERE o.organization_id = $1 AND o.hold_id = ANY ($4::text[]))) {SALES_ORDER}"""
_SALE_COLUMNS: Final = 14

_BLOCK: Final = """
SELECT b.id, b.event_id, b.section_id, b.kind, b.quantity, b.initial_quantity, b.note, b.actor, b.create_time,
  b.update_time, b.seats, b.labels, b.taken_quantity, b.end_time, b.revision
FROM capacity.blocks b WHERE b.organization_id = $1 AND b.event_id = $2"""
BLOCKS_STANDING: Final = f"{_BLOCK} AND b.section_id = $3 AND b.end_time IS NULL ORDER BY b.id LIMIT $4"
# The blocks of `$3`, and those that the holds of `$4` and the sales of `$5` were placed from.
BLOCKS_OF: Final = f"""{_BLOCK} AND (b.id = ANY ($3::text[]) OR b.id IN (
  SELECT l.block_id FROM capacity.hold_lines l WHERE l.organization_id = $1 AND l.hold_id = ANY ($4::text[])
  UNION ALL
  SELECT l.block_id FROM capacity.sale_lines l WHERE l.organization_id = $1 AND l.sale_id = ANY ($5::text[])))"""


def crossed_of(text: str) -> frozenset[Crossing]:
    """Read lines that were crossed."""
    return frozenset(Crossing(word) for word in text.split(",")) if text else frozenset()


def taken_of(found: Iterable[Row]) -> dict[str, int]:
    """Read the bitmaps of the taken seats of seated sections, by section."""
    return {row[0]: int.from_bytes(row[23], "little") for row in found if row[23] is not None}


def section_of(row: Row) -> Section:
    """Read a section; of a seated one, `taken_of` tells its seats."""
    return Section(
        section_id=row[0],
        event_id=row[1],
        schedule_id=row[2],
        name=row[3],
        code=row[4],
        subsection=row[5],
        kind=SectionKind(row[6]),
        tier=row[7],
        counters=Counters(*row[8:14]),
        min_per_order=row[14],
        max_per_order=row[15],
        active=row[16],
        visible=row[17],
        crossed=crossed_of(row[18]),
        layout_revision=row[19],
        revision=row[20],
        create_time=row[21],
        update_time=row[22],
        delete_time=row[24],
    )


def _line_of(row: Row) -> Line:
    price = None
    if row[7] is not None:
        price = LinePrice(
            price_tier_id=row[7], price_tier_version=row[8], total=Money(row[10], row[9]), body=bytes(row[11])
        )
    return Line(
        number=row[0],
        section_id=row[1],
        schedule_id=row[2],
        quantity=row[3],
        seats=tuple(row[4]),
        labels=tuple(row[5]),
        block_id=row[6],
        price=price,
    )


def holds_of(found: Iterable[Row]) -> list[Hold]:
    """Read holds; the rows of a hold, one for each line, follow each other."""
    grouped: dict[str, tuple[Row, list[Line]]] = {}
    for row in found:
        grouped.setdefault(row[0], (row, []))[1].append(_line_of(row[_HOLD_COLUMNS:]))
    return [
        Hold(
            hold_id=row[0],
            event_id=row[1],
            customer_id=row[2],
            placed_by=row[3],
            state=HoldState(row[4]),
            lines=tuple(lines),
            create_time=row[5],
            expire_time=row[6],
            placed_version=row[7],
            order_reference=row[8],
            request_id=row[9],
            request_hash=bytes(row[10]),
            end_time=row[11],
            void_cause=None if row[12] is None else VoidCause(row[12]),
            sale_id=row[13],
            replaces_hold_id=row[14],
            payment_time=row[15],
            revision=row[16],
        )
        for row, lines in grouped.values()
    ]


def sales_of(found: Iterable[Row]) -> list[Sale]:
    """Read sales; the rows of a sale, one for each line, follow each other."""
    grouped: dict[str, tuple[Row, list[Line], list[Row]]] = {}
    for row in found:
        _, lines, of_lines = grouped.setdefault(row[0], (row, [], []))
        lines.append(_line_of(row[_SALE_COLUMNS:]))
        of_lines.append(row)
    return [
        Sale(
            sale_id=row[0],
            event_id=row[1],
            hold_id=row[2],
            customer_id=row[3],
            state=SaleState(row[4]),
            lines=tuple(lines),
            create_time=row[6],
            order_reference=row[5],
            cancelled_lines=frozenset(line.number for line, own in zip(lines, of_lines, strict=True) if own[13]),
            returned=_parts(lines, of_lines, quantity=9, seats=10),
            exchanged=_parts(lines, of_lines, quantity=11, seats=12),
            update_time=row[7],
            revision=row[8],
        )
        for row, lines, of_lines in grouped.values()
    ]


def _parts(lines: Sequence[Line], of_lines: Sequence[Row], *, quantity: int, seats: int) -> dict[int, Part]:
    """Read parts of lines from two columns of their rows, those that there are."""
    return {
        line.number: Part(row[quantity], tuple(row[seats]))
        for line, row in zip(lines, of_lines, strict=True)
        if row[quantity]
    }


def block_of(row: Row) -> Block:
    """Read a block."""
    return Block(
        block_id=row[0],
        event_id=row[1],
        section_id=row[2],
        kind=BlockKind(row[3]),
        quantity=row[4],
        initial_quantity=row[5],
        note=row[6],
        actor=row[7],
        create_time=row[8],
        update_time=row[9],
        seats=tuple(row[10]),
        labels=tuple(row[11]),
        taken_quantity=row[12],
        end_time=row[13],
        revision=row[14],
    )
