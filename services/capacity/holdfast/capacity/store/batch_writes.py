"""What a batch writes: one statement over arrays for each kind of row, whatever the number of rows.

Texts that may be absent travel as '' and become NULL. Every statement names the organization. What is joined to an
array also says `= ANY` of it: the planner then finds the rows by their keys, whatever it believes of the table's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity.store.arrays import blobs, lists, moments, plain, texts
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.capacity.domain.holds import Hold, Line
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sales import Sale
    from holdfast.capacity.domain.sections import Crossing, Section

_NEW_SECTIONS: Final = """
INSERT INTO capacity.sections (organization_id, event_id, id, schedule_id, name, code, subsection, kind, tier,
  total, held, pending, sold, blocked, buffer, min_per_order, max_per_order, active, visible, crossed,
  layout_revision, revision, create_time, update_time)
SELECT $1, $2, s.id, nullif(s.schedule_id, ''), s.name, nullif(s.code, ''), s.subsection, s.kind, nullif(s.tier, ''),
  s.total, s.held, s.pending, s.sold, s.blocked, s.buffer, s.min_per_order, s.max_per_order, s.active, s.visible,
  s.crossed, s.layout_revision, s.revision, s.create_time, s.update_time
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[], $9::text[], $10::integer[],
  $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::integer[], $16::integer[], $17::integer[],
  $18::boolean[], $19::boolean[], $20::text[], $21::integer[], $22::bigint[], $23::timestamptz[], $24::timestamptz[])
  AS s (id, schedule_id, name, code, subsection, kind, tier, total, held, pending, sold, blocked, buffer,
    min_per_order, max_per_order, active, visible, crossed, layout_revision, revision, create_time, update_time)"""
# Counters of many sections; the settings of the few whose settings changed are written by the statement after it.
_COUNTERS: Final = """
UPDATE capacity.sections t SET total = s.total, held = s.held, pending = s.pending, sold = s.sold,
  blocked = s.blocked, buffer = s.buffer, crossed = s.crossed
FROM unnest($3::text[], $4::integer[], $5::integer[], $6::integer[], $7::integer[], $8::integer[], $9::integer[],
  $10::text[]) AS s (id, total, held, pending, sold, blocked, buffer, crossed)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id AND t.id = ANY ($3::text[])"""
_SETTINGS: Final = """
UPDATE capacity.sections t SET name = s.name, code = nullif(s.code, ''), tier = nullif(s.tier, ''),
  min_per_order = s.min_per_order, max_per_order = s.max_per_order, active = s.active, visible = s.visible,
  revision = s.revision, update_time = s.update_time, delete_time = s.delete_time
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::integer[], $9::boolean[],
  $10::boolean[], $11::bigint[], $12::timestamptz[], $13::timestamptz[])
  AS s (id, name, code, tier, min_per_order, max_per_order, active, visible, revision, update_time, delete_time)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id AND t.id = ANY ($3::text[])"""
_TAKEN: Final = """
UPDATE capacity.sections t SET taken = decode(s.taken, 'hex')
FROM unnest($3::text[], $4::text[]) AS s (id, taken)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id AND t.id = ANY ($3::text[])"""

_NEW_HOLDS: Final = """
INSERT INTO capacity.holds (organization_id, event_id, create_time, placed_version, id, customer_id, placed_by, state,
  request_id, request_hash, order_reference, expire_time, end_time, sale_id, replaces_hold_id, revision)
SELECT $1, $2, $3, $4, h.id, h.customer_id, h.placed_by, h.state, h.request_id, decode(h.request_hash, 'hex'),
  h.order_reference, h.expire_time, h.end_time, nullif(h.sale_id, ''), nullif(h.replaces_hold_id, ''), h.revision
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[],
  $13::timestamptz[], $14::text[], $15::text[], $16::bigint[])
  AS h (id, customer_id, placed_by, state, request_id, request_hash, order_reference, expire_time, end_time, sale_id,
    replaces_hold_id, revision)"""
# Those that changed are named whole, and each is found by its key: an UPDATE that joins an array is planned as what
# reads the table for the array, or searches the array for each row.
_HOLDS: Final = """
INSERT INTO capacity.holds AS t (organization_id, event_id, id, customer_id, placed_by, state, request_id, request_hash,
  order_reference, create_time, expire_time, placed_version, end_time, void_cause, sale_id, payment_time, revision)
