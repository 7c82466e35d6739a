"""Taking over an event's controls, and bringing the rows of many ended holds up to date, each in a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.inventory import ENDED_MAX
from holdfast.capacity.domain.planning import apply_controls, close_sections
from holdfast.capacity.engine.unit import close_inventory, open_inventory
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import due, holds, inventories, sales

if TYPE_CHECKING:
    from holdfast.api.events.v1 import event_pb2
    from holdfast.capacity.domain.holds import Void
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.common.database import Transaction


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


async def tidy(transaction: Transaction, event_id: str) -> tuple[bool, int]:
    """Bring rows up to date that only say less than the truth: holds, sales and sections of voids, expired holds.

    As many as one row of the journal takes, in one version. Returns whether there may be more, and how many holds
    expired. Stopped anywhere, it goes on from what the rows say.
    """
    inventory = await open_inventory(transaction, event_id)
    if inventory is None:
        return False, 0
    for void in inventory.voids:
        if not await _tidy_void(transaction, inventory, void):
            break
        await inventories.finish_void(transaction, event_id, void)
        inventory.voids = tuple(each for each in inventory.voids if each != void)
    expired = 0
    complete = False
    if not inventory.voids:
        found = await holds.expired(transaction, event_id, inventory.at, limit=ENDED_MAX)
        complete = len(found) < ENDED_MAX
        for hold in found:
            if hold.hold_id in inventory.changed_holds:
                continue
            if inventory.full:
                complete = False
                break
            inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)
            expired += 1
    await close_inventory(transaction, inventory)
    next_time = await holds.next_expire_time(transaction, event_id) if complete else inventory.at
    await due.settle(transaction, event_id, next_time)
    return not complete, expired


async def _tidy_void(transaction: Transaction, inventory: Inventory, void: Void) -> bool:
    """Bring up to date what a void ended; False when something may be left."""
    if void.closes_sections and not close_sections(inventory):
        return False
    found = await holds.ended_by(transaction, inventory.event_id, void, limit=ENDED_MAX)
    for hold in found:
        if hold.hold_id in inventory.changed_holds:
            continue
        if inventory.full:
            return False
        if void.ends(hold):
            inventory.end(hold, HoldState.VOIDED, at=void.at, void=void)
        else:
            inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)
    if len(found) == ENDED_MAX:
        return False
    if not void.cancels_sales:
        return True
    sold = await sales.cancelled_by(transaction, inventory.event_id, void, limit=ENDED_MAX)
    for sale in sold:
        if inventory.full:
            return False
        inventory.cancel(sale, void.schedule_id)
    return len(sold) < ENDED_MAX
