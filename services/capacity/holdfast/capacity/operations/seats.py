"""Reading seats one by one. The transaction must be a snapshot: several queries have to agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.availability import microseconds
from holdfast.capacity.domain.bitmaps import first_bits, indexes_of
from holdfast.capacity.domain.listed_seats import NOBODY, ListedSeat, SeatState, in_states, seats_of_row
from holdfast.capacity.domain.seat_states import states_at
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.store import inventories, seat_map, seats, sections
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.listed_seats import SeatHolder
    from holdfast.capacity.domain.sections import Section
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class NamedSection:
    """A section by its id, or by event, name and number; `schedule_id` where sections of several dates are named so."""

    section_id: str | None = None
    event_id: str = ""
    name: str = ""
    subsection: int = 0
    schedule_id: str | None = None

    @property
    def not_found(self) -> DomainError:
        """The error of a section that is not there for the caller, or has no seats."""
        named = {"event_id": self.event_id, "section_name": self.name, "subsection": str(self.subsection)}
        metadata = {"section_id": self.section_id} if self.section_id else named
        return DomainError(Reason.SECTION_NOT_FOUND, "there is no such section with seats", metadata=metadata)


@dataclass(frozen=True, slots=True)
class SeatQuery:
    """Which seats a page shows: in some states, () = any; of a row, '' = any; after an index of the layout."""

    section: NamedSection
    states: tuple[SeatState, ...]
    row: str
    after: int
    limit: int
    with_total: bool
    hidden: bool


@dataclass(frozen=True, slots=True)
class SeatPage:
    """Seats by index, in the order of the layout. `more` is whether others follow, `total` how many there are."""

    section: Section
    seats: dict[int, ListedSeat]
    more: bool
    total: int | None
    version: int
    at: datetime


async def list_seats(transaction: Transaction, *, layouts: Layouts, query: SeatQuery) -> SeatPage:
    """Read a page of a section's seats. Raises SECTION_NOT_FOUND, EVENT_NOT_FOUND."""
    section = await _find(transaction, query.section)
    if section is None or not section.seated or not (query.hidden or section.visible):
        raise query.section.not_found
    inventory = await inventories.read(transaction, section.event_id)
    if inventory is None:
        raise event_not_found(section.event_id)
    section_id = section.section_id
    layout = (await layouts.read(transaction, {section_id: section.layout_revision}))[section_id]
    wanted = seats_of_row(layout, query.row) if query.row else layout.all_seats
    if query.states:
        rows = await seat_map.of_section(transaction, section)
        found = states_at(
            microseconds(inventory.at),
            taken=rows.taken[section_id],
            claims=[claim for claims in rows.claims.get(section_id, {}).values() for claim in claims],
            blocks=rows.blocks.get(section_id, {}),
        )
        wanted &= in_states(layout, found, query.states)
    left = indexes_of(wanted & ~first_bits(query.after + 1))
    chosen = left[: query.limit]
    holders = await seats.holders(transaction, section_id, chosen, inventory.at)
    return SeatPage(
        section=section,
        seats={index: _listed(layout, index, holders.get(index, NOBODY)) for index in chosen},
        more=len(left) > len(chosen),
        total=wanted.bit_count() if query.with_total else None,
        version=inventory.version,
        at=inventory.at,
    )


def _listed(layout: Layout, index: int, holder: SeatHolder) -> ListedSeat:
    row, seat = layout.seat_at(index)
    return ListedSeat(row.label, seat.label, seat.attributes, holder)


async def _find(transaction: Transaction, named: NamedSection) -> Section | None:
    if named.section_id is not None:
        return await sections.get(transaction, named.section_id)
    if await inventories.read(transaction, named.event_id) is None:
        raise event_not_found(named.event_id)
    # A section that is not split is its own number 1.
    numbers = [named.subsection, None] if named.subsection == 1 else [named.subsection]
    found = await sections.by_name(transaction, named.event_id, named.name)
    for number in numbers:
        of_number = [section for section in found if section.subsection == number]
        if named.schedule_id is not None:
            of_number = [section for section in of_number if section.schedule_id == named.schedule_id]
        everywhere = [section for section in of_number if section.schedule_id is None]
        if everywhere or len(of_number) == 1:
            return (everywhere or of_number)[0]
        if of_number:
            raise invalid("schedule_id", "sections of several dates have this name: say which date")
    return None