SELECT $1, $2, h.id, h.customer_id, h.placed_by, h.state, h.request_id, decode(h.request_hash, 'hex'),
  h.order_reference, h.create_time, h.expire_time, h.placed_version, h.end_time, nullif(h.void_cause, ''),
  nullif(h.sale_id, ''), h.payment_time, h.revision
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::timestamptz[],
  $11::timestamptz[], $12::bigint[], $13::timestamptz[], $14::text[], $15::text[], $16::timestamptz[], $17::bigint[])
  AS h (id, customer_id, placed_by, state, request_id, request_hash, order_reference, create_time, expire_time,
    placed_version, end_time, void_cause, sale_id, payment_time, revision)
ON CONFLICT (organization_id, id) DO UPDATE SET state = excluded.state, order_reference = excluded.order_reference,
  expire_time = excluded.expire_time, end_time = excluded.end_time, void_cause = excluded.void_cause,
  sale_id = excluded.sale_id, payment_time = excluded.payment_time, revision = excluded.revision"""
_DROP_LINES: Final = "DELETE FROM capacity.hold_lines WHERE organization_id = $1 AND hold_id = ANY ($2::text[])"
_LINES: Final = """
INSERT INTO capacity.{table} (organization_id, {owner}, number, section_id, schedule_id, quantity, seats, labels,
  block_id, price_tier_id, price_tier_version, currency_code, total_minor, locked_price)
SELECT $1, l.owner, l.number, l.section_id, nullif(l.schedule_id, ''), l.quantity, l.seats::integer[],
  l.labels::text[], nullif(l.block_id, ''), nullif(l.price_tier_id, ''), l.price_tier_version,
  nullif(l.currency_code, ''), l.total_minor, decode(l.locked_price, 'hex')
FROM unnest($2::text[], $3::integer[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::bigint[], $12::text[], $13::bigint[], $14::text[])
  AS l (owner, number, section_id, schedule_id, quantity, seats, labels, block_id, price_tier_id, price_tier_version,
    currency_code, total_minor, locked_price)"""
_HOLD_LINES: Final = _LINES.format(table="hold_lines", owner="hold_id")
_SALE_LINES: Final = _LINES.format(table="sale_lines", owner="sale_id")

_NEW_SALES: Final = """
INSERT INTO capacity.sales (organization_id, event_id, create_time, placed_version, id, hold_id, customer_id, state,
  order_reference, revision)
SELECT $1, $2, $3, $4, s.id, s.hold_id, s.customer_id, s.state, s.order_reference, s.revision
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[])
  AS s (id, hold_id, customer_id, state, order_reference, revision)"""
_SALES: Final = """
UPDATE capacity.sales t SET state = s.state, revision = s.revision, update_time = $3
FROM unnest($4::text[], $5::text[], $6::bigint[]) AS s (id, state, revision)
WHERE t.organization_id = $1 AND t.event_id = $2 AND t.id = s.id AND t.id = ANY ($4::text[])"""
_CANCELLED: Final = """
UPDATE capacity.sale_lines t SET cancelled = true
FROM unnest($2::text[], $3::integer[]) AS l (sale_id, number)
WHERE t.organization_id = $1 AND t.sale_id = l.sale_id AND t.number = l.number AND t.sale_id = ANY ($2::text[])"""

_BLOCKS: Final = """
INSERT INTO capacity.blocks (organization_id, event_id, id, section_id, kind, quantity, seats, labels, initial_quantity,
  taken_quantity, note, actor, create_time, update_time, end_time, revision)
SELECT $1, $2, b.id, b.section_id, b.kind, b.quantity, b.seats::integer[], b.labels::text[], b.initial_quantity,
  b.taken_quantity, b.note, b.actor, b.create_time, b.update_time, b.end_time, b.revision
