"""The first round trip of a batch: lock the event's row, then see everything that the requests need.

The lock is a statement of its own. What comes after it sees what was committed before the lock was granted; the locking
statement itself may see what was there before the wait. The batch time is read there too, and is never before the last
change: `greatest(clock_timestamp(), last_change_time)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.api.events.v1 import event_pb2
from holdfast.capacity import convert
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.choosing import note_over
from holdfast.capacity.domain.holds import Void, VoidCause
from holdfast.capacity.domain.inventory import CHANGES_MAX, Inventory
from holdfast.capacity.domain.sections import Counters
from holdfast.capacity.engine.unit import Unit
from holdfast.capacity.store import batch_rows as rows
from holdfast.capacity.store.arrays import plain, texts
from holdfast.capacity.store.sections import crossed_of
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from holdfast.capacity.domain.controls import EventControls
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.capacity.engine.needs import Needs
    from holdfast.common.database import Pipeline, Rows

_MAKE: Final = """
INSERT INTO capacity.event_inventories
  (organization_id, event_id, version, last_change_time, controls_version, controls)
VALUES ($1, $2, 0, clock_timestamp(), 0, '') ON CONFLICT DO NOTHING"""
_LOCK: Final = """
SELECT 1 FROM capacity.event_inventories WHERE organization_id = $1 AND event_id = $2 FOR NO KEY UPDATE"""
_INVENTORY: Final = """
SELECT i.version, greatest(clock_timestamp(), i.last_change_time), i.controls,
  i.total, i.held, i.pending, i.sold, i.blocked, i.crossed, i.live_holds,
  (SELECT d.due_time FROM capacity.due_work d WHERE d.organization_id = $1 AND d.event_id = $2),
  EXISTS (SELECT 1 FROM capacity.voids v WHERE v.organization_id = $1 AND v.event_id = $2 AND NOT v.done)
FROM capacity.event_inventories i WHERE i.organization_id = $1 AND i.event_id = $2"""
_VOIDS: Final = """
SELECT cause, through_version, effect_time, schedule_id FROM capacity.voids
WHERE organization_id = $1 AND event_id = $2 AND NOT done ORDER BY through_version, cause, schedule_id"""
_KEYS: Final = """
SELECT k.caller, k.rpc, k.request_id, r.fingerprint, r.resource_id
FROM unnest($2::text[], $3::text[], $4::text[]) AS k (caller, rpc, request_id) CROSS JOIN LATERAL (
  SELECT o.fingerprint, o.resource_id FROM capacity.requests o
  WHERE o.organization_id = $1 AND o.caller = k.caller AND o.rpc = k.rpc AND o.request_id = k.request_id
  OFFSET 0) r"""
_CLAIMED: Final = """
SELECT w.customer_id, w.price_tier_id, l.quantity, h.expire_time
FROM unnest($3::text[], $4::text[]) AS w (customer_id, price_tier_id) CROSS JOIN LATERAL (
  SELECT c.id, c.expire_time, c.placed_version, c.state FROM capacity.holds c
  WHERE c.organization_id = $1 AND c.customer_id = w.customer_id AND c.event_id || '' = $2
    AND c.state IN ('ACTIVE', 'PENDING')
  OFFSET 0) h
JOIN capacity.hold_lines l ON l.organization_id = $1 AND l.hold_id = h.id AND l.price_tier_id = w.price_tier_id
WHERE NOT EXISTS (
  SELECT 1 FROM capacity.voids v
  WHERE v.organization_id = $1 AND v.event_id = $2 AND NOT v.done
    AND v.through_version >= h.placed_version AND v.effect_time < h.expire_time
    AND (v.cause <> 'EVENT_POSTPONED' OR h.state = 'ACTIVE')
    AND (v.schedule_id = '' OR EXISTS (
      SELECT 1 FROM capacity.hold_lines o
      WHERE o.organization_id = $1 AND o.hold_id = h.id AND o.schedule_id = v.schedule_id)))
