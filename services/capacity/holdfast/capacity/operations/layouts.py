"""Layouts beside sections: stored with the commit that changes them, and added to what was read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.capacity.store import layouts

if TYPE_CHECKING:
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.store.snapshots import Snapshot
    from holdfast.common.database import Transaction


def store_layout(unit: Unit, section_id: str) -> None:
    """Let a section's layout be stored with the commit, as it is now."""
    inventory = unit.inventory
    layout = inventory.seatings[section_id].layout
    unit.extra.append(layouts.write(inventory.organization_id, inventory.event_id, {section_id: layout}))


async def with_layouts(transaction: Transaction, layouts: Layouts, snapshot: Snapshot) -> Snapshot:
    """Add the layouts of the seated sections."""
    revisions = {
        view.section.section_id: view.section.layout_revision for view in snapshot.views if view.section.seated
    }
    known = await layouts.read(transaction, revisions) if revisions else {}
    return replace(
        snapshot, views=tuple(replace(view, layout=known.get(view.section.section_id)) for view in snapshot.views)
    )
