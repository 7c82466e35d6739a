"""Putting counters and seats right: what has to be added to them, and doing that under the event's lock.

What a counter is wrong by stays the same while selling goes on, because every command moves what is stored and what is
counted alike. So the counting is done before, without the lock, and under it only the error is taken away. That holds
until somebody else repairs or sets the same counter: the caller has to see to the first, `put_right` looks for the
second. Seats are compared again under the lock: only those that were found wrong, and still are, are put right, and a
seat that a claim, a line or a block has is never set free.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from holdfast.capacity.domain.bitmaps import first_bits, indexes_of, mask_of
from holdfast.capacity.domain.holds import LIVE
from holdfast.capacity.domain.inventory import CHANGES_MAX
from holdfast.capacity.domain.recounts import COUNTERS, OF_THE_EVENT, Difference
from holdfast.capacity.domain.seats import SeatOwner
from holdfast.capacity.domain.sections import Counters
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.recounts import Recount, Sums

MISSING_MAX: Final = 500
"""Claims that one repair makes."""
SEATS_MAX: Final = 30_000
"""Seats that one repair sets in bitmaps: its row of the journal names them."""
_CLAIMED: Final = ("held", "pending", "sold", "blocked")
_OWN: Final = ("total", "buffer")
"""Nobody claims these: they are what the journal last told."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What has to be added to a section's counters; `found` are its total and buffer, which commands set."""

    section_id: str
    added: Mapping[str, int]
    found: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SeatCorrection:
    """Seats of a section whose bit is wrong, and those that nobody claims for the owner who has them."""

    section_id: str
    bitmap: int
    missing: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Repairs:
    """What one commit puts right. `sums` tells that those of the event are to be added up anew."""

    counters: tuple[Correction, ...]
    seats: tuple[SeatCorrection, ...]
    sums: tuple[tuple[str, int], ...]
    live_holds: int

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.counters or self.seats or self.sums or self.live_holds)

    @property
    def owners(self) -> set[str]:
        """The ids of holds and blocks whose seats get a claim."""
        return {owner for each in self.seats for owner in each.missing.values()}

    @property
    def fingerprint(self) -> str:
        """Tell them apart from other repairs, whatever is sold meanwhile."""
        parts: list[Any] = [[each.section_id, dict(each.added), dict(each.found)] for each in self.counters]
        parts += [[each.section_id, f"{each.bitmap:x}", sorted(each.missing.items())] for each in self.seats]
        parts += [list(self.sums), self.live_holds]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def include(self, difference: Difference) -> bool:
        """Tell whether a difference is put right, at least a part of it."""
        section_id, counter = difference.section_id, difference.counter
        if section_id == OF_THE_EVENT:
            return counter in COUNTERS or counter == "live_holds"
        if counter == "seats":
            return any(each.section_id == section_id and each.bitmap for each in self.seats)
        if counter == "claims":
            return any(each.section_id == section_id and each.missing for each in self.seats)
        return any(each.section_id == section_id for each in self.counters)


def repairs_of(recount: Recount, told: Mapping[str, Sums], differences: Sequence[Difference]) -> Repairs:
    """Give what puts differences right, as much as one commit takes.

    Not what is missing in the journal; not seats that are claimed by somebody who does not have them, or that two
    have: they stay out of sale.
    """
    sections = {each.section_id: None for each in differences if each.counter in (*COUNTERS, *_OWN)}
    sums = recount.counted[OF_THE_EVENT], recount.stored[OF_THE_EVENT]
    # A journal with gaps does not know the last total of a section.
    whole = all(each.counter != "version" for each in differences)
    return Repairs(
        counters=tuple(
            _correction(recount, told.get(section_id, {}) if whole else {}, section_id)
            for section_id in sections
            if section_id != OF_THE_EVENT and section_id not in recount.deleted
        )[:CHANGES_MAX],
        seats=_seat_corrections(recount),
        sums=tuple((name, sums[0][name] - sums[1][name]) for name in COUNTERS) if OF_THE_EVENT in sections else (),
        live_holds=recount.holds - recount.live_holds,
    )


def _correction(recount: Recount, told: Sums, section_id: str) -> Correction:
    stored, counted = recount.stored[section_id], recount.counted[section_id]
    found = {"total": stored["total"], "buffer": recount.buffers[section_id]}
    added = {name: counted[name] - stored[name] for name in _CLAIMED}
    added |= {name: told.get(name, found[name]) - found[name] for name in _OWN}
    added["blocked"] += added["buffer"]  # counted with the buffer that was found
    return Correction(section_id, added, {name: found[name] for name in _OWN if added[name]})


