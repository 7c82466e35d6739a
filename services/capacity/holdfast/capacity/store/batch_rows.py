"""What a batch reads: queries for many ids at once, and rows as domain values.

`$1` is the organization and `$2` the event wherever both are there. Sets of ids are arrays that are made first
(`= ANY (ARRAY (…))`), and look-ups for each of many keys stand in a LATERAL of their own (`OFFSET 0`): so the planner
finds rows by their keys, whatever it believes of the tables' sizes.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any, Final

from holdfast.capacity.store.blocks import block_of
from holdfast.capacity.store.holds import hold_of
from holdfast.capacity.store.lines import line_of
from holdfast.capacity.store.sales import sale_of
from holdfast.capacity.store.sections import section_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.capacity.domain.blocks import Block
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.domain.sales import Sale
    from holdfast.capacity.domain.sections import Section

# The columns of each kind of row, in the order of the queries below; the decoders of the store know them by name.
_SectionRow = namedtuple(  # noqa: PYI024 (its columns are of all types; the decoders give them theirs)
    "_SectionRow",
    "id event_id schedule_id name code subsection kind tier total held pending sold blocked buffer min_per_order "
    "max_per_order active visible crossed layout_revision revision create_time update_time taken delete_time",
)
_HoldRow = namedtuple(  # noqa: PYI024 (as above)
    "_HoldRow",
    "id event_id customer_id placed_by state create_time expire_time placed_version order_reference request_id "
    "request_hash end_time void_cause sale_id replaces_hold_id payment_time revision",
)
_LineRow = namedtuple(  # noqa: PYI024 (as above)
    "_LineRow",
    "number section_id schedule_id quantity seats labels block_id price_tier_id price_tier_version currency_code "
    "total_minor locked_price",
)
_SaleRow = namedtuple(  # noqa: PYI024 (as above)
    "_SaleRow",
    "sale_id sale_event_id sale_hold_id sale_customer_id sale_state sale_order_reference sale_create_time "
    "sale_update_time sale_revision returned_quantity returned_seats exchanged_quantity exchanged_seats cancelled "
    "number section_id schedule_id quantity seats labels block_id price_tier_id price_tier_version currency_code "
    "total_minor locked_price",
)
_BlockRow = namedtuple(  # noqa: PYI024 (as above)
    "_BlockRow",
    "id event_id section_id kind quantity initial_quantity note actor create_time update_time seats labels "
    "taken_quantity end_time revision",
)


def _columns(table: str, names: Iterable[str]) -> str:
    return ", ".join(f"{table}.{name}" for name in names)


def _sale_columns() -> str:
    own = [name for name in _SaleRow._fields if name.startswith("sale_")]
    line = _SaleRow._fields[len(own) :]
    return f"{_columns('s', (name.removeprefix('sale_') for name in own))}, {_columns('l', line)}"


_SECTION: Final = f"""
SELECT {_columns("s", _SectionRow._fields)}
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

HOLDS: Final = f"""
SELECT {_columns("h", _HoldRow._fields)}, {_columns("l", _LineRow._fields)}
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

# The sales of `$3`, and those that confirming the holds of `$4` made.
SALES: Final = f"""
SELECT {_sale_columns()}
FROM capacity.sales s JOIN capacity.sale_lines l ON l.organization_id = $1 AND l.sale_id = s.id"""
SALES_ORDER: Final = "ORDER BY s.id, l.number"
SALES_OF: Final = f"""{SALES}
WHERE s.organization_id = $1 AND s.event_id = $2 AND s.id = ANY ($3::text[] || ARRAY (
  SELECT o.id FROM capacity.sales o WHERE o.organization_id = $1 AND o.hold_id = ANY ($4::text[]))) {SALES_ORDER}"""

_BLOCK: Final = f"""
SELECT {_columns("b", _BlockRow._fields)}
FROM capacity.blocks b WHERE b.organization_id = $1 AND b.event_id = $2"""
BLOCKS_STANDING: Final = f"{_BLOCK} AND b.section_id = $3 AND b.end_time IS NULL ORDER BY b.id LIMIT $4"
# The blocks of `$3`, and those that the holds of `$4` and the sales of `$5` were placed from.
BLOCKS_OF: Final = f"""{_BLOCK} AND (b.id = ANY ($3::text[]) OR b.id IN (
  SELECT l.block_id FROM capacity.hold_lines l WHERE l.organization_id = $1 AND l.hold_id = ANY ($4::text[])
  UNION ALL
  SELECT l.block_id FROM capacity.sale_lines l WHERE l.organization_id = $1 AND l.sale_id = ANY ($5::text[])))"""


def _grouped(found: Iterable[tuple[Any, ...]]) -> Iterable[list[tuple[Any, ...]]]:
    """Give the rows of each owner of lines together; the first column is the owner's id."""
    grouped: dict[str, list[tuple[Any, ...]]] = {}
    for row in found:
        grouped.setdefault(row[0], []).append(row)
    return grouped.values()


def taken_of(found: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """Read the bitmaps of the taken seats of seated sections, by section."""
    rows = map(_SectionRow._make, found)
    return {row.id: int.from_bytes(row.taken, "little") for row in rows if row.taken is not None}


def sections_of(found: Iterable[tuple[Any, ...]]) -> list[Section]:
    """Read sections; of seated ones, `taken_of` tells the seats."""
    return [section_of(_SectionRow._make(row)) for row in found]


def holds_of(found: Iterable[tuple[Any, ...]]) -> list[Hold]:
    """Read holds, each of as many rows as it has lines."""
    width = len(_HoldRow._fields)
    return [
        hold_of(_HoldRow._make(rows[0][:width]), [line_of(_LineRow._make(row[width:])) for row in rows])
        for rows in _grouped(found)
    ]


def sales_of(found: Iterable[tuple[Any, ...]]) -> list[Sale]:
    """Read sales, each of as many rows as it has lines."""
    return [sale_of([_SaleRow._make(row) for row in rows]) for rows in _grouped(found)]


def blocks_of(found: Iterable[tuple[Any, ...]]) -> list[Block]:
    """Read blocks."""
    return [block_of(_BlockRow._make(row)) for row in found]
