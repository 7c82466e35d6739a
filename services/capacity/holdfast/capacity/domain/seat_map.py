"""All seats of an event, kept in memory: a reading of the tables that follows the journal and the clock."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.capacity.domain.availability import microseconds, moment_of
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.seat_states import SeatClaim, SeatStates, states_at
from holdfast.capacity.domain.selling import named_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from holdfast.capacity.domain.controls import EventControls
    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.sections import Section


@dataclass(frozen=True, slots=True)
class HeldSeats:
    """Seats of one line of a hold, by their labels."""

    section_id: str
    labels: tuple[str, ...]
    block_id: str = ""


@dataclass(frozen=True, slots=True)
class HoldStep:
    """A hold after a commit. One that is not `live` any more has nothing, or what it has is sold."""

    hold_id: str
    live: bool
    pending: bool = False
    expire_us: int = 0
    seats: tuple[HeldSeats, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockStep:
    """A block after a commit, with the seats that are in it; one that ended has none."""

    block_id: str
    section_id: str
    labels: tuple[str, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class SeatStep:
    """A commit, as far as seats go.

    `revisions` are those of the sections that it touched, of deleted ones None; `taken` the seats that it took or set
    free. An `opaque` one tells too little to be followed.
    """

    version: int
    at: datetime
    controls_version: int
    revisions: Mapping[str, int | None]
    holds: tuple[HoldStep, ...] = ()
    blocks: tuple[BlockStep, ...] = ()
    taken: tuple[tuple[str, tuple[int, ...], bool], ...] = ()
    opaque: bool = False


@dataclass(slots=True)
class SectionSeats:
    """The seats of a section as the rows say: `claims` of live holds by hold, and the seats of each standing block."""

    layout: Layout
    taken: int
    claims: dict[str, list[SeatClaim]] = field(default_factory=dict)
    blocks: dict[str, int] = field(default_factory=dict)
    known: SeatStates | None = None

    def states(self, at_us: int) -> SeatStates:
        """Tell the states at a moment; moments only grow."""
        known = self.known
        if known is None or (known.next_us is not None and known.next_us <= at_us):
            claims = (claim for each in self.claims.values() for claim in each)
            known = self.known = states_at(at_us, taken=self.taken, claims=claims, blocks=self.blocks)
        return known


@dataclass(frozen=True, slots=True)
class ShownSeats:
    """A section with its seats at a moment."""

    section: Section
    layout: Layout
    states: SeatStates


@dataclass(frozen=True, slots=True)
class SeatMap:
    """Seats of sections at a moment. `version` and `clock_version` together name it: equal ones are equal maps."""

    sections: tuple[ShownSeats, ...]
    version: int
    clock_version: int
    next_change_time: datetime | None


class EventSeats:
    """An event's seats at a version, which was made at `changed_at` and was the newest at least until `at`.

    `sections` are all of the event, in the order of their creation; `seats` those of the seated ones.
    """

    def __init__(  # noqa: PLR0913 (what a reading finds)
        self,
        *,
        controls: EventControls,
        version: int,
        changed_at: datetime,
        at: datetime,
        sections: Iterable[Section],
        seats: Mapping[str, SectionSeats],
    ) -> None:
        self.controls = controls
        self.version = version
        self.at = at
        self.sections = {section.section_id: section for section in sections}
        self.seats = dict(seats)
        self._changed_us = microseconds(changed_at)
        self._places: defaultdict[str, set[str]] = defaultdict(set)
        """The sections in which a hold has seats."""
        for section_id, each in self.seats.items():
            for hold_id in each.claims:
                self._places[hold_id].add(section_id)

    def known_newest(self, at: datetime) -> None:
        """Take note that the version still was the newest at a moment."""
        self.at = max(self.at, at)

    def follow(self, step: SeatStep) -> bool:
        """Apply the next commit. False when it cannot be followed: then the tables must be read anew."""
        if step.version != self.version + 1:
            raise ValueError(f"version {step.version} does not follow {self.version}")
        if step.opaque or step.controls_version != self.controls.version:
            return False
        for section_id, revision in step.revisions.items():
            known = self.sections.get(section_id)
            if revision is None:
                self.sections.pop(section_id, None)
                self.seats.pop(section_id, None)
            elif known is None or known.revision != revision:
                return False
        for hold in step.holds:
            self._follow_hold(hold)
        for block in step.blocks:
            self._follow_block(block)
        for section_id, indexes, taken in step.taken:
            seats = self._touched(section_id)
            if seats is not None:
                mask = mask_of(indexes)
                seats.taken = seats.taken | mask if taken else seats.taken & ~mask
        self.version = step.version
        self._changed_us = microseconds(step.at)
        self.known_newest(step.at)
        return True

    def _touched(self, section_id: str) -> SectionSeats | None:
        seats = self.seats.get(section_id)
        if seats is not None:
            seats.known = None
        return seats

    def _follow_hold(self, hold: HoldStep) -> None:
        for section_id in self._places.pop(hold.hold_id, ()):
            seats = self._touched(section_id)
            if seats is not None:
                seats.claims.pop(hold.hold_id, None)
        if not hold.live:
            return
        for part in hold.seats:
            seats = self._touched(part.section_id)
            if seats is not None and part.labels:
                indexes = seats.layout.indexes(part.labels, section_id=part.section_id)
                claim = SeatClaim(hold.pending, hold.expire_us, indexes, part.block_id)
                seats.claims.setdefault(hold.hold_id, []).append(claim)
                self._places[hold.hold_id].add(part.section_id)

    def _follow_block(self, block: BlockStep) -> None:
        seats = self._touched(block.section_id)
        if seats is None:
            return
        if block.ended:
            seats.blocks.pop(block.block_id, None)
        else:
            seats.blocks[block.block_id] = mask_of(seats.layout.indexes(block.labels, section_id=block.section_id))

    def shown(self, at: datetime, *, schedule_id: str | None, hidden: bool) -> SeatMap:
        """Tell the seats at a moment: of a date's sections and the event-wide ones, or of all.

        `hidden` sections only if asked for. SCHEDULE_NOT_FOUND.
        """
        if schedule_id is not None:
            named_schedule(self.controls, schedule_id)
        at_us = microseconds(at)
        sections = [
            ShownSeats(section, self.seats[section.section_id].layout, self.seats[section.section_id].states(at_us))
            for section in self.sections.values()
            if section.section_id in self.seats
            and (hidden or section.visible)
            and (schedule_id is None or section.schedule_id in (None, schedule_id))
        ]
        changed_us = max((each.states.last_us for each in sections), default=0)
        nexts = [each.states.next_us for each in sections if each.states.next_us is not None]
        return SeatMap(
            sections=tuple(sections),
            version=self.version,
            clock_version=changed_us if changed_us > self._changed_us else 0,
            next_change_time=moment_of(min(nexts)) if nexts else None,
        )
