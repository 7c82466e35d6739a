"""Places of one section that are out of sale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


class BlockKind(StrEnum):
    """Why places are out of sale."""

    HOUSE = "HOUSE"
    KILL = "KILL"
    RETURNED = "RETURNED"


@dataclass(frozen=True, slots=True)
class Act:
    """Who did something to a block, and why in their words."""

    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """`quantity` places are in it now, `taken_quantity` of what it began with are in holds and sales made from it.

    `seats` are indexes of a seated section with their `labels`, both in the same order; empty for general admission.
    """

    block_id: str
    event_id: str
    section_id: str
    kind: BlockKind
    quantity: int
    initial_quantity: int
    note: str
    actor: str
    create_time: datetime
    update_time: datetime
    seats: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    taken_quantity: int = 0
    end_time: datetime | None = None
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change of the block."""
        return str(self.revision)

    def less(self, quantity: int, seats: Iterable[int], *, taken: int = 0) -> Block:
        """Give the block with so many places fewer, seats among them; `taken` of them go into holds."""
        gone = set(seats)
        kept = [(seat, label) for seat, label in zip(self.seats, self.labels, strict=True) if seat not in gone]
        return self._with(kept, -quantity, taken=taken)

    def back(self, quantity: int, seats: Iterable[tuple[int, str]]) -> Block:
        """Give the block after a hold of so many of its places ended; seats and labels are what it gets back.

        What has ended gets nothing back.
        """
        kept = [*zip(self.seats, self.labels, strict=True)]
        if self.ended:
            return self._with(kept, 0, taken=-quantity)
        return self._with([*kept, *seats], quantity, taken=-quantity)

    def changed(self, at: datetime) -> Block:
        """Give the block as one that changed at a moment."""
        return replace(self, update_time=at, revision=self.revision + 1)

    def _with(self, seats: Iterable[tuple[int, str]], quantity: int, *, taken: int) -> Block:
        ordered = sorted(seats)
        return replace(
            self,
            quantity=self.quantity + quantity,
            seats=tuple(seat for seat, _ in ordered),
            labels=tuple(label for _, label in ordered),
            taken_quantity=self.taken_quantity + taken,
        )

    @property
    def ended(self) -> bool:
        """Whether its places went back to sale for good."""
        return self.end_time is not None
