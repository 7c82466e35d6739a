"""Finding what expired holds still keep of sections that are short of places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.capacity.domain.inventory import ENDED_MAX
from holdfast.capacity.store import holds, sections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.common.database import Transaction


async def load_expired(transaction: Transaction, inventory: Inventory, wanted: Mapping[str, int]) -> None:
    """Read holds whose time is over, for sections that have fewer places free than wanted; most requests read none.

    Oldest first, and no more than are needed if each gives back one place. Of a section that stays short, also read
    when the next hold ends.
    """
    found = {}
    for section_id, quantity in sorted(wanted.items()):
        missing = quantity - inventory.section(section_id).counters.available
        if missing <= 0:
            continue
        limit = min(missing, ENDED_MAX)
        over = await holds.expired(transaction, inventory.event_id, inventory.at, section_id=section_id, limit=limit)
        if len(over) == limit:
            inventory.more_expired.add(section_id)
        found.update({hold.hold_id: hold for hold in over})
        freed = sum(line.quantity for hold in over for line in hold.lines if line.section_id == section_id)
        if freed < missing:
            next_time = await holds.next_expire_time(
                transaction, inventory.event_id, section_id=section_id, after=inventory.at
            )
            if next_time is not None:
                inventory.next_expire_times[section_id] = next_time
    # Ending a hold frees all of its places, those of other sections too.
    others = {line.section_id for hold in found.values() for line in hold.lines} - inventory.sections.keys()
    if others:
        inventory.sections |= await sections.of_event(transaction, inventory.event_id, only=sorted(others))
    inventory.expired = sorted(found.values(), key=lambda hold: (hold.expire_time, hold.hold_id))
