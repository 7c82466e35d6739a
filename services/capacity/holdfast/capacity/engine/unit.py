"""One commit of an event's inventory.

Inside a transaction of `Database.run`:

1. lock the event's row (FOR NO KEY UPDATE), the one lock there is, always first: no deadlocks, and limits, maxima and
   crossings are exact across sections and replicas;
2. in later statements, which see what was committed before the lock was granted: the row, the voids, the sections,
   and the batch time, never before the last change;
3. the caller decides in memory, by the pure rules of `domain`;
4. write what changed, and one row of the journal with the next version.

`Database.run` commits. The ids of new rows are made before the first attempt, so that an attempt after an unknown
commit finds what the first one did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.events.v1 import event_pb2
from holdfast.capacity import convert
from holdfast.capacity.domain.inventory import Inventory
from holdfast.capacity.store import due, holds, inventories, journal, sales, sections
from holdfast.common import telemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.controls import EventControls
    from holdfast.common.database import Transaction


async def open_inventory(
    transaction: Transaction, event_id: str, *, only: Sequence[str] | None = None, make: bool = False
) -> Inventory | None:
    """Lock an event's inventory and read it; `only` names the sections that are needed, `make` makes a missing row.

    None when the event is not known here.
    """
    if make:
        await inventories.make(transaction, event_id)
    if not await inventories.lock(transaction, event_id):
        return None
    stored = await inventories.read(transaction, event_id)
    if stored is None:
        return None
    organization_id = transaction.require_organization()
    voids = await inventories.open_voids(transaction, [event_id]) if stored.voided else {}
    return Inventory(
        organization_id=organization_id,
        event_id=event_id,
        version=stored.version,
        at=stored.at,
        controls=(controls_of(stored.controls) if stored.controls else convert.no_controls(organization_id, event_id)),
        counters=stored.counters,
        crossed=stored.crossed,
        live_holds=stored.live_holds,
        sections=await sections.of_event(transaction, event_id, only=only),
        voids=voids.get(event_id, ()),
        due_time=stored.due_time,
    )


def controls_of(stored: bytes) -> EventControls:
    """Read controls as they are stored."""
    return convert.controls_of(event_pb2.EventControls.FromString(stored))


async def close_inventory(
    transaction: Transaction, inventory: Inventory, *, controls: event_pb2.EventControls | None = None
) -> int:
    """Write what changed and return the version in force afterwards; nothing is written when nothing changed."""
    if not inventory.dirty:
        return inventory.version
    crossings = inventory.crossings()
    version = inventory.next_version
    fresh = {section.section_id for section in inventory.new_sections}
    touched = inventory.touched_sections()
    if fresh:
        await sections.add(transaction, [section for section in touched if section.section_id in fresh])
    if len(touched) > len(fresh):
        await sections.change(transaction, [section for section in touched if section.section_id not in fresh])
    if inventory.new_holds:
        await holds.add(transaction, inventory.new_holds)
        first = min(hold.expire_time for hold in inventory.new_holds)
        if inventory.due_time is None or first < inventory.due_time:
            await due.note(transaction, inventory.event_id, first)
    if inventory.changed_holds:
        await holds.change(transaction, list(inventory.changed_holds.values()))
    if inventory.new_sales:
        await sales.add(transaction, inventory.new_sales, version=version)
    if inventory.changed_sales:
        await sales.change(transaction, list(inventory.changed_sales.values()))
    if inventory.new_voids:
        await inventories.add_voids(transaction, inventory.event_id, inventory.new_voids)
        await due.note(transaction, inventory.event_id, inventory.at)
    await journal.append(
        transaction,
        inventory.event_id,
        version=version,
        body=convert.change_message(inventory, crossings).SerializeToString(deterministic=True),
        occur_time=inventory.at,
        traceparent=telemetry.current_traceparent(),
    )
    await inventories.change(
        transaction,
        inventory.event_id,
        version=version,
        at=inventory.at,
        counters=inventory.counters,
        crossed=inventory.crossed,
        live_holds=inventory.live_holds,
        controls=((controls.version, controls.SerializeToString(deterministic=True)) if controls is not None else None),
    )
    return version