UNION ALL
SELECT w.customer_id, w.price_tier_id, l.quantity - l.returned_quantity - l.exchanged_quantity, NULL
FROM unnest($3::text[], $4::text[]) AS w (customer_id, price_tier_id) CROSS JOIN LATERAL (
  SELECT c.id FROM capacity.sales c
  WHERE c.organization_id = $1 AND c.customer_id = w.customer_id AND c.event_id = $2
  OFFSET 0) s
JOIN capacity.sale_lines l ON l.organization_id = $1 AND l.sale_id = s.id AND l.price_tier_id = w.price_tier_id"""
# Of a section: holds whose time is over, oldest first; and when the first hold that lives on
# ends, of those whose places then go to sale.
_EXPIRED: Final = rows.holds_by("""
  SELECT e.id FROM capacity.holds e
  WHERE e.organization_id = $1 AND e.event_id = $2 AND e.state IN ('ACTIVE', 'PENDING') AND e.expire_time <= $4
    AND (SELECT true FROM capacity.hold_lines o
         WHERE o.organization_id = $1 AND o.hold_id = e.id AND o.section_id = $3 LIMIT 1)
  ORDER BY e.expire_time, e.id LIMIT $5""")
_EXPIRED_OF_BLOCK: Final = _EXPIRED.replace("o.section_id = $3", "o.block_id = $3")
_EXPIRED_OF_SECTIONS: Final = _EXPIRED.replace("o.section_id = $3", "o.section_id = ANY ($3::text[])")
_NEXT_EXPIRY: Final = """
SELECT h.expire_time FROM capacity.holds h
WHERE h.organization_id = $1 AND h.event_id = $2 AND h.state IN ('ACTIVE', 'PENDING') AND h.expire_time > $4
  AND (SELECT true FROM capacity.hold_lines o
       WHERE o.organization_id = $1 AND o.hold_id = h.id AND o.section_id = $3
          AND o.block_id IS NULL LIMIT 1)
