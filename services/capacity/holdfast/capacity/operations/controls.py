"""Taking over an event's controls, and bringing the rows of many ended holds up to date, each in a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.planning import apply_controls
from holdfast.capacity.engine.unit import close_inventory, open_inventory
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import due, holds, inventories, sales

if TYPE_CHECKING:
    from holdfast.api.events.v1 import event_pb2
    from holdfast.capacity.domain.holds import Void
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.common.database import Transaction

CHUNK = 500
"""The most holds and sales of one row of the journal."""


@dataclass(frozen=True, slots=True)
class ControlsApplied:
    """The inventory version from which on the controls hold, and the version of the controls in force."""

    version: int
    controls_version: int
    unfinished: bool


async def take_over(transaction: Transaction, message: event_pb2.EventControls, *, section_id: str) -> ControlsApplied:
    """Take over newer controls. `section_id` names the first section, should the controls ask for one."""
    inventory = await open_inventory(transaction, message.event_id, make=True)
    if inventory is None:
        raise event_not_found(message.event_id)
    if not apply_controls(inventory, convert.controls_of(message), section_id=section_id):
        return ControlsApplied(inventory.version, inventory.controls.version, unfinished=False)
    version = await close_inventory(transaction, inventory, controls=message)
    return ControlsApplied(version, message.version, unfinished=bool(inventory.voids))


async def tidy(transaction: Transaction, event_id: str, *, limit: int = CHUNK) -> tuple[bool, int]:
    """Bring rows up to date that only say less than the truth: holds and sales of voids, holds whose time is over.

    At most `limit` rows, in one version. Returns whether there may be more, and how many holds expired. Stopped
    anywhere, it goes on from what the rows say.
    """
    inventory = await open_inventory(transaction, event_id)
    if inventory is None:
        return False, 0
    for void in inventory.voids:
        left = limit - len(inventory.changed_holds)
        found = await holds.ended_by(transaction, event_id, void, limit=left)
        for hold in found:
            if hold.hold_id in inventory.changed_holds:
                continue
            if void.ends(hold):
                inventory.end(hold, HoldState.VOIDED, at=void.at, void=void)
            else:
                inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)
        done = len(found) < left and await _cancel_sales(transaction, inventory, void, limit=limit)
        if done:
            await inventories.finish_void(transaction, event_id, void)
            inventory.voids = tuple(each for each in inventory.voids if each != void)
        else:
            break
    expired = 0
    room = limit - len(inventory.changed_holds)
    if room > 0 and not inventory.voids:
        for hold in await holds.expired(transaction, event_id, inventory.at, section_ids=None, limit=room):
            if hold.hold_id not in inventory.changed_holds:
                inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)
                expired += 1
    more = bool(inventory.voids) or len(inventory.changed_holds) >= limit or len(inventory.changed_sales) >= limit
    await close_inventory(transaction, inventory)
    next_time = inventory.at if more else await holds.next_expire_time(transaction, event_id)
    await due.settle(transaction, event_id, next_time)
    return more, expired


async def _cancel_sales(transaction: Transaction, inventory: Inventory, void: Void, *, limit: int) -> bool:
    """Mark the sales of a void; False when there may be more."""
    if not void.cancels_sales:
        return True
    left = limit - len(inventory.changed_sales)
    found = await sales.cancelled_by(transaction, inventory.event_id, void, limit=left)
    for sale in found:
        known = inventory.changed_sales.get(sale.sale_id, sale)
        inventory.changed_sales[sale.sale_id] = known.cancelled(void.schedule_id)
    return len(found) < left
