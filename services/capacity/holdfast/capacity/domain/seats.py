"""The seats of a section as they stand under the event's lock: which are taken, and by whom the commit lets them be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.bitmaps import mask_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.capacity.domain.layouts import Layout


SEATS_TOLD_MAX: Final = 100


def seat_names(labels: Iterable[str]) -> str:
    """Write labels as an error's metadata has them: in order, with commas, as many as fit."""
    names = list(labels)
    return ",".join(names[:SEATS_TOLD_MAX])


@dataclass(frozen=True, slots=True)
class SeatOwner:
    """Who has a seat: a hold, which keeps it when it is sold, or a block."""

    hold_id: str | None = None
    block_id: str | None = None


@dataclass(slots=True)
class Seating:
    """`taken` is a bitmap: bit n is set while seat n is claimed. `claims` are owners after the commit, None = free.

    `over` are seats among the taken ones that come back to sale as soon as somebody needs them: the time of the holds
    that have them is over. `holders` tells which hold had a seat before the commit, of the seats whose holds were read.
    """

    layout: Layout
    taken: int
    before: int = field(default=-1)
    claims: dict[int, SeatOwner | None] = field(default_factory=dict)
    over: int = 0
    holders: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.before < 0:
            self.before = self.taken

    def claim(self, seats: Sequence[int], owner: SeatOwner) -> None:
        """Let an owner have seats."""
        mask = mask_of(seats)
        self.taken |= mask
        self.over &= ~mask
        self.claims.update(dict.fromkeys(seats, owner))

    def free(self, seats: Sequence[int]) -> None:
        """Let nobody have seats."""
        mask = mask_of(seats)
        self.taken &= ~mask
        self.over &= ~mask
        self.claims.update(dict.fromkeys(seats))

    def holder(self, seat: int) -> str | None:
        """Give the hold that has a seat, of the seats whose holds were read; None if none has it."""
        if seat in self.claims:
            owner = self.claims[seat]
            return None if owner is None else owner.hold_id
        return self.holders.get(seat)

    @property
    def dirty(self) -> bool:
        """Whether the commit writes anything of it."""
        return bool(self.claims) or self.taken != self.before

    @property
    def freed_rows(self) -> list[int]:
        """Seats whose claim of before the commit goes, in order; some of them get another."""
        return sorted(seat for seat in self.claims if self.before >> seat & 1)

    @property
    def claimed_rows(self) -> list[tuple[int, SeatOwner]]:
        """Seats that get a claim, in order."""
        return sorted(
            ((seat, owner) for seat, owner in self.claims.items() if owner is not None), key=lambda one: one[0]
        )
