"""Putting an event's counters and seats right: confirmed differences, in one commit like every other."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from holdfast.capacity.domain.audits import AuditEntry, ResourceType
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.recounts import Difference
from holdfast.capacity.domain.repairs import changed, put_right, repairs_of
from holdfast.capacity.store import audits
from holdfast.capacity.store.arrays import plain
from holdfast.common import idempotency
from holdfast.common.database import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.capacity.domain.audits import Author
    from holdfast.capacity.domain.repairs import Repairs
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.verification import Verification
    from holdfast.common.database import Pipeline, Transaction
    from holdfast.common.idempotency import RequestKey

VERSION: Final = "inventory_version"

_REPAIRED: Final = """
SELECT repaired_version FROM capacity.event_inventories WHERE organization_id = $1 AND event_id = $2"""
_CLAIMED: Final = """
SELECT section_id, array_agg(seat_index) FROM capacity.seat_claims
WHERE organization_id = $1 AND section_id = ANY ($2::text[]) GROUP BY section_id"""
_NOTE: Final = """
UPDATE capacity.event_inventories SET repaired_version = $3 WHERE organization_id = $1 AND event_id = $2"""


@dataclass(frozen=True, slots=True)
class Findings:
    """Differences of an event, and what of them one commit puts right."""

    found: Verification
    repairs: Repairs

    @property
    def repaired(self) -> tuple[Difference, ...]:
        """Give the differences that are put right."""
        return tuple(each for each in self.found.differences if self.repairs.include(each))


def findings_of(found: Verification) -> Findings:
    """Give what can be done about differences."""
    return Findings(found, repairs_of(found.recount, found.told, found.differences))


@dataclass(slots=True)
class Repair:
    """Repairs what was found. Gives the id of the audit entry, which tells it all, this time's or an earlier one's.

    Raises CONFIRMATION_INVALID when somebody repaired the event since it was looked at, or changed what is repaired.
    """

    findings: Findings
    author: Author
    entry_id: str
    key: RequestKey
    _repaired_version: int = field(default=-1, init=False)
    _claimed: dict[str, int] = field(default_factory=dict, init=False)

    def need(self, needs: Needs) -> None:
        """Ask for all sections, because the event's sums are added up, and for whose seats get claims."""
        owners = self.findings.repairs.owners
        needs.all_sections = True
        needs.holds |= owners
        needs.blocks |= owners
        needs.keys.add(self.key)
        needs.more.append(self._load)

    async def _load(self, unit: Unit, pipeline: Pipeline, _reader: Reader) -> None:
        organization_id, event_id = unit.inventory.organization_id, unit.inventory.event_id
        sections = [each.section_id for each in self.findings.repairs.seats]
        repaired, claimed = await pipeline.send(
            Statement(_REPAIRED, (organization_id, event_id)), Statement(_CLAIMED, (organization_id, plain(sections)))
        )
        self._repaired_version = repaired[0][0]
        self._claimed = dict.fromkeys(sections, 0) | {section_id: mask_of(seats) for section_id, seats in claimed}

    def decide(self, unit: Unit) -> str:
        """Repair."""
        known = unit.replayed(self.key)
        if known is not None:
            return known
        inventory = unit.inventory
        # A repair takes away an error that was measured before the lock: nobody may have taken it away since.
        if self._repaired_version != self.findings.found.repaired_version:
            raise changed(inventory.event_id)
        put_right(inventory, self.findings.repairs, self._claimed)
        version = inventory.next_version
        self._repaired_version = version
        unit.extra.append(Statement(_NOTE, (inventory.organization_id, inventory.event_id, version)))
        told = _changes(self.findings.repaired) | {VERSION: {"to": version}}
        unit.audit.append(AuditEntry(self.entry_id, self.author, ResourceType.INVENTORY, inventory.event_id, told))
        unit.record(self.key, self.entry_id)
        return self.entry_id


def _changes(repaired: Iterable[Difference]) -> dict[str, Any]:
    return {
        f"{each.section_id}/{each.counter}": {
            "from": each.stored,
            "to": each.from_lines,
            "journal": each.from_journal,
            **({"seats": list(each.seats)} if each.seats else {}),
        }
        for each in repaired
    }


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair put right, as its audit entry tells, and the version that it made."""

    version: int
    differences: tuple[Difference, ...]


async def repaired(transaction: Transaction, entry_id: str) -> Repaired:
    """Read what a repair did."""
    told: Mapping[str, Any] = await audits.changes_of(transaction, entry_id) or {}
    differences = []
    for name, change in told.items():
        section_id, _, counter = name.partition("/")
        if counter:
            seats = tuple(change.get("seats", ()))
            differences.append(Difference(section_id, counter, change["from"], change["to"], change["journal"], seats))
    return Repaired(int(told[VERSION]["to"]), tuple(sorted(differences, key=attrgetter("place"))))


async def repaired_before(transaction: Transaction, key: RequestKey) -> Repaired | None:
    """Read what the same request did before, if it did; IDEMPOTENCY_KEY_REUSED if it came with other content."""
    entry_id = await idempotency.replayed(transaction, key)
    return None if entry_id is None else await repaired(transaction, entry_id)
