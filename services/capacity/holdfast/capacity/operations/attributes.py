"""Changing what the seats of a section are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.attributes import set_attributes
from holdfast.capacity.operations.layouts import store_layout
from holdfast.capacity.operations.sections import SectionsMade
from holdfast.capacity.store import batch_rows, seats
from holdfast.capacity.store.arrays import plain
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from holdfast.capacity.domain.seat_rows import AttributeChange
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.common.database import Pipeline
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class SetSeatAttributes:
    """Changes what seats are, all of them or none."""

    section_id: str
    labels: tuple[str, ...]
    change: AttributeChange
    etag: str
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the section with its layout, and for who has the seats."""
        needs.sections.add(self.section_id)
        needs.keys.add(self.key)
        needs.more.append(self._load)

    async def _load(self, unit: Unit, pipeline: Pipeline, reader: Reader) -> None:  # noqa: ARG002 (as all `more` are)
        """Read the holds that have the seats, sold ones too."""
        inventory = unit.inventory
        seating = inventory.seatings.get(self.section_id)
        if seating is None:
            return
        found = [seat for seat in map(seating.layout.index_of, self.labels) if seat is not None]
        taken = [seat for seat in found if seating.taken >> seat & 1]
        if not taken:
            return
        (holders,) = await pipeline.send(
            Statement(seats.HOLDERS, (inventory.organization_id, self.section_id, plain(taken)))
        )
        seating.holders |= dict(holders)
        unknown = set(seating.holders.values()) - inventory.holds.now.keys()
        (holds,) = await pipeline.send(
            Statement(batch_rows.HOLDS_BY_ID, (inventory.organization_id, inventory.event_id, plain(unknown)))
        )
        for hold in batch_rows.holds_of(holds):
            inventory.holds.load(hold.hold_id, hold)

    def decide(self, unit: Unit) -> SectionsMade:
        """Change them."""
        inventory = unit.inventory
        before = inventory.section(self.section_id)
        if unit.replayed(self.key) is not None:
            return SectionsMade((self.section_id,), inventory.version, replayed=True)
        changed = set_attributes(inventory, self.section_id, self.labels, self.change, etag=self.etag)
        unit.record(self.key, self.section_id)
        if changed is before:
            return SectionsMade((self.section_id,), inventory.version)
        store_layout(unit, self.section_id)
        return SectionsMade((self.section_id,), inventory.next_version)
