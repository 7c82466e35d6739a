"""What a batch reads: queries for many ids at once, and rows as domain values.

`$1` is the organization and `$2` the event wherever both are there. What belongs to each of many keys is looked up in
a LATERAL of its own (`OFFSET 0`), which leaves the planner no other way than from the key to the rows. Joined in the
plain way, tables that are small when the plan is made are read as a whole, and still are when they have grown.
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


def _each(table: str, name: str, *, key: str, of: str) -> str:
    """Join what belongs to each row that is there already, looked up by its key and in no other way."""
    return (
        f"CROSS JOIN LATERAL (SELECT o.* FROM capacity.{table} o "
        f"WHERE o.organization_id = $1 AND o.{key} = {of} OFFSET 0) {name}"
    )


def holds_by(ids: str, *, only: str = "true") -> str:
    """Give the query of holds `h` with their lines `l`, of the ids that a query gives, each once."""
    return f"""
SELECT {_columns("h", _HoldRow._fields)}, {_columns("l", _LineRow._fields)}
FROM ({ids}) AS w (id) {_each("holds", "h", key="id", of="w.id")} {_each("hold_lines", "l", key="hold_id", of="h.id")}
WHERE {only} ORDER BY h.id, l.number"""


def sales_by(ids: str, *, only: str = "true") -> str:
    """Give the query of sales `s` with their lines `l`, of the ids that a query gives, each once."""
    return f"""
SELECT {_sale_columns()}
FROM ({ids}) AS w (id) {_each("sales", "s", key="id", of="w.id")} {_each("sale_lines", "l", key="sale_id", of="s.id")}
WHERE {only} ORDER BY s.id, l.number"""


def _of_lines(column: str, table: str, *, owner: str, ids: str) -> str:
    """Give an array of what the lines of many holds or sales name."""
    return (
        f"ARRAY (SELECT l.{column} FROM unnest({ids}::text[]) AS w (id) {_each(table, 'l', key=owner, of='w.id')} "
        f"WHERE l.{column} IS NOT NULL)"
    )


# The sections of `$3`, and those of the holds of `$4`, the sales of `$5` and the blocks of `$6`.
SECTIONS_OF: Final = f"""{_SECTION} AND s.id = ANY ($3::text[]
  || {_of_lines("section_id", "hold_lines", owner="hold_id", ids="$4")}
  || {_of_lines("section_id", "sale_lines", owner="sale_id", ids="$5")}
  || {_of_lines("section_id", "blocks", owner="id", ids="$6")})"""

HOLDS_BY_ID: Final = holds_by("SELECT unnest($3::text[])", only="h.event_id = $2")
# Not of the event only: a key belongs to its caller, whatever event it came for first. The empty id names the index.
HOLDS_BY_KEY: Final = holds_by("""
  SELECT r.id FROM unnest($2::text[], $3::text[]) AS k (placed_by, request_id) CROSS JOIN LATERAL (
    SELECT o.id FROM capacity.holds o
    WHERE o.organization_id = $1 AND o.placed_by = k.placed_by AND o.request_id = k.request_id AND o.request_id <> ''
    OFFSET 0) r""")

# The sales of `$3`, and those that confirming the holds of `$4` made.
SALES_OF: Final = sales_by(
    f"""
  SELECT unnest($3::text[])
  UNION SELECT c.id FROM unnest($4::text[]) AS k (id) {_each("sales", "c", key="hold_id", of="k.id")}""",
    only="s.event_id = $2",
)

_BLOCK: Final = f"""
SELECT {_columns("b", _BlockRow._fields)}
FROM capacity.blocks b WHERE b.organization_id = $1 AND b.event_id = $2"""
BLOCKS_STANDING: Final = f"{_BLOCK} AND b.section_id = $3 AND b.end_time IS NULL ORDER BY b.id LIMIT $4"
# The blocks of `$3`, and those that the holds of `$4` and the sales of `$5` were placed from.
BLOCKS_OF: Final = f"""{_BLOCK} AND b.id = ANY ($3::text[]
  || {_of_lines("block_id", "hold_lines", owner="hold_id", ids="$4")}
  || {_of_lines("block_id", "sale_lines", owner="sale_id", ids="$5")})"""


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
