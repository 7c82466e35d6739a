"""Seats one by one, each with who has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.capacity.domain.bitmaps import first_bits

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from holdfast.capacity.domain.layouts import Layout
    from holdfast.capacity.domain.seat_rows import SeatAttributes
    from holdfast.capacity.domain.seat_states import SeatStates


class SeatState(StrEnum):
    """Who may have a seat."""

    AVAILABLE = "AVAILABLE"
    HELD = "HELD"
    PENDING = "PENDING"
    SOLD = "SOLD"
    BLOCKED = "BLOCKED"


@dataclass(frozen=True, slots=True)
class SeatHolder:
    """Who has a seat at a moment: nobody, a hold, a sale or a block. `locked_price` is that of the line it is in."""

    state: SeatState = SeatState.AVAILABLE
    customer_id: str | None = None
    hold_id: str | None = None
    sale_id: str | None = None
    block_id: str | None = None
    hold_time: datetime | None = None
    expire_time: datetime | None = None
    sale_time: datetime | None = None
    locked_price: bytes | None = None


NOBODY = SeatHolder()


@dataclass(frozen=True, slots=True)
class ListedSeat:
    """A seat: its row's label, its own in the row, what it is, and who has it."""

    row: str
    label: str
    attributes: SeatAttributes
    holder: SeatHolder


def seats_of_row(layout: Layout, label: str) -> int:
    """Give the set of a row's seats; the empty one if there is no row of this label."""
    for row, start in zip(layout.rows, layout.row_starts, strict=False):
        if row.label == label:
            return first_bits(row.size) << start
    return 0


def in_states(layout: Layout, states: SeatStates, wanted: Collection[SeatState]) -> int:
    """Give the set of the seats that are in one of some states."""
    sets = {
        SeatState.AVAILABLE: layout.all_seats & ~states.taken,
        SeatState.HELD: states.held,
        SeatState.PENDING: states.pending,
        SeatState.SOLD: states.sold,
        SeatState.BLOCKED: states.blocked,
    }
    found = 0
    for state in wanted:
        found |= sets[state]
    return found