ORDER BY h.expire_time, h.id LIMIT 1"""
_EXPIRED_OF_SEATS: Final = rows.holds_by(
    """
  SELECT DISTINCT c.hold_id FROM capacity.seat_claims c
  WHERE c.organization_id = $1 AND c.section_id = $3 AND c.seat_index = ANY ($5::integer[])""",
    only="h.event_id = $2 AND h.state IN ('ACTIVE', 'PENDING') AND h.expire_time <= $4",
)

_CLAIMED_SEATS: Final = """
SELECT c.section_id, array_agg(c.seat_index) FROM capacity.seat_claims c
WHERE c.organization_id = $1 AND c.section_id = ANY ($2::text[]) GROUP BY c.section_id"""

_CONTROLS_REMEMBERED_MAX: Final = 1_000
NO_SEATS: Final[dict[str, set[str]]] = {}


class Reader:
    """Reads units of events. Remembers what never changes: layouts by revision, and controls by their bytes."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._controls: dict[bytes, EventControls] = {}

    async def read(self, pipeline: Pipeline, event_id: str, needs: Needs) -> Unit | None:
        """Lock an event's inventory and read what is needed; None when the event is not known here."""
        found = await self._first(pipeline, event_id, needs)
        if not found["inventory"]:
            return None
        row = found["inventory"][0]
        controls = bytes(row[2])
        inventory = Inventory(
            organization_id=pipeline.require_organization(),
            event_id=event_id,
            version=row[0],
            at=row[1],
            controls=self._controls_of(controls, pipeline.require_organization(), event_id),
            counters=Counters(*row[3:8]),
            crossed=crossed_of(row[8]),
            live_holds=row[9],
            due_time=row[10],
            sections={each.section_id: each for each in rows.sections_of(found["sections"])},
        )
        unit = Unit(inventory)
        for hold in rows.holds_of(found.get("holds", ())):
            inventory.holds.load(hold.hold_id, hold)
        for hold in rows.holds_of(found.get("hold_keys", ())):
            inventory.holds.load(hold.hold_id, hold)
            unit.hold_of_key[hold.placed_by, hold.request_id] = hold.hold_id
        for sale in rows.sales_of(found.get("sales", ())):
            inventory.sales.load(sale.sale_id, sale)
        for block in rows.blocks_of(found.get("blocks", ())):
            inventory.blocks.load(block.block_id, block)
        for caller, rpc, request_id, fingerprint, resource_id in found.get("keys", ()):
            unit.known_keys[caller, rpc, request_id] = (bytes(fingerprint), resource_id)
        self._add_up(inventory, needs, found.get("claimed", ()))
        if row[11]:
            await self._read_voids(pipeline, inventory)
        await self._add_seats(pipeline, inventory, found["sections"], by_claims=needs.by_claims)
        await self._read_expired(pipeline, inventory, needs)
        for more in needs.more:
            await more(unit, pipeline, self)
        return unit

    async def _first(self, pipeline: Pipeline, event_id: str, needs: Needs) -> dict[str, Rows]:
        mine = (pipeline.require_organization(), event_id)
        sent: dict[str, Statement] = {}
        if needs.make:
            sent["make"] = Statement(_MAKE, mine)
        sent["lock"] = Statement(_LOCK, mine)
        sent["inventory"] = Statement(_INVENTORY, mine)
        sections, holds, sales = plain(needs.sections), plain(needs.holds), plain(needs.sales)
        blocks = plain(needs.blocks)
        if needs.all_sections:
            sent["sections"] = Statement(rows.SECTIONS_ALL, (*mine, sections))
        elif needs.holds or needs.sales or needs.blocks:
            sent["sections"] = Statement(rows.SECTIONS_OF, (*mine, sections, holds, sales, blocks))
        else:
            sent["sections"] = Statement(rows.SECTIONS, (*mine, sections))
        if needs.holds:
            sent["holds"] = Statement(rows.HOLDS_BY_ID, (*mine, holds))
        if needs.hold_keys:
            placed_by, request_ids = zip(*needs.hold_keys, strict=True)
            sent["hold_keys"] = Statement(rows.HOLDS_BY_KEY, (mine[0], texts(placed_by), texts(request_ids)))
        if needs.sales or needs.holds:
            sent["sales"] = Statement(rows.SALES_OF, (*mine, sales, holds))
        if needs.blocks or needs.holds or needs.sales:
            sent["blocks"] = Statement(rows.BLOCKS_OF, (*mine, blocks, holds, sales))
        if needs.keys:
            keys = list(needs.keys)
            sent["keys"] = Statement(
                _KEYS,
                (
                    mine[0],
                    texts([key.caller for key in keys]),
                    texts([key.rpc for key in keys]),
                    texts([key.request_id for key in keys]),
                ),
            )
        if needs.claimed:
            customers, tiers = zip(*needs.claimed, strict=True)
            sent["claimed"] = Statement(_CLAIMED, (*mine, texts(customers), texts(tiers)))
        return dict(zip(sent, await pipeline.send(*sent.values()), strict=True))

    def _controls_of(self, stored: bytes, organization_id: str, event_id: str) -> EventControls:
        if not stored:
            return convert.no_controls(organization_id, event_id)
        known = self._controls.get(stored)
        if known is None:
            if len(self._controls) >= _CONTROLS_REMEMBERED_MAX:
                self._controls.clear()
            known = self._controls[stored] = convert.controls_of(event_pb2.EventControls.FromString(stored))
        return known

    @staticmethod
    def _add_up(inventory: Inventory, needs: Needs, found: Iterable[tuple[Any, ...]]) -> None:
        claimed = inventory.claimed = dict.fromkeys(needs.claimed, 0)
        for customer_id, price_tier_id, quantity, expire_time in found:
            if expire_time is None or expire_time > inventory.at:
                claimed[customer_id, price_tier_id] += quantity

    @staticmethod
    async def _read_voids(pipeline: Pipeline, inventory: Inventory) -> None:
        (found,) = await pipeline.send(Statement(_VOIDS, (inventory.organization_id, inventory.event_id)))
        inventory.voids = tuple(
            Void(cause=VoidCause(cause), through_version=through, at=at, schedule_id=schedule_id or None)
            for cause, through, at, schedule_id in found
        )

    async def _add_seats(
        self, pipeline: Pipeline, inventory: Inventory, sections: Rows, *, by_claims: bool = False
    ) -> None:
        taken = rows.taken_of(sections)
        if taken and by_claims:
            (found,) = await pipeline.send(Statement(_CLAIMED_SEATS, (inventory.organization_id, plain(taken))))
            taken = dict.fromkeys(taken, 0) | {section_id: mask_of(seats) for section_id, seats in found}
        if taken:
            inventory.seatings |= await self._layouts.seatings(pipeline, inventory.sections, taken)

    async def _read_expired(self, pipeline: Pipeline, inventory: Inventory, needs: Needs) -> None:
        """Read holds whose time is over, of what is short of places; most batches read none.

        Oldest first, and no more than are needed if each gives back one place. Of a section that stays short, also read
        when the next hold ends.
        """
        missing = {}
        for section_id, quantity in needs.wanted.items():
            section = inventory.sections.get(section_id)
            if section is not None and section.counters.available < quantity:
                missing[section_id] = quantity - section.counters.available
        if missing or needs.wanted_seats:
            await self.load_short(pipeline, inventory, missing, needs.wanted_seats)
        if needs.wanted_of_blocks:
            await self._load_short_blocks(pipeline, inventory, needs.wanted_of_blocks)
        if needs.open_sections:
            await self._load_over(pipeline, inventory, needs.open_sections)

    async def load_short(
        self,
        pipeline: Pipeline,
        inventory: Inventory,
        missing: Mapping[str, int],
        wanted_seats: Mapping[str, set[str]] = NO_SEATS,
    ) -> None:
        """Read expired holds of sections that miss so many places, and those that have seats which are wanted."""
        statements: list[Statement] = []
        limits: list[tuple[str, int]] = []
        mine = (inventory.organization_id, inventory.event_id)
        for section_id, places in sorted(missing.items()):
            limit = min(places, CHANGES_MAX)
            statements.append(Statement(_EXPIRED, (*mine, section_id, inventory.at, limit)))
            statements.append(Statement(_NEXT_EXPIRY, (*mine, section_id, inventory.at)))
            limits.append((section_id, limit))
        short = len(statements)
        for section_id, labels in sorted(wanted_seats.items()):
            seating = inventory.seatings.get(section_id)
            if seating is not None:
                seats = [seat for seat in map(seating.layout.index_of, labels) if seat is not None]
                taken = [seat for seat in seats if seating.taken >> seat & 1]
                if taken:
                    statements.append(
                        Statement(_EXPIRED_OF_SEATS, (*mine, section_id, inventory.at, plain(sorted(taken))))
                    )
        if not statements:
            return
        results = await pipeline.send(*statements)
        found: dict[str, Hold] = {}
        for (section_id, limit), expired, upcoming in zip(limits, results[:short:2], results[1:short:2], strict=True):
            over = rows.holds_of(expired)
            found |= {hold.hold_id: hold for hold in over}
            if len(over) == limit:
                inventory.more_expired.add(section_id)
            if upcoming:
                inventory.next_expire_times[section_id] = upcoming[0][0]
        for each in results[short:]:
            found |= {hold.hold_id: hold for hold in rows.holds_of(each)}
        await self.load_expired(pipeline, inventory, found.values())

    async def _load_short_blocks(self, pipeline: Pipeline, inventory: Inventory, wanted: Mapping[str, int]) -> None:
        """Read expired holds from blocks in which fewer places are than are wanted."""
        limits: list[tuple[str, int]] = []
        for block_id, quantity in sorted(wanted.items()):
            block = inventory.blocks.now.get(block_id)
            if block is not None and block.quantity < quantity:
                limits.append((block_id, min(quantity - block.quantity, CHANGES_MAX)))
        if not limits:
            return
        mine = (inventory.organization_id, inventory.event_id)
        found: dict[str, Hold] = {}
        results = await pipeline.send(
            *(Statement(_EXPIRED_OF_BLOCK, (*mine, block_id, inventory.at, limit)) for block_id, limit in limits)
        )
        for (block_id, limit), expired in zip(limits, results, strict=True):
            over = rows.holds_of(expired)
            found |= {hold.hold_id: hold for hold in over}
            if len(over) == limit:
                inventory.more_expired.add(block_id)
        await self.load_expired(pipeline, inventory, found.values())

    async def _load_over(self, pipeline: Pipeline, inventory: Inventory, section_ids: set[str]) -> None:
        """Read expired holds of sections whose best seats are wanted; of most batches nothing of the event is due."""
        if inventory.due_time is None or inventory.due_time > inventory.at:
            return
        mine = (inventory.organization_id, inventory.event_id)
        (found,) = await pipeline.send(
            Statement(_EXPIRED_OF_SECTIONS, (*mine, plain(section_ids), inventory.at, CHANGES_MAX))
        )
        over = rows.holds_of(found)
        if len(over) == CHANGES_MAX:
            inventory.more_expired |= section_ids
        await self.load_expired(pipeline, inventory, over)

    async def next_expire_times(self, pipeline: Pipeline, inventory: Inventory) -> dict[str, datetime]:
        """Read when the next hold ends, of sections in which somebody was refused without knowing it."""
        mine = (inventory.organization_id, inventory.event_id)
        section_ids = sorted(inventory.untold)
        results = await pipeline.send(
            *(Statement(_NEXT_EXPIRY, (*mine, section_id, inventory.at)) for section_id in section_ids)
        )
        times = {section_id: found[0][0] for section_id, found in zip(section_ids, results, strict=True) if found}
        for hold in inventory.holds.made:
            for line in hold.lines:
                if line.section_id in inventory.untold and line.block_id is None and hold.end_time is None:
                    known = times.get(line.section_id)
                    times[line.section_id] = hold.expire_time if known is None else min(known, hold.expire_time)
        return times

    async def load_expired(self, pipeline: Pipeline, inventory: Inventory, found: Collection[Hold]) -> None:
        """Take over holds whose time is over, with the sections and blocks that ending them changes."""
        known = {hold.hold_id: hold for hold in inventory.expired}
        new = [hold for hold in found if hold.hold_id not in known]
        known |= {hold.hold_id: inventory.holds.now.setdefault(hold.hold_id, hold) for hold in new}
        inventory.expired = sorted(known.values(), key=lambda hold: (hold.expire_time, hold.hold_id))
        await self.load_places(pipeline, inventory, new)
        note_over(inventory, new)

    async def load_section(self, pipeline: Pipeline, inventory: Inventory, section_id: str, *, blocks_max: int) -> None:
        """Read what keeps a section from going: up to so many blocks that stand, and holds whose time is over."""
        section = inventory.sections.get(section_id)
        if section is None or section.deleted:
            return
        mine = (inventory.organization_id, inventory.event_id)
        (found,) = await pipeline.send(Statement(rows.BLOCKS_STANDING, (*mine, section_id, blocks_max)))
        for block in rows.blocks_of(found):
            inventory.blocks.now.setdefault(block.block_id, block)
        live = section.counters.held + section.counters.pending
        if live:
            await self.load_short(pipeline, inventory, {section_id: live})

    async def load_places(self, pipeline: Pipeline, inventory: Inventory, holds: Iterable[Hold]) -> None:
        """Read the sections and blocks of holds that are not there yet: ending a hold frees all of its places."""
        lines = [line for hold in holds for line in hold.lines]
        sections = {line.section_id for line in lines} - inventory.sections.keys()
        blocks = {line.block_id for line in lines if line.block_id is not None} - inventory.blocks.now.keys()
        mine = (inventory.organization_id, inventory.event_id)
        if sections:
            (found,) = await pipeline.send(Statement(rows.SECTIONS, (*mine, plain(sections))))
            inventory.sections |= {each.section_id: each for each in rows.sections_of(found)}
            await self._add_seats(pipeline, inventory, found)
        if blocks:
            (found,) = await pipeline.send(Statement(rows.BLOCKS_OF, (*mine, plain(blocks), "{}", "{}")))
            for block in rows.blocks_of(found):
                inventory.blocks.load(block.block_id, block)
