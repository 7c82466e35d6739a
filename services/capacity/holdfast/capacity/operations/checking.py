"""Telling whether a hold could be placed now, by the rules that place holds, on a reading that nobody waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.inventory import Inventory
from holdfast.capacity.domain.placing import PlaceRequest, place
from holdfast.capacity.domain.refusals import FAILURES, Refusal, refusal_of
from holdfast.capacity.domain.seats import Seating
from holdfast.capacity.operations.access import section_not_found
from holdfast.capacity.store import availability, seats, snapshots
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.placing import LineRequest
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class Checked:
    """Why a request would be refused, None = it would not; how many places are free, at which version and time."""

    refusal: Refusal | None
    available: int
    version: int
    at: datetime


async def check(transaction: Transaction, wanted: LineRequest, *, hidden: bool) -> Checked:
    """Try a line in memory, on the newest commit. Raises what says that the question itself is wrong.

    `hidden` is whether the caller sees sections that buyers do not.
    """
    found = await snapshots.of_section(transaction, wanted.section_id)
    if found is None or not (hidden or found.views[0].section.visible):
        raise section_not_found(wanted.section_id)
    view = found.views[0]
    counters = view.counters
    free = counters.available
    section = replace(view.section, counters=counters)
    inventory = Inventory(
        organization_id=transaction.require_organization(),
        event_id=section.event_id,
        version=found.version,
        at=found.at,
        controls=convert.stored_controls(found.controls),
        counters=replace(counters),
        crossed=frozenset(),
        sections={section.section_id: section},
    )
    if view.layout is not None:
        ended = await seats.ended(transaction, section.section_id, found.at)
        inventory.seatings[section.section_id] = Seating(view.layout, view.taken & ~mask_of(ended))
    refusal = None
    try:
        place(inventory, PlaceRequest("", section.event_id, "", "", lines=(wanted,)))
    except DomainError as error:
        if error.reason in FAILURES:
            raise
        endings = []
        if error.reason is Reason.INSUFFICIENT_CAPACITY:
            endings = await availability.endings(
                transaction, section.event_id, section.section_id, after=found.at, limit=wanted.quantity
            )
        refusal = refusal_of(inventory, wanted, error, endings=endings)
    return Checked(refusal, free, found.version, found.at)
