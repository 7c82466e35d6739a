"""Lines that leave it to the service which seats they get: first their section, then the seats.

Requests of a batch are decided one after another on the same bitmap, so what one gets the next does not see. Seats of
holds whose time is over count as free; whoever gets them has those holds ended first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.best_available import Shortage, choose
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.places import short_of_seats
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.capacity.domain.best_available import Wish
    from holdfast.capacity.domain.holds import Hold, Line
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.placing import LineRequest

_PASSED_OVER: Final = frozenset({Reason.SECTION_CLOSED, Reason.INSUFFICIENT_CAPACITY, Reason.PURCHASE_LIMIT})
"""Refusals of a section after which the next one is tried."""


def settle(
    inventory: Inventory,
    requested: tuple[LineRequest, ...],
    attempt: Callable[[tuple[LineRequest, ...]], object],
) -> tuple[LineRequest, ...]:
    """Let each line with sections to fall back on be for the first section that can give it what it asks for.

    `attempt` goes through the rules for the lines so far, and raises what refuses them. A line that no section can give
    it stays with its own. Raises VALIDATION_FAILED where a section is named twice, or a block with others.
    """
    if not any(wanted.fallbacks for wanted in requested):
        return requested
    _check_named_once(requested)
    settled: tuple[LineRequest, ...] = ()
    for wanted in requested:
        if wanted.fallbacks:
            able = (each for each in _candidates(inventory, wanted) if _can(attempt, (*settled, each)))
            settled = (*settled, next(able, wanted))
        else:
            settled = (*settled, wanted)
    return settled


def _candidates(inventory: Inventory, wanted: LineRequest) -> Iterable[LineRequest]:
    yield wanted
    date = inventory.section(wanted.section_id).schedule_id
    for fallback in wanted.fallbacks:
        yield fallback if date is None else replace(fallback, schedule_id=date)


def _can(attempt: Callable[[tuple[LineRequest, ...]], object], lines: tuple[LineRequest, ...]) -> bool:
    try:
        attempt(lines)
    except DomainError as error:
        if error.reason not in _PASSED_OVER:
            raise
        return False
    return True


def _check_named_once(requested: Sequence[LineRequest]) -> None:
    named = {wanted.section_id for wanted in requested}
    for wanted in requested:
        path = wanted.path("best_available.fallback_section_ids")
        if wanted.fallbacks and wanted.block_id is not None:
            raise invalid(path, "a block is of one section")
        for fallback in wanted.fallbacks:
            if fallback.section_id in named:
                raise invalid(path, "a section is named twice")
            named.add(fallback.section_id)


def choose_seats(
    inventory: Inventory,
    lines: tuple[Line, ...],
    requested: Sequence[LineRequest],
    *,
    back: Sequence[tuple[str, Line]] = (),
) -> tuple[Line, ...]:
    """Give lines with the seats that best available chooses for those that ask for it, one after another.

    `back` are lines whose seats come back in the same commit, each with the id of the section or block that they come
    back to. Raises INSUFFICIENT_CAPACITY, and TidyFirst when seats may be free that this commit cannot free by itself.
    """
    if all(wanted.wish is None for wanted in requested):
        return lines
    chosen = list(lines)
    for place, (line, wanted) in enumerate(zip(lines, requested, strict=True)):
        if wanted.wish is not None:
            others = [seat for other in chosen if other.section_id == line.section_id for seat in other.seats]
            chosen[place] = _with_seats(inventory, line, wanted.wish, others=mask_of(others), back=back)
    return tuple(chosen)


def _with_seats(inventory: Inventory, line: Line, wish: Wish, *, others: int, back: Sequence[tuple[str, Line]]) -> Line:
    source = line.block_id or line.section_id
    if inventory.voids or line.section_id in inventory.more_expired:
        raise TidyFirst(inventory.event_id)
    seating = inventory.seatings[line.section_id]
    layout = seating.layout
    if line.block_id is None:
        taken = seating.taken & ~seating.over
    else:
        taken = layout.all_seats & ~_seats_of_block(inventory, line.block_id)
    coming = mask_of([seat for to, given in back if to == source for seat in given.seats])
    found = choose(layout, taken=taken & ~coming | others, wish=wish)
    if isinstance(found, Shortage):
        raise short_of_seats(inventory, line, found, wheelchairs=wish.wheelchairs > 0)
    seats = found.indexes
    return replace(line, seats=seats, labels=tuple([layout.labels[seat] for seat in seats]))


def _seats_of_block(inventory: Inventory, block_id: str) -> int:
    """Give the seats that are in a block, and those that come back into it from holds whose time is over."""
    block = inventory.blocks.now[block_id]
    if block.ended:
        return 0
    seats = mask_of(block.seats)
    for hold in inventory.expired:
        if inventory.holds.now[hold.hold_id] is hold:
            seats |= mask_of([seat for line in hold.lines if line.block_id == block_id for seat in line.seats])
    return seats


def note_over(inventory: Inventory, holds: Iterable[Hold]) -> None:
    """Take note of the seats that holds whose time is over give back to sale."""
    for line in [line for hold in holds for line in hold.lines if line.seats]:
        if line.block_id is None or inventory.blocks.now[line.block_id].ended:
            inventory.seatings[line.section_id].over |= mask_of(line.seats)
