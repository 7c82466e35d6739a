"""Telling whether a hold could be placed now, by the rules that place holds, on a reading that nobody waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.inventory import Inventory
from holdfast.capacity.domain.placing import PlaceRequest, place
from holdfast.capacity.domain.refusals import ENDINGS_TRIED_MAX, FAILURES, refusal_of
from holdfast.capacity.domain.seats import Seating
from holdfast.capacity.domain.sections import Counters
from holdfast.capacity.operations.access import section_not_found
from holdfast.capacity.operations.layouts import with_layouts
from holdfast.capacity.store import availability, blocks, customers, seats, snapshots
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.placing import LineRequest
    from holdfast.capacity.domain.refusals import Ending, Keeper, Refusal
    from holdfast.capacity.engine.layouts import Layouts
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class Question:
    """A line that somebody may want to hold, for a `customer_id`; empty = what customers have is not looked at.

    `hidden` is whether the caller sees sections that buyers do not. `refused` is what pricing said of its price tier.
    """

    wanted: LineRequest
    hidden: bool
    customer_id: str = ""
    refused: DomainError | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """Why a request would be refused, None = it would not; `seats` are what it would get, or what is free of it.

    `available` is how many places of the section are free, `claimed` how many of the event the customer has; all of it
    at this version and time. The section is one to fall back on where only that can give what is asked.
    """

    refusal: Refusal | None
    section_id: str
    available: int
    claimed: int
    seats: tuple[str, ...]
    version: int
    at: datetime


async def check(transaction: Transaction, question: Question, *, layouts: Layouts) -> Checked:
    """Try a line in memory, on the newest commit. Raises what says that the question itself is wrong.

    Raises OtherDateError as placing does. The transaction is a snapshot.
    """
    wanted, customer_id = question.wanted, question.customer_id
    inventory = await _inventory(transaction, question, layouts)
    claimed = {}
    if customer_id:
        claimed = await customers.tickets(transaction, inventory.event_id, customer_id, at=inventory.at)
        inventory.claimed = {(customer_id, tier): quantity for tier, quantity in claimed.items()}
    refusal, line, free = None, None, _free_of(inventory, wanted)
    counts = {section_id: section.counters.available for section_id, section in inventory.sections.items()}
    try:
        if question.refused is not None:
            raise question.refused
        request = PlaceRequest("", inventory.event_id, customer_id, customer_id, lines=(wanted,))
        (line,) = place(inventory, request).lines
    except DomainError as error:
        if error.reason in FAILURES:
            raise
        refusal = await _refusal(transaction, inventory, question, error)
    section_id = wanted.section_id if line is None else line.section_id
    return Checked(
        refusal=refusal,
        section_id=section_id,
        available=counts[section_id],
        claimed=sum(claimed.values()),
        seats=free if line is None else line.labels,
        version=inventory.version,
        at=inventory.at,
    )


async def _inventory(transaction: Transaction, question: Question, layouts: Layouts) -> Inventory:
    """Read what a line is judged by, as callers see it: what ended is free already, or back in its block."""
    wanted = question.wanted
    others = [each.section_id for each in wanted.fallbacks]
    found = await snapshots.of_section(transaction, wanted.section_id, others=others)
    if found is not None:
        found = await with_layouts(transaction, layouts, found)
    views = {} if found is None else {view.section.section_id: view for view in found.views}
    for section_id in (wanted.section_id, *others):
        if section_id not in views or not (question.hidden or views[section_id].section.visible):
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
    if wanted.block_id is not None:
        block = await blocks.get(transaction, inventory.event_id, wanted.block_id)
        if block is not None:
            inventory.blocks.load(block.block_id, block)
    return inventory


async def _refusal(transaction: Transaction, inventory: Inventory, question: Question, error: DomainError) -> Refusal:
    """Find out what would change a refusal."""
    wanted = question.wanted
    endings: list[Ending] = []
    keepers: list[Keeper] = []
    if error.reason is Reason.INSUFFICIENT_CAPACITY:
        endings = await availability.endings(
            transaction,
            inventory.event_id,
            wanted.section_id,
            block_id=wanted.block_id,
            after=inventory.at,
            limit=wanted.quantity if wanted.wish is None else ENDINGS_TRIED_MAX,
        )
    elif error.reason is Reason.SEATS_TAKEN and wanted.block_id is None:
        seating = inventory.seatings[wanted.section_id]
        indexes = seating.layout.indexes(wanted.labels, section_id=wanted.section_id)
        taken = [index for index in indexes if seating.taken >> index & 1]
        keepers = await seats.keepers(transaction, wanted.section_id, taken)
    elif error.reason is Reason.PURCHASE_LIMIT and "current" in error.metadata:
        endings = await customers.endings(
            transaction,
            inventory.event_id,
            question.customer_id,
            error.metadata["price_tier_id"],
            after=inventory.at,
            limit=wanted.quantity,
        )
    return refusal_of(inventory, wanted, error, endings=endings, keepers=keepers)


def _free_of(inventory: Inventory, wanted: LineRequest) -> tuple[str, ...]:
    """Give the labels that are asked for and free."""
    seating = inventory.seatings.get(wanted.section_id)
    if seating is None:
        return ()
    indexes = ((label, seating.layout.index_of(label)) for label in wanted.labels)
    return tuple(label for label, index in indexes if index is not None and not seating.taken >> index & 1)
