"""Lines that come to a hold or a sale that has others: which they are, and which places they need beyond those."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.placing import check_distinct, check_seat_count, resolve_lines
from holdfast.capacity.domain.selling import check_event
from holdfast.common.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.capacity.domain.holds import Line
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.placing import LineRequest

LINES_MAX: Final = 50
LINE_NUMBER_MAX: Final = 10_000
"""Numbers of lines that are given back are not given again while later ones are there; this bounds them."""


class OtherPriceError(Exception):
    """The price of something was asked for as it was before; it changed in the meantime."""


def further_lines(
    inventory: Inventory, lines: Sequence[Line], added: Sequence[LineRequest], *, field: str
) -> tuple[Line, ...]:
    """Say which places are added to lines that are there, as placing does, with the next numbers.

    Raises what placing does for the event, the dates, the sections and the seats.
    """
    check_event(inventory.controls, inventory.at)
    first = max(line.number for line in lines) + 1
    if first + len(added) - 1 > LINE_NUMBER_MAX:
        raise invalid(field, "there have been too many lines")
    taken = resolve_lines(inventory, added, first_number=first)
    check_distinct(taken, added)
    return taken


def check_size(inventory: Inventory, lines: Sequence[Line], *, field: str) -> None:
    """Raise VALIDATION_FAILED when lines, or their seats, are more than one hold may have."""
    if len(lines) > LINES_MAX:
        raise invalid(field, f"there may be at most {LINES_MAX} lines")
    check_seat_count(inventory, lines, field=field)


def beyond(taken: Sequence[Line], given: Iterable[tuple[str, Line]]) -> list[Line]:
    """Give the places that are taken beyond those that are given back to the same section or block, named by its id."""
    quantities: defaultdict[str, int] = defaultdict(int)
    seats: defaultdict[str, set[int]] = defaultdict(set)
    for back, line in given:
        quantities[back] += line.quantity
        seats[back].update(line.seats)
    more = []
    for line in taken:
        source = line.block_id or line.section_id
        quantity = max(line.quantity - quantities[source], 0)
        quantities[source] -= line.quantity - quantity
        other = tuple(seat for seat in line.seats if seat not in seats[source])
        if quantity or other:
            more.append(replace(line, quantity=quantity, seats=other, labels=line.labels_of(other)))
    return more