FROM unnest($3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::integer[], $10::integer[],
  $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::timestamptz[], $16::bigint[])
  AS b (id, section_id, kind, quantity, seats, labels, initial_quantity, taken_quantity, note, actor, create_time,
    update_time, end_time, revision)
ON CONFLICT (organization_id, id) DO UPDATE SET quantity = excluded.quantity, seats = excluded.seats,
  labels = excluded.labels, taken_quantity = excluded.taken_quantity, update_time = excluded.update_time,
  end_time = excluded.end_time, revision = excluded.revision"""

_FREE_SEATS: Final = """
DELETE FROM capacity.seat_claims c USING unnest($2::text[], $3::integer[]) AS s (section_id, seat_index)
WHERE c.organization_id = $1 AND c.section_id = s.section_id AND c.seat_index = s.seat_index
  AND c.section_id = ANY ($2::text[]) AND c.seat_index = ANY ($3::integer[])"""
_CLAIM_SEATS: Final = """
INSERT INTO capacity.seat_claims (organization_id, section_id, seat_index, hold_id, block_id)
SELECT $1, s.section_id, s.seat_index, nullif(s.hold_id, ''), nullif(s.block_id, '')
FROM unnest($2::text[], $3::integer[], $4::text[], $5::text[]) AS s (section_id, seat_index, hold_id, block_id)"""


def crossed_text(crossed: Iterable[Crossing]) -> str:
    """Give lines that were crossed as one column."""
    return ",".join(sorted(crossed))


def _flags(values: Iterable[bool]) -> str:
    return plain("t" if value else "f" for value in values)


def sections(inventory: Inventory) -> list[Statement]:
    """Write sections: new ones, and the counters, settings and seats of those that changed."""
    mine = (inventory.organization_id, inventory.event_id)
    touched = inventory.touched_sections()
    new = [each for each in touched if each.section_id in inventory.new_sections]
    old = [each for each in touched if each.section_id not in inventory.new_sections]
    statements = []
    if old:
        counters = [each.counters for each in old]
        statements.append(
            Statement(
                _COUNTERS,
                (
                    *mine,
                    plain(each.section_id for each in old),
                    plain(each.total for each in counters),
                    plain(each.held for each in counters),
                    plain(each.pending for each in counters),
                    plain(each.sold for each in counters),
                    plain(each.blocked for each in counters),
                    plain(each.buffer for each in counters),
                    texts([crossed_text(each.crossed) for each in old]),
                ),
            )
        )
    # Settings carry the time of their change: only those of this commit are of this batch.
    settled = [each for each in old if each.section_id in inventory.settled_sections]
    if settled:
        statements.append(
            Statement(
                _SETTINGS,
                (
                    *mine,
                    plain(each.section_id for each in settled),
                    texts([each.name for each in settled]),
                    texts([each.code or "" for each in settled]),
                    texts([each.tier or "" for each in settled]),
                    plain(each.min_per_order for each in settled),
                    plain(each.max_per_order for each in settled),
                    _flags(each.active for each in settled),
                    _flags(each.visible for each in settled),
                    plain(each.revision for each in settled),
                    moments(each.update_time for each in settled),
                    moments(each.delete_time for each in settled),
                ),
            )
        )
    # After the old ones: a name that one of them gave up may be a new one's.
    if new:
        statements.append(Statement(_NEW_SECTIONS, (*mine, *_section_columns(new))))
    return statements


def _section_columns(new: Sequence[Section]) -> tuple[str, ...]:
    counters = [each.counters for each in new]
    return (
        plain(each.section_id for each in new),
        texts([each.schedule_id or "" for each in new]),
        texts([each.name for each in new]),
        texts([each.code or "" for each in new]),
        plain(each.subsection for each in new),
        plain(each.kind.value for each in new),
        texts([each.tier or "" for each in new]),
        plain(each.total for each in counters),
        plain(each.held for each in counters),
        plain(each.pending for each in counters),
        plain(each.sold for each in counters),
        plain(each.blocked for each in counters),
        plain(each.buffer for each in counters),
        plain(each.min_per_order for each in new),
        plain(each.max_per_order for each in new),
        _flags(each.active for each in new),
        _flags(each.visible for each in new),
        texts([crossed_text(each.crossed) for each in new]),
        plain(each.layout_revision for each in new),
        plain(each.revision for each in new),
        moments(each.create_time for each in new),
        moments(each.update_time for each in new),
    )


def holds(inventory: Inventory) -> list[Statement]:
    """Write holds and their lines. New ones in the order of their keys, so that replicas meet keys in one order."""
    mine = (inventory.organization_id, inventory.event_id)
    statements = []
    new = inventory.holds.made
    if new:
        new.sort(key=lambda each: (each.placed_by, each.request_id))
        statements.append(
            Statement(
                _NEW_HOLDS,
                (
                    *mine,
                    inventory.at,
                    inventory.next_version,
                    plain([each.hold_id for each in new]),
                    texts([each.customer_id for each in new]),
                    texts([each.placed_by for each in new]),
                    plain([each.state.value for each in new]),
                    texts([each.request_id for each in new]),
                    blobs([each.request_hash for each in new]),
                    texts([each.order_reference for each in new]),
                    moments([each.expire_time for each in new]),
                    moments([each.end_time for each in new]),
                    texts([each.sale_id or "" for each in new]),
                    texts([each.replaces_hold_id or "" for each in new]),
                    plain([each.revision for each in new]),
                ),
            )
        )
        statements.append(_lines(_HOLD_LINES, mine[0], [(each.hold_id, line) for each in new for line in each.lines]))
    changed = inventory.holds.changed
    if changed:
        statements.append(
            Statement(
                _HOLDS,
                (
                    *mine,
                    plain([each.hold_id for each in changed]),
                    texts([each.customer_id for each in changed]),
                    texts([each.placed_by for each in changed]),
                    plain([each.state.value for each in changed]),
                    texts([each.request_id for each in changed]),
                    blobs([each.request_hash for each in changed]),
                    texts([each.order_reference for each in changed]),
                    moments([each.create_time for each in changed]),
                    moments([each.expire_time for each in changed]),
                    plain([each.placed_version for each in changed]),
                    moments([each.end_time for each in changed]),
                    plain([each.void_cause.value if each.void_cause else '""' for each in changed]),
                    texts([each.sale_id or "" for each in changed]),
                    moments([each.payment_time for each in changed]),
                    plain([each.revision for each in changed]),
                ),
            )
        )
        statements += _other_lines(mine[0], [each for each in changed if each.hold_id in inventory.relined_holds])
    return statements


def _other_lines(organization_id: str, relined: Sequence[Hold]) -> list[Statement]:
    if not relined:
        return []
    return [
        Statement(_DROP_LINES, (organization_id, plain(each.hold_id for each in relined))),
        _lines(_HOLD_LINES, organization_id, [(each.hold_id, line) for each in relined for line in each.lines]),
    ]


def _lines(sql: str, organization_id: str, owned: Sequence[tuple[str, Line]]) -> Statement:
    lines = [line for _, line in owned]
    prices = [line.price for line in lines]
    return Statement(
        sql,
        (
            organization_id,
            plain([owner for owner, _ in owned]),
            plain([line.number for line in lines]),
            plain([line.section_id for line in lines]),
            texts([line.schedule_id or "" for line in lines]),
            plain([line.quantity for line in lines]),
            lists([plain(line.seats) if line.seats else "{}" for line in lines]),
            lists([texts(line.labels) if line.labels else "{}" for line in lines]),
            texts([line.block_id or "" for line in lines]),
            texts(["" if price is None else price.price_tier_id for price in prices]),
            plain([None if price is None else price.price_tier_version for price in prices]),
            texts(["" if price is None else price.total.currency_code for price in prices]),
            plain([None if price is None else price.total.minor for price in prices]),
            blobs([None if price is None else price.body for price in prices]),
        ),
    )


def sales(inventory: Inventory) -> list[Statement]:
    """Write sales and their lines, and what of them was cancelled."""
    mine = (inventory.organization_id, inventory.event_id)
    statements = []
    new = inventory.sales.made
    if new:
        statements.append(
            Statement(
                _NEW_SALES,
                (
                    *mine,
                    inventory.at,
                    inventory.next_version,
                    plain([each.sale_id for each in new]),
                    plain([each.hold_id for each in new]),
                    texts([each.customer_id for each in new]),
                    plain([each.state.value for each in new]),
                    texts([each.order_reference for each in new]),
                    plain([each.revision for each in new]),
                ),
            )
        )
        statements.append(_lines(_SALE_LINES, mine[0], [(each.sale_id, line) for each in new for line in each.lines]))
    changed = inventory.sales.changed
    if changed:
        statements.append(
            Statement(
                _SALES,
                (
                    *mine,
                    inventory.at,
                    plain([each.sale_id for each in changed]),
                    plain([each.state.value for each in changed]),
                    plain([each.revision for each in changed]),
                ),
            )
        )
        statements += _further_lines(inventory, changed)
        statements += _cancelled_lines(mine[0], changed)
    return statements


def _further_lines(inventory: Inventory, changed: Sequence[Sale]) -> list[Statement]:
    """Write the lines that sales got in exchange; they are the last."""
    known = inventory.sales.before
    lines = [(each.sale_id, line) for each in changed for line in each.lines[len(known[each.sale_id].lines) :]]
    return [_lines(_SALE_LINES, inventory.organization_id, lines)] if lines else []


def _cancelled_lines(organization_id: str, changed: Sequence[Sale]) -> list[Statement]:
    cancelled = [(each.sale_id, number) for each in changed for number in sorted(each.cancelled_lines)]
    if not cancelled:
        return []
    return [
        Statement(
            _CANCELLED,
            (organization_id, plain(sale_id for sale_id, _ in cancelled), plain(number for _, number in cancelled)),
        )
    ]


def blocks(inventory: Inventory) -> list[Statement]:
    """Write blocks that are new or changed."""
    touched = [*inventory.blocks.made, *inventory.blocks.changed]
    if not touched:
        return []
    return [
        Statement(
            _BLOCKS,
            (
                inventory.organization_id,
                inventory.event_id,
                plain(each.block_id for each in touched),
                plain(each.section_id for each in touched),
                plain(each.kind.value for each in touched),
                plain(each.quantity for each in touched),
                lists(plain(each.seats) for each in touched),
                lists(texts(each.labels) for each in touched),
                plain(each.initial_quantity for each in touched),
                plain(each.taken_quantity for each in touched),
                texts([each.note for each in touched]),
                texts([each.actor for each in touched]),
                moments(each.create_time for each in touched),
                moments(each.update_time for each in touched),
                moments(each.end_time for each in touched),
                plain(each.revision for each in touched),
            ),
        )
    ]


def seats(inventory: Inventory) -> list[Statement]:
    """Free and claim seats, and write the bitmaps."""
    changed = {section_id: seating for section_id, seating in inventory.seatings.items() if seating.dirty}
    if not changed:
        return []
    mine = (inventory.organization_id, inventory.event_id)
    freed = [(section_id, seat) for section_id, seating in sorted(changed.items()) for seat in seating.freed_rows]
    claimed = [
        (section_id, seat, owner)
        for section_id, seating in sorted(changed.items())
        for seat, owner in seating.claimed_rows
    ]
    statements = []
    if freed:
        statements.append(
            Statement(_FREE_SEATS, (mine[0], plain(each for each, _ in freed), plain(seat for _, seat in freed)))
        )
    if claimed:
        statements.append(
            Statement(
                _CLAIM_SEATS,
                (
                    mine[0],
                    plain(section_id for section_id, _, _ in claimed),
                    plain(seat for _, seat, _ in claimed),
                    texts([owner.hold_id or "" for _, _, owner in claimed]),
                    texts([owner.block_id or "" for _, _, owner in claimed]),
                ),
            )
        )
    bitmaps = [seating.taken.to_bytes((seating.layout.size + 7) // 8, "little").hex() for seating in changed.values()]
    statements.append(Statement(_TAKEN, (*mine, plain(changed), plain(bitmaps))))
    return statements
