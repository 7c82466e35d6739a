"""Who may have the seats of a section at a moment, from what its rows say: holds that ended have nothing any more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from holdfast.capacity.domain.bitmaps import mask_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class SeatClaim:
    """Seats of a section that a live hold has until a moment, in microseconds since 1970.

    Those of a block go back to it while it stands, the others to sale. A `voided` one is of a hold that a change of
    the event ended before its time.
    """

    pending: bool
    expire_us: int
    seats: tuple[int, ...]
    block_id: str = ""
    voided: bool = False


@dataclass(frozen=True, slots=True)
class SeatStates:
    """Sets of seats; what is in none of them is free.

    `next_us` is when the next hold ends, None = none does; `last_us` when the last one ended that the rows still show
    as live, 0 = there is none.
    """

    held: int
    pending: int
    sold: int
    blocked: int
    next_us: int | None = None
    last_us: int = 0

    @property
    def taken(self) -> int:
        """The seats that are not free."""
        return self.held | self.pending | self.sold | self.blocked


def states_at(at_us: int, *, taken: int, claims: Iterable[SeatClaim], blocks: Mapping[str, int]) -> SeatStates:
    """Tell the states at a moment. `taken` are the seats that somebody has by the rows: in a hold, sold or blocked.

    `claims` are those of the live holds, `blocks` the seats in each block that stands.
    """
    held: list[tuple[int, ...]] = []
    pending: list[tuple[int, ...]] = []
    free: list[tuple[int, ...]] = []
    back: list[tuple[int, ...]] = []
    next_us, last_us = None, 0
    for claim in claims:
        if not claim.voided and claim.expire_us > at_us:
            (pending if claim.pending else held).append(claim.seats)
            next_us = claim.expire_us if next_us is None else min(next_us, claim.expire_us)
            continue
        (back if claim.block_id in blocks else free).append(claim.seats)
        if not claim.voided:
            last_us = max(last_us, claim.expire_us)
    held_seats, pending_seats = _joined(held), _joined(pending)
    blocked = _joined(back)
    for seats in blocks.values():
        blocked |= seats
    return SeatStates(
        held=held_seats,
        pending=pending_seats,
        sold=taken & ~held_seats & ~pending_seats & ~blocked & ~_joined(free),
        blocked=blocked,
        next_us=next_us,
        last_us=last_us,
    )


def _joined(seats: Iterable[tuple[int, ...]]) -> int:
    return mask_of(list(chain.from_iterable(seats)))
