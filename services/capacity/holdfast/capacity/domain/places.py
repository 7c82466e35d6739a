"""Whether the places of lines are free, after reclaiming those of holds whose time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.seats import seat_names
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.capacity.domain.best_available import Shortage
    from holdfast.capacity.domain.holds import Line
    from holdfast.capacity.domain.inventory import Inventory


def wanted_places(lines: Iterable[Line]) -> dict[str, int]:
    """Add up the places of lines by section."""
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.section_id] = sums.get(line.section_id, 0) + line.quantity
    return sums


def check_places(inventory: Inventory, lines: Sequence[Line]) -> None:
    """Raise INSUFFICIENT_CAPACITY or SEATS_TAKEN unless the places of lines are free, after reclaiming what expired."""
    open_places: dict[str, int] = {}
    for line in lines:
        if line.block_id is not None:
            _check_block_places(inventory, line)
        else:
            open_places[line.section_id] = open_places.get(line.section_id, 0) + line.quantity
            if line.seats:
                _check_seats(inventory, line)
    for section_id, quantity in open_places.items():
        counters = inventory.sections[section_id].counters
        if counters.available < quantity:
            _check_short(inventory, section_id, quantity)


def _check_short(inventory: Inventory, section_id: str, quantity: int) -> None:
    inventory.reclaim(section_id, quantity)
    available = inventory.sections[section_id].counters.available
    if available >= quantity:
        return
    if inventory.untidied(section_id):
        raise TidyFirst(inventory.event_id)
    raise DomainError(
        Reason.INSUFFICIENT_CAPACITY,
        "fewer places are free than asked for",
        metadata=_what_there_is(inventory, section_id, available),
    )


def _what_there_is(inventory: Inventory, section_id: str, available: int) -> dict[str, str]:
    metadata = {
        "section_id": section_id,
        "available": str(available),
        "inventory_version": str(inventory.version),
    }
    next_time = inventory.next_expire_times.get(section_id)
    if inventory.sections[section_id].seated:
        inventory.untold.add(section_id)
    elif next_time is not None:
        metadata["next_change_time"] = instant(next_time)
    return metadata


def short_of_seats(inventory: Inventory, line: Line, found: Shortage, *, wheelchairs: bool) -> DomainError:
    """Give the error of a line that best available finds no seats for. Raises TidyFirst.

    What is over is reclaimed first, so that what is told to be available is.
    """
    section_id, block_id = line.section_id, line.block_id
    if block_id is None:
        inventory.reclaim(section_id, inventory.sections[section_id].counters.total)
        untidied = inventory.untidied(section_id)
        metadata = _what_there_is(inventory, section_id, inventory.sections[section_id].counters.available)
    else:
        inventory.reclaim_block(block_id, inventory.blocks.now[block_id].initial_quantity)
        untidied = inventory.untidied_block(block_id)
        metadata = _what_is_in(inventory, block_id)
    if untidied:
        raise TidyFirst(inventory.event_id)
    metadata["adjacent"] = str(found.adjacent_max)
    if wheelchairs:
        metadata["wheelchairs"] = str(found.wheelchairs_free)
    return DomainError(
        Reason.INSUFFICIENT_CAPACITY, "fewer seats are free side by side than asked for", metadata=metadata
    )


def _check_seats(inventory: Inventory, line: Line) -> None:
    seating = inventory.seatings[line.section_id]
    wanted = mask_of(line.seats)
    if seating.taken & wanted:
        inventory.reclaim_seats(line.section_id, wanted)
        taken = seating.taken & wanted
        if taken:
            if inventory.untidied_seats(line.section_id, taken):
                raise TidyFirst(inventory.event_id)
            raise _seats_taken(inventory, line, taken)


def _seats_taken(inventory: Inventory, line: Line, taken: int) -> DomainError:
    names = [label for seat, label in zip(line.seats, line.labels, strict=True) if taken >> seat & 1]
    return DomainError(
        Reason.SEATS_TAKEN,
        "seats are taken",
        metadata={
            "section_id": line.section_id,
            "seats": seat_names(names),
            "available": str(inventory.sections[line.section_id].counters.available),
            "inventory_version": str(inventory.version),
        },
    )


def _check_block_places(inventory: Inventory, line: Line) -> None:
    block_id = line.block_id or ""
    if line.seats:
        outside = _seats_outside(inventory, line)
        if outside:
            inventory.reclaim_seats(line.section_id, outside)
            outside = _seats_outside(inventory, line)
        if outside:
            if inventory.untidied_seats(line.section_id, outside):
                raise TidyFirst(inventory.event_id)
            raise _seats_taken(inventory, line, outside)
    else:
        inventory.reclaim_block(block_id, line.quantity)
    block = inventory.blocks.now[block_id]
    if block.ended or block.quantity < line.quantity:
        if not block.ended and inventory.untidied_block(block_id):
            raise TidyFirst(inventory.event_id)
        raise DomainError(
            Reason.INSUFFICIENT_CAPACITY,
            "fewer places are left in the block than asked for",
            metadata=_what_is_in(inventory, block_id),
        )


def _what_is_in(inventory: Inventory, block_id: str) -> dict[str, str]:
    block = inventory.blocks.now[block_id]
    return {
        "section_id": block.section_id,
        "block_id": block_id,
        "available": "0" if block.ended else str(block.quantity),
        "inventory_version": str(inventory.version),
    }


def _seats_outside(inventory: Inventory, line: Line) -> int:
    """Give the seats of a line that are not in its block, as a bitmap."""
    return mask_of(line.seats) & ~mask_of(inventory.blocks.now[line.block_id or ""].seats)
