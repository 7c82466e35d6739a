"""Taking places out of sale and giving them back: blocks, and the buffer of a section."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.blocks import Act, Block, BlockKind
from holdfast.capacity.domain.etags import check_etag
from holdfast.capacity.domain.holds import Line
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.places import check_places
from holdfast.capacity.domain.placing import LineRequest, find_seats
from holdfast.capacity.domain.seats import seat_names
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sections import Section

BLOCKS_MAX: Final = 500
"""The most blocks that end with their section: one commit tells them all."""


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Places to block: `quantity` any ones, or the seats of `labels`. `block_id` is made before the first attempt."""

    block_id: str
    section_id: str
    kind: BlockKind
    quantity: int
    act: Act
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnblockRequest:
    """Places to give back: `quantity` any ones, the seats of `labels`, or, with neither, all that are left."""

    block_id: str
    act: Act
    quantity: int | None = None
    labels: tuple[str, ...] = ()
    etag: str = ""


def block(inventory: Inventory, request: BlockRequest) -> Block:
    """Take free places out of sale.

    Raises SECTION_NOT_FOUND, SEAT_NOT_FOUND, SEATS_TAKEN, INSUFFICIENT_CAPACITY, VALIDATION_FAILED, TidyFirst.
    """
    section = inventory.section(request.section_id)
    seats: tuple[int, ...] = ()
    if section.seated or request.labels:
        seats = find_seats(
            inventory, section, LineRequest(section.section_id, None, request.quantity, labels=request.labels)
        )
    line = Line(1, section.section_id, None, request.quantity, seats=seats, labels=request.labels)
    check_places(inventory, (line,))
    ordered = sorted(zip(seats, request.labels, strict=True))
    made = Block(
        block_id=request.block_id,
        event_id=inventory.event_id,
        section_id=section.section_id,
        kind=request.kind,
        quantity=request.quantity,
        initial_quantity=request.quantity,
        note=request.act.note,
        actor=request.act.actor,
        create_time=inventory.at,
        update_time=inventory.at,
        seats=tuple(seat for seat, _ in ordered),
        labels=tuple(label for _, label in ordered),
    )
    inventory.make_block(made, request.act)
    return made


def unblock(inventory: Inventory, before: Block, request: UnblockRequest) -> Block:
    """Give places of a block back to sale; all that are left end it. What has ended stays as it is.

    Raises LINE_EXCEEDED, ETAG_MISMATCH, VALIDATION_FAILED, TidyFirst.
    """
    check_etag(before.etag, request.etag, "block")
    if before.ended:
        return before
    seated = inventory.sections[before.section_id].seated
    if request.quantity is not None and seated:
        raise invalid("quantity", "the section has seats: name them")
    if request.labels and not seated:
        raise invalid("seats", "the section has no seats: say how many places")
    # What expired holds have of the block is in it again.
    inventory.reclaim_block(before.block_id, before.initial_quantity)
    now = inventory.blocks.now[before.block_id]
    seats = _seats_to_free(inventory, now, request)
    quantity = len(seats) if seated else request.quantity
    if quantity is None:
        quantity = now.quantity
    elif quantity > now.quantity:
        raise _exceeded(inventory, now)
    return _give_back(inventory, now, quantity, seats, request.act)


def _give_back(inventory: Inventory, before: Block, quantity: int, seats: tuple[int, ...], act: Act) -> Block:
    left = before.less(quantity, seats)
    if not left.quantity:
        left = replace(left, end_time=inventory.at)
    inventory.move(before.section_id, blocked=-quantity)
    if seats:
        inventory.seatings[before.section_id].free(seats)
    inventory.put_block(before, left)
    inventory.block_acts[before.block_id] = act
    return inventory.blocks.now[before.block_id]


def _seats_to_free(inventory: Inventory, now: Block, request: UnblockRequest) -> tuple[int, ...]:
    if not request.labels:
        return now.seats if request.quantity is None else ()
    index_of = dict(zip(now.labels, now.seats, strict=True))
    outside = [label for label in request.labels if label not in index_of]
    if outside:
        raise _exceeded(inventory, now, outside)
    return tuple(index_of[label] for label in request.labels)


def _exceeded(inventory: Inventory, now: Block, outside: Sequence[str] = ()) -> Exception:
    """Give the error of asking for more than is in a block, or what to do before that is known."""
    if inventory.untidied_block(now.block_id):
        return TidyFirst(inventory.event_id)
    metadata = {"block_id": now.block_id, "remaining": str(now.quantity)}
    if outside:
        metadata["seats"] = seat_names(outside)
    return DomainError(Reason.LINE_EXCEEDED, "the block has fewer places left, or other seats", metadata=metadata)


def set_buffer(inventory: Inventory, section_id: str, quantity: int, *, etag: str) -> Section:
    """Keep so many places of a section back, in the place of those before.

    Raises SECTION_NOT_FOUND, INSUFFICIENT_CAPACITY, ETAG_MISMATCH, TidyFirst.
    """
    section = inventory.section(section_id)
    check_etag(section.etag, etag, "section")
    more = quantity - section.counters.buffer
    if more == 0:
        return section
    if more > 0:
        check_places(inventory, (Line(1, section_id, None, more),))
    counters = replace(section.counters, blocked=section.counters.blocked + more, buffer=quantity)
    changed = replace(section, counters=counters, revision=section.revision + 1, update_time=inventory.at)
    inventory.put_section(changed)
    return changed


def delete(inventory: Inventory, section: Section, *, etag: str, act: Act) -> None:
    """Delete a section of which nothing is held, pending or sold; its blocks end. A deleted one stays as it is.

    Raises TICKETS_SOLD, ETAG_MISMATCH, VALIDATION_FAILED, TidyFirst.
    """
    if section.deleted:
        return
    check_etag(section.etag, etag, "section")
    inventory.reclaim(section.section_id, section.counters.total)
    counters = section.counters
    claimed = counters.held + counters.pending
    if claimed and not counters.sold and inventory.untidied(section.section_id):
        raise TidyFirst(inventory.event_id)
    if claimed or counters.sold:
        raise DomainError(
            Reason.TICKETS_SOLD,
            "places of the section are held or sold",
            metadata={"sold": str(counters.sold), "held": str(counters.held), "pending": str(counters.pending)},
        )
    standing = [
        each for each in inventory.blocks.now.values() if each.section_id == section.section_id and not each.ended
    ]
    if len(standing) > BLOCKS_MAX:
        raise invalid("section_id", f"more than {BLOCKS_MAX} blocks stand in the section: unblock some first")
    for each in standing:
        _give_back(inventory, each, each.quantity, each.seats, act)
    inventory.delete_section(section)
