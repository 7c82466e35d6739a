"""Recomputing an event's counters from its holds and sales, and from its journal."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import inventories, journal, lines, sections

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction

COUNTERS = ("held", "pending", "sold")


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that does not agree with what it counts."""

    section_id: str
    counter: str
    stored: int
    from_lines: int
    from_journal: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found at a version."""

    version: int
    at: datetime
    differences: tuple[Difference, ...]


async def verify(transaction: Transaction, event_id: str) -> Verification:
    """Compare. The event's row is locked for share, so that no commit of the event comes between the reads."""
    if not await inventories.hold_still(transaction, event_id):
        raise event_not_found(event_id)
    stored = await inventories.read(transaction, event_id)
    if stored is None:
        raise event_not_found(event_id)
    at = await inventories.clock(transaction, at_least=stored.last_change_time)
    found = await sections.of_event(transaction, event_id)
    from_lines = await lines.claimed_of_event(transaction, event_id)
    from_journal: dict[str, dict[str, int]] = defaultdict(dict)
    changes = 0
    async for body in journal.all_through(transaction, event_id, stored.version):
        changes += 1
        for section in messages_pb2.InventoryChanged.FromString(body).sections:
            from_journal[section.section_id] = {name: getattr(section, name) for name in ("total", *COUNTERS)}
    differences = []
    for section_id, section in sorted(found.items()):
        for name in ("total", *COUNTERS):
            counted = getattr(section.counters, name)
            by_lines = counted if name == "total" else from_lines.get(section_id, {}).get(name, 0)
            by_journal = from_journal.get(section_id, {}).get(name, 0)
            if not counted == by_lines == by_journal:
                differences.append(Difference(section_id, name, counted, by_lines, by_journal))
    if changes != stored.version:
        differences.append(Difference("", "version", stored.version, stored.version, changes))
    return Verification(version=stored.version, at=at, differences=tuple(differences))
