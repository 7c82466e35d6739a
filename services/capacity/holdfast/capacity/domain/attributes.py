"""Changing what the seats of a section are, and where its best ones look at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.capacity.domain.bitmaps import indexes_of
from holdfast.capacity.domain.etags import check_etag
from holdfast.capacity.domain.holds import LIVE, HoldState
from holdfast.capacity.domain.placing import LineRequest, find_seats
from holdfast.capacity.domain.seats import seat_names
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.layouts import FocalPoint, Layout
    from holdfast.capacity.domain.seat_rows import AttributeChange
    from holdfast.capacity.domain.sections import Section

_HAD = LIVE | {HoldState.CONFIRMED}


def set_attributes(
    inventory: Inventory, section_id: str, labels: Sequence[str], change: AttributeChange, *, etag: str
) -> Section:
    """Change what seats are; the very same section if nothing changes.

    A seat that somebody has is not made a wheelchair place or a companion seat, nor stops being one: there would be
    no chair any more, or one that is in the way. Category and view only describe, and change at any time.

    Raises SECTION_NOT_FOUND, SEAT_NOT_FOUND, SEATS_TAKEN, ETAG_MISMATCH, VALIDATION_FAILED.
    """
    section = inventory.section(section_id)
    check_etag(section.etag, etag, "section")
    seats = find_seats(inventory, section, LineRequest(section_id, None, len(labels), labels=tuple(labels)))
    before = inventory.seatings[section_id].layout
    layout = before.with_attributes(seats, change)
    if layout is before:
        return section
    _check_nobody_has(
        inventory, section_id, (before.wheelchair ^ layout.wheelchair) | (before.companion ^ layout.companion)
    )
    return put_layout(inventory, section, layout)


def _check_nobody_has(inventory: Inventory, section_id: str, seats: int) -> None:
    seating = inventory.seatings[section_id]
    had = []
    for seat in indexes_of(seats & seating.taken):
        holder = seating.holder(seat)
        if holder is not None and inventory.holds.now[holder].seen(inventory.at, inventory.voids).state in _HAD:
            had.append(seating.layout.labels[seat])
    if had:
        raise DomainError(
            Reason.SEATS_TAKEN,
            "seats are held or sold as what they are: wheelchair place, companion seat, or neither",
            metadata={
                "section_id": section_id,
                "seats": seat_names(had),
                "inventory_version": str(inventory.version),
            },
        )


def focused(inventory: Inventory, section: Section, focal_point: FocalPoint | None) -> Layout | None:
    """Give the layout of a section whose best seats look elsewhere; None of a section without seats.

    Raises VALIDATION_FAILED for a focal point of such a section.
    """
    if section.seated:
        return inventory.seatings[section.section_id].layout.with_focal_point(focal_point)
    if focal_point is not None:
        raise invalid("section.focal_point", "only a section with seats has one")
    return None


def put_layout(inventory: Inventory, section: Section, layout: Layout) -> Section:
    """Give a seated section another layout of the same seats."""
    changed = replace(section, layout_revision=layout.revision, revision=section.revision + 1, update_time=inventory.at)
    inventory.seatings[section.section_id].layout = layout
    inventory.put_section(changed)
    return changed
