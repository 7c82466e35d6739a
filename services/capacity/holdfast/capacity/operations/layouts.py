"""Storing a changed layout with the commit that changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.capacity.store import layouts

if TYPE_CHECKING:
    from holdfast.capacity.engine.unit import Unit


def store_layout(unit: Unit, section_id: str) -> None:
    """Let a section's layout be stored with the commit, as it is now."""
    inventory = unit.inventory
    layout = inventory.seatings[section_id].layout
    unit.extra.append(layouts.write(inventory.organization_id, inventory.event_id, {section_id: layout}))
