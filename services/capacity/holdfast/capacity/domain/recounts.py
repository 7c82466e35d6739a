"""Counting an event's places anew from what claims them, and telling where that is not what was stored.

Counters are compared with the lines of holds and sales, blocks and buffers, and with the journal; the bitmap of taken
seats with the claims of seats, and these with the lines and blocks that name the seats.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.bitmaps import indexes_of, mask_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

COUNTERS: Final = ("total", "held", "pending", "sold", "blocked")
_ORDER: Final = (*COUNTERS, "buffer", "live_holds", "version", "seats", "claims")
OF_THE_EVENT: Final = ""
"""The event itself, where sections are named."""

Sums = dict[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter of a section, or of the event, that does not agree; of seats, which ones (by label) and how many."""

    section_id: str
    counter: str
    stored: int
    from_lines: int
    from_journal: int
    seats: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands among others: the event's first, then section by section."""
        return self.section_id, _ORDER.index(self.counter)


@dataclass(frozen=True, slots=True)
class SeatFaults:
    """What is wrong with the seats of a section, by index.

    `bitmap` has the seats where the bitmap and the claims differ. `missing` are seats that a line or a block names and
    nobody claims, with that owner; `foreign` those claimed by somebody whom no line or block names, or named twice.
    """

    bitmap: int
    missing: Mapping[int, str]
    foreign: frozenset[int]
    taken_count: int
    claim_count: int
    named_count: int

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.bitmap or self.missing or self.foreign)


class SeatCount:
    """Whom the lines and blocks name for each seat of a section, and whom the claims do."""

    __slots__ = ("_claimed", "_foreign", "_named", "_twice")

    def __init__(self) -> None:
        self._named: dict[int, str] = {}
        self._twice: set[int] = set()
        self._claimed: list[int] = []
        self._foreign: set[int] = set()

    def name(self, owner: str, seats: Iterable[int]) -> None:
        """Note that a line or a block has seats."""
        for seat in seats:
            if self._named.setdefault(seat, owner) != owner:
                self._twice.add(seat)

    def claim(self, claims: Sequence[tuple[int, str]]) -> None:
        """Note claims; all names come before the first of them."""
        self._claimed += [seat for seat, _ in claims]
        self._foreign.update(seat for seat, owner in claims if self._named.get(seat) != owner)

    def faults(self, taken: int) -> SeatFaults:
        """Compare with the bitmap."""
        claimed = mask_of(self._claimed)
        missing = {seat: owner for seat, owner in self._named.items() if not claimed >> seat & 1}
        return SeatFaults(
            bitmap=taken ^ claimed,
            missing=dict(sorted(missing.items())),
            foreign=frozenset(self._foreign | self._twice),
            taken_count=taken.bit_count(),
            claim_count=len(self._claimed),
            named_count=len(self._named),
        )


@dataclass(slots=True)
class Recount:
    """An event's counters as they are stored, and as they are counted, by section; sums of the event are "".

    `deleted` sections are no part of the event's sums any more. `buffers` are places that are kept back. `live_holds`
    is what the event's row says, `holds` how many there are.
    """

    stored: dict[str, Sums]
    buffers: dict[str, int]
    deleted: frozenset[str]
    live_holds: int
    holds: int = 0
    counted: dict[str, Sums] = field(default_factory=dict)
    seats: dict[str, SeatFaults] = field(default_factory=dict)
    _places: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, section_id: str, counter: str, quantity: int) -> None:
        """Count places of a section."""
        self._places[section_id, counter] += quantity

    def add_up(self) -> None:
        """Make the counted counters, once everything is added. Nobody claims a total: it is what the row says."""
        sums = dict.fromkeys(COUNTERS, 0)
        for section_id, stored in self.stored.items():
            if section_id == OF_THE_EVENT:
                continue
            counters = {name: self._places[section_id, name] for name in COUNTERS}
            counters["total"] = stored["total"]
            counters["blocked"] += self.buffers[section_id]
            self.counted[section_id] = counters
            if section_id not in self.deleted:
                for name in COUNTERS:
                    sums[name] += counters[name]
        self.counted[OF_THE_EVENT] = sums

    def differences(self, told: Mapping[str, Sums]) -> list[Difference]:
        """Tell where stored, counted and `told` by the journal are not all the same.

        A section that was deleted long ago is told of in the journal before where it was read from.
        """
        found: list[Difference] = []
        for section_id, stored in sorted(self.stored.items()):
            journal = told.get(section_id)
            if journal is None:
                journal = stored if section_id in self.deleted else {}
            counted = self.counted[section_id]
            for name in COUNTERS:
                parts = (stored[name], counted[name], journal.get(name, 0))
                if len(set(parts)) > 1:
                    found.append(Difference(section_id, name, *parts))
            kept, said = self.buffers.get(section_id, 0), journal.get("buffer")
            if said is not None and said != kept:
                found.append(Difference(section_id, "buffer", kept, kept, said))
        if self.live_holds != self.holds:
            found.append(Difference(OF_THE_EVENT, "live_holds", self.live_holds, self.holds, self.holds))
        return found


def seat_differences(
    section_id: str, faults: SeatFaults, labels: Sequence[str], *, told_max: int
) -> Iterable[Difference]:
    """Tell of seats: the journal counts none, so that it is said to agree with what is right."""

    def names(seats: Iterable[int]) -> tuple[str, ...]:
        return tuple(labels[seat] if seat < len(labels) else f"#{seat}" for seat in sorted(seats)[:told_max])

    if faults.bitmap:
        seats = names(indexes_of(faults.bitmap))
        yield Difference(section_id, "seats", faults.taken_count, faults.claim_count, faults.claim_count, seats)
    if faults.missing or faults.foreign:
        seats = names((*faults.missing, *faults.foreign))
        yield Difference(section_id, "claims", faults.claim_count, faults.named_count, faults.named_count, seats)
