"""Recomputing an event's counters from its holds, sales, blocks and buffers, and from its journal."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import journal, lines

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction

COUNTERS = ("total", "held", "pending", "sold", "blocked")


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
    """Compare. All rows are read in one statement, then the journal up to that version, which stays.

    Nothing is locked: selling goes on meanwhile. Differences of the event's own sums have no section.
    """
    claims = await lines.claims(transaction, event_id)
    if claims is None:
        raise event_not_found(event_id)
    from_journal: dict[str, dict[str, int]] = defaultdict(dict)
    changes = 0
    async for body in journal.all_through(transaction, event_id, claims.version):
        change = messages_pb2.InventoryChanged.FromString(body)
        if change.version == changes + 1:  # a row whose body is of another version counts as missing
            changes += 1
        for told in change.sections:
            from_journal[told.section_id] = {name: getattr(told, name) for name in COUNTERS}
        from_journal[""] = {name: getattr(change.totals, name) for name in COUNTERS}
    differences = []
    for section_id, stored in sorted(claims.stored.items()):
        for name in COUNTERS:
            counted = stored[name]
            by_lines = claims.from_lines[section_id][name]
            by_journal = from_journal.get(section_id, {}).get(name, 0)
            if not counted == by_lines == by_journal:
                differences.append(Difference(section_id, name, counted, by_lines, by_journal))
    if changes != claims.version:
        differences.append(Difference("", "version", claims.version, claims.version, changes))
    return Verification(version=claims.version, at=claims.at, differences=tuple(differences))
