"""What somebody who follows an event is told from one step to the next: figures and seats that differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.capacity.domain.bitmaps import mask_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from holdfast.capacity.domain.availability import Availability, SectionAvailability
    from holdfast.capacity.domain.seat_map import SeatMap


@dataclass(frozen=True, slots=True)
class View:
    """An event as a follower sees it at a moment `at`; its version was the newest at least until `newest_at`.

    `seats` are those of the seated sections, None = not asked for; `claimed` the bitmaps of seats that somebody has by
    the rows, also if that is over.
    """

    availability: Availability
    at: datetime
    newest_at: datetime
    seats: SeatMap | None = None
    claimed: Mapping[str, int] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The inventory version that it shows."""
        return self.availability.version

    @property
    def name(self) -> tuple[int, int, int]:
        """Equal names are equal views of the same follower."""
        return self.version, self.availability.clock_version, 0 if self.seats is None else self.seats.clock_version

    @property
    def next_change_time(self) -> datetime | None:
        """When the clock alone changes something; None = never."""
        upcoming = [self.availability.next_change_time, None if self.seats is None else self.seats.next_change_time]
        return min((each for each in upcoming if each is not None), default=None)


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed after a version: sections as they are now, sections that are gone, seats that are taken or free."""

    after_version: int
    sections: tuple[SectionAvailability, ...]
    gone: tuple[str, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)
    freed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """A step that a follower is told: the view as it is now, or only what of it changed."""

    view: View
    delta: Delta | None


@dataclass(frozen=True, slots=True)
class Touched:
    """What commits touched: sections with their date, and seats by section.

    `seats` are bitmaps of those that were taken or set free by the rows. `labels` name those that somebody got, also if
    they were taken by the rows before, by a hold whose time was over. `opaque` commits touched more than they tell.
    """

    sections: Mapping[str, str | None]
    seats: Mapping[str, int]
    labels: Mapping[str, Collection[str]] = field(default_factory=dict)
    opaque: bool = False


def changed(before: View, now: View) -> Delta:
    """Tell what differs between two views of the same follower."""
    known = {each.section.section_id: _shown(each) for each in before.availability.sections}
    there = {each.section.section_id for each in now.availability.sections}
    were, are = _taken(before), _taken(now)
    flips = {section_id: taken ^ were.get(section_id, 0) for section_id, taken in are.items()}
    return Delta(
        after_version=before.version,
        sections=tuple(
            each for each in now.availability.sections if known.get(each.section.section_id) != _shown(each)
        ),
        gone=tuple(section_id for section_id in known if section_id not in there),
        taken=_some((section_id, flips[section_id] & taken) for section_id, taken in are.items()),
        freed=_some((section_id, flips[section_id] & ~taken) for section_id, taken in are.items()),
    )


def changed_since(after_version: int, touched: Touched, now: View, *, schedule_id: str | None) -> Delta | None:
    """Tell what may differ from what a follower knew after a version, by what later commits touched, and the clock.

    None when that does not tell all: a touched section is not among those that the follower sees, and may have been.
    """
    sections = {each.section.section_id: each for each in now.availability.sections}
    if touched.opaque or any(
        section_id not in sections and (schedule_id is None or date in (None, schedule_id))
        for section_id, date in touched.sections.items()
    ):
        return None
    taken, freed = {}, {}
    for each in () if now.seats is None else now.seats.sections:
        section_id, are = each.section.section_id, each.states.taken
        labels = touched.labels.get(section_id, ())
        mask = touched.seats.get(section_id, 0) | mask_of(each.layout.indexes(tuple(labels), section_id=section_id))
        # What ended without a commit may have been seen as it was, however long ago that is.
        mask |= now.claimed[section_id] & ~are
        taken[section_id], freed[section_id] = mask & are, mask & ~are
    return Delta(
        after_version=after_version,
        sections=tuple(
            each
            for section_id, each in sections.items()
            if section_id in touched.sections or each.counters != each.section.counters
        ),
        taken=_some(taken.items()),
        freed=_some(freed.items()),
    )


def _shown(each: SectionAvailability) -> tuple[object, ...]:
    """Give all that a follower sees of a section."""
    section, counters = each.section, each.counters
    return (
        section.name,
        section.active,
        counters.total,
        counters.held,
        counters.pending,
        counters.sold,
        counters.blocked,
    )


def _taken(view: View) -> dict[str, int]:
    if view.seats is None:
        return {}
    return {each.section.section_id: each.states.taken for each in view.seats.sections}


def _some(masks: Iterable[tuple[str, int]]) -> dict[str, int]:
    return {section_id: mask for section_id, mask in masks if mask}
