"""Telling whether a hold could be placed now, by the rules that place holds, on a reading that nobody waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.inventory import Inventory
from holdfast.capacity.domain.placing import PlaceRequest, place
from holdfast.capacity.domain.refusals import ENDINGS_TRIED_MAX, FAILURES, Refusal, refusal_of
from holdfast.capacity.domain.seats import Seating
from holdfast.capacity.domain.sections import Counters
from holdfast.capacity.operations.access import section_not_found
from holdfast.capacity.store import availability, seats, snapshots
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.placing import LineRequest
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class Checked:
    """Why a request would be refused, None = it would not; `seats` are what it would get, or what is free of it.

    `available` is how many places of the section are free; all of it at this version and time. The section is one to
    fall back on where only that can give what is asked.
    """

    refusal: Refusal | None
    section_id: str
    available: int
    seats: tuple[str, ...]
    version: int
    at: datetime


async def check(transaction: Transaction, wanted: LineRequest, *, hidden: bool) -> Checked:
    """Try a line in memory, on the newest commit. Raises what says that the question itself is wrong.

    `hidden` is whether the caller sees sections that buyers do not.
    """
    others = [each.section_id for each in wanted.fallbacks]
    found = await snapshots.of_section(transaction, wanted.section_id, others=others)
    views = {} if found is None else {view.section.section_id: view for view in found.views}
    for section_id in (wanted.section_id, *others):
        if section_id not in views or not (hidden or views[section_id].section.visible):
            raise section_not_found(section_id)
    if found is None:
        raise section_not_found(wanted.section_id)
    inventory = Inventory(
        organization_id=transaction.require_organization(),
        event_id=views[wanted.section_id].section.event_id,
        version=found.version,
        at=found.at,
        controls=convert.stored_controls(found.controls),
        counters=Counters(total=0),
        crossed=frozenset(),
        sections={name: replace(view.section, counters=replace(view.counters)) for name, view in views.items()},
    )
    for name, view in views.items():
        if view.layout is not None:
            ended = await seats.ended(transaction, name, found.at)
            inventory.seatings[name] = Seating(view.layout, view.taken & ~mask_of(ended))
    refusal, line, free = None, None, _free_of(inventory, wanted)
    try:
        (line,) = place(inventory, PlaceRequest("", inventory.event_id, "", "", lines=(wanted,))).lines
    except DomainError as error:
        if error.reason in FAILURES:
            raise
        endings = []
        if error.reason is Reason.INSUFFICIENT_CAPACITY:
            endings = await availability.endings(
                transaction,
                inventory.event_id,
                wanted.section_id,
                after=found.at,
                limit=wanted.quantity if wanted.wish is None else ENDINGS_TRIED_MAX,
            )
        refusal = refusal_of(inventory, wanted, error, endings=endings)
    section_id = wanted.section_id if line is None else line.section_id
    return Checked(
        refusal=refusal,
        section_id=section_id,
        available=views[section_id].counters.available,
        seats=free if line is None else line.labels,
        version=found.version,
        at=found.at,
    )


def _free_of(inventory: Inventory, wanted: LineRequest) -> tuple[str, ...]:
    """Give the labels that are asked for and free."""
    seating = inventory.seatings.get(wanted.section_id)
    if seating is None:
        return ()
    indexes = ((label, seating.layout.index_of(label)) for label in wanted.labels)
    return tuple(label for label, index in indexes if index is not None and not seating.taken >> index & 1)
