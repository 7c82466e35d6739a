"""Who did something to an event's inventory, what, and why: what the journal does not tell."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.capacity.domain.inventory import Inventory


class ResourceType(StrEnum):
    """What something was done to."""

    SECTION = "section"
    BLOCK = "block"
    HOLD = "hold"
    SALE = "sale"
    INVENTORY = "inventory"


@dataclass(frozen=True, slots=True)
class Author:
    """A caller, what they asked for, and why in their words. `roles` are empty of what the mesh went on with later."""

    actor: str
    action: str
    roles: tuple[str, ...] = ()
    note: str = ""
    request_id: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done. `changes` are plain JSON by what changed: `{"name": {"from": …, "to": …}}`."""

    entry_id: str
    author: Author
    resource_type: ResourceType
    resource_id: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()

    def without(self, name: str) -> AuditEntry:
        """Give the entry with a change that is too large only named."""
        kept = {key: value for key, value in self.changes.items() if key != name}
        return replace(self, changes=kept, omitted=(*self.omitted, name))


def seen(inventory: Inventory, resource_type: ResourceType, resource_id: str) -> dict[str, Any]:
    """Give what the audit log tells of a resource as it stands; nothing of one that there is not."""
    match resource_type:
        case ResourceType.SECTION:
            return _section(inventory, resource_id)
        case ResourceType.BLOCK:
            block = inventory.blocks.now.get(resource_id)
            return {} if block is None else {"quantity": block.quantity, "ended": block.ended}
        case ResourceType.HOLD:
            return _hold(inventory, resource_id)
        case ResourceType.SALE:
            return _sale(inventory, resource_id)
        case ResourceType.INVENTORY:
            return {}


def _section(inventory: Inventory, section_id: str) -> dict[str, Any]:
    section = inventory.sections.get(section_id)
    if section is None:
        return {}
    return {
        "schedule_id": section.schedule_id,
        "name": section.name,
        "code": section.code,
        "subsection": section.subsection,
        "tier": section.tier,
        "total": section.counters.total,
        "buffer": section.counters.buffer,
        "min_per_order": section.min_per_order,
        "max_per_order": section.max_per_order,
        "active": section.active,
        "visible": section.visible,
        "layout_revision": section.layout_revision,
        "deleted": section.deleted,
    }


def _hold(inventory: Inventory, hold_id: str) -> dict[str, Any]:
    hold = inventory.holds.now.get(hold_id)
    if hold is None:
        return {}
    return {
        "state": hold.state.value,
        "expire_time": hold.expire_time.isoformat(),
        "order_reference": hold.order_reference,
        "places": sum(line.quantity for line in hold.lines),
    }


def _sale(inventory: Inventory, sale_id: str) -> dict[str, Any]:
    sale = inventory.sales.now.get(sale_id)
    if sale is None:
        return {}
    return {
        "state": sale.state.value,
        "returned_quantity": sum(part.quantity for part in sale.returned.values()),
        "exchanged_quantity": sum(part.quantity for part in sale.exchanged.values()),
    }


def changes_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what is another value than before; of something new, all that has one."""
    return {name: {"from": before.get(name), "to": value} for name, value in after.items() if value != before.get(name)}