def _seat_corrections(recount: Recount) -> tuple[SeatCorrection, ...]:
    corrections: list[SeatCorrection] = []
    bits, claims = SEATS_MAX, MISSING_MAX
    for section_id, faults in sorted(recount.seats.items()):
        named = [*faults.missing.items()]
        missing = dict(named[:claims])
        # A seat that somebody has stays taken while its claim waits for the next repair.
        some = indexes_of(faults.bitmap & ~mask_of(seat for seat, _ in named[claims:]))[:bits]
        if some or missing:
            corrections.append(SeatCorrection(section_id, mask_of(some), missing))
        bits, claims = bits - len(some), claims - len(missing)
    return tuple(corrections)


def put_right(inventory: Inventory, repairs: Repairs, claimed: Mapping[str, int]) -> None:
    """Repair. `claimed` are the seats that have a claim under the lock, by section.

    Raises CONFIRMATION_INVALID when a section is another one than was found, CAPACITY_COMMITTED when more of it is
    claimed than there is; nothing is changed then.
    """
    corrected = {each.section_id: _corrected(inventory, each) for each in repairs.counters}
    live_holds = inventory.live_holds + repairs.live_holds
    if live_holds < 0:
        raise changed(inventory.event_id)
    for section_id, counters in corrected.items():
        inventory.sections[section_id] = replace(inventory.sections[section_id], counters=counters)
        inventory.changed_sections.add(section_id)
    sums = Counters()
    for section in inventory.standing_sections:
        sums = sums.plus(section.counters)
    inventory.counters, inventory.live_holds = sums, live_holds
    for seats in repairs.seats:
        _put_seats_right(inventory, seats, claimed[seats.section_id])
    inventory.repaired = True


def _corrected(inventory: Inventory, correction: Correction) -> Counters:
    section = inventory.sections.get(correction.section_id)
    if section is None or section.deleted:
        raise changed(inventory.event_id)
    now = section.counters
    if any(getattr(now, name) != value for name, value in correction.found.items()):
        raise changed(inventory.event_id)
    counters = Counters(**{name: getattr(now, name) + added for name, added in correction.added.items()})
    if min(getattr(counters, name) for name in (*_CLAIMED, *_OWN)) < 0 or counters.buffer > counters.blocked:
        raise changed(inventory.event_id)
    if counters.available < 0:
        raise DomainError(
            Reason.CAPACITY_COMMITTED,
            "more of the section is claimed than there is: raise its total first",
            metadata={"section_id": section.section_id, "committed": str(counters.committed)},
        )
    return counters


def _put_seats_right(inventory: Inventory, correction: SeatCorrection, claimed: int) -> None:
    section_id, seating = correction.section_id, inventory.seatings[correction.section_id]
    # What an earlier request of the batch claimed or freed is as it should be, and not in `claimed`.
    touched = mask_of(seating.claims)
    for seat, owner_id in correction.missing.items():
        owner = _owner(inventory, section_id, seat, owner_id)
        if owner is not None and not (claimed | touched) >> seat & 1 and seat < seating.layout.size:
            seating.claim((seat,), owner)
            claimed |= 1 << seat
    wrong = (seating.taken ^ claimed) & correction.bitmap & ~touched
    seating.taken = (seating.taken ^ wrong) & first_bits(seating.layout.size)
    inventory.changed_sections.add(section_id)


def _owner(inventory: Inventory, section_id: str, seat: int, owner_id: str) -> SeatOwner | None:
    """Give whom a seat belongs to if it still does."""
    block = inventory.blocks.now.get(owner_id)
    if block is not None:
        return SeatOwner(block_id=owner_id) if not block.ended and seat in block.seats else None
    hold = inventory.holds.now.get(owner_id)
    if hold is None:
        return None
    lines = [line for line in hold.lines if line.section_id == section_id]
    has = hold.state in LIVE and any(seat in line.seats for line in lines)
    for sale in inventory.sales.now.values():
        if sale.hold_id == owner_id:
            sold = [line for line in sale.lines if line.section_id == section_id and seat in line.seats]
            has = has or any(seat not in sale.gone(line).seats for line in sold)
    return SeatOwner(hold_id=owner_id) if has else None


def changed(event_id: str) -> DomainError:
    """Give the error of differences that are others than were confirmed."""
    return confirmation_invalid(event_id, "CHANGED")


def confirmation_invalid(event_id: str, cause: str) -> DomainError:
    """Give the error of a confirmation token that is of no use: `EXPIRED`, `CHANGED` or `UNKNOWN`."""
    return DomainError(
        Reason.CONFIRMATION_INVALID,
        "the confirmation token is used up, over, or of other differences: ask for them again",
        metadata={"event_id": event_id, "cause": cause},
    )
