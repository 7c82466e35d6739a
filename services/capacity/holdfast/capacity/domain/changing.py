"""Changing what a hold claims: parts of lines are given back and lines are added, in one commit or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.capacity.domain.adding import OtherPriceError, beyond, check_size, further_lines
from holdfast.capacity.domain.checks import check_active, check_etag
from holdfast.capacity.domain.choosing import choose_seats, settle
from holdfast.capacity.domain.parts import find_parts
from holdfast.capacity.domain.places import check_places, wanted_places
from holdfast.capacity.domain.placing import check_lock, check_order_sizes, check_tier_limits
from holdfast.common.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.capacity.domain.holds import Hold, Line, LinePrice
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.parts import Part, PartRequest
    from holdfast.capacity.domain.placing import LineRequest


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Parts to give back and lines to add.

    `prices` are what places that are left of a line cost, by the line's price so far and their number.
    """

    given: tuple[PartRequest, ...]
    added: tuple[LineRequest, ...]
    prices: Mapping[tuple[LinePrice, int], LinePrice]
    etag: str = ""


def change(inventory: Inventory, hold: Hold, request: ChangeRequest) -> Hold:
    """Let a hold claim something else, or raise the DomainError that says why not.

    Raises TidyFirst as placing does, and OtherPriceError or OtherDateError when its prices must be asked for again.
    """
    seen = hold.seen(inventory.at, inventory.voids)
    check_active(seen)
    check_etag(seen, request.etag)
    added = settle(inventory, request.added, lambda lines: _claimable(inventory, hold, replace(request, added=lines)))
    left, given, taken = _claimable(inventory, hold, replace(request, added=added))
    return inventory.reline(hold, (*left, *taken), given=given, taken=taken)


def _claimable(
    inventory: Inventory, hold: Hold, request: ChangeRequest
) -> tuple[tuple[Line, ...], list[Line], tuple[Line, ...]]:
    """Go through the rules that are about lines; give those that are left, what goes, and what comes."""
    parts = {line.number: part for line, part in find_parts(hold.lines, request.given, gone={})}
    kept = tuple(_without(line, parts.get(line.number), request.prices) for line in hold.lines)
    left = tuple(line for line in kept if line.quantity)
    given = [_given(line, now, parts[line.number]) for line, now in zip(hold.lines, kept, strict=True) if now != line]
    taken = further_lines(inventory, hold.lines, request.added, field="add_lines") if request.added else ()
    for wanted in request.added:
        check_lock(inventory, wanted)
    lines = (*left, *taken)
    if not lines:
        raise invalid("release_lines", "would leave the hold without a line: release it")
    check_size(inventory, lines, field="add_lines")
    _check_limits(inventory, hold, request, left=left, lines=lines)
    back = [(_back(inventory, line), line) for line in given]
    taken = choose_seats(inventory, taken, request.added, back=back)
    check_places(inventory, beyond(taken, back))
    return left, given, taken


def shrunk(hold: Hold, given: Sequence[PartRequest]) -> list[tuple[Line, int]]:
    """Tell of which lines something is left at another price, and how much. Parts that cannot be given are left out."""
    by_number = {line.number: line for line in hold.lines}
    found = []
    for part in given:
        line = by_number.get(part.number)
        if line is not None and line.price is not None:
            left = line.quantity - (len(part.labels) or part.quantity or line.quantity)
            if left > 0:
                found.append((line, left))
    return found


def _without(line: Line, part: Part | None, prices: Mapping[tuple[LinePrice, int], LinePrice]) -> Line:
    """Give what is left of a line; nothing, at no price, when all of it goes."""
    if part is None:
        return line
    left = line.quantity - part.quantity
    price = None
    if line.price is not None and left:
        price = prices.get((line.price, left))
        if price is None:
            raise OtherPriceError
    gone = set(part.seats)
    seats = tuple(seat for seat in line.seats if seat not in gone)
    return replace(line, quantity=left, seats=seats, labels=line.labels_of(seats), price=price)


def _given(line: Line, now: Line, part: Part) -> Line:
    """Give the part of a line that goes, with what the line's price falls by."""
    price = line.price
    if price is not None and now.price is not None:
        price = replace(price, total=price.total - now.price.total)
    return replace(line, quantity=part.quantity, seats=part.seats, labels=line.labels_of(part.seats), price=price)


def _check_limits(
    inventory: Inventory, hold: Hold, request: ChangeRequest, *, left: Sequence[Line], lines: Sequence[Line]
) -> None:
    """Raise PURCHASE_LIMIT for the hold as it will be: of the sections whose places change, and the tiers of now."""
    before = wanted_places(hold.lines)
    places = wanted_places(lines)
    check_order_sizes(inventory, {each: places[each] for each in places if places[each] != before.get(each)})
    check_tier_limits(inventory, hold.customer_id, request.added, before=hold.lines, kept=left)


def _back(inventory: Inventory, line: Line) -> str:
    """Give the id of the section, or of the block, that a line's places go back to."""
    block = None if line.block_id is None else inventory.blocks.now[line.block_id]
    return line.section_id if block is None or block.ended else block.block_id
