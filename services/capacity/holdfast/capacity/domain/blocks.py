"""Places of one section that are out of sale."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class BlockKind(StrEnum):
    """Why places are out of sale."""

    HOUSE = "HOUSE"
    KILL = "KILL"
    RETURNED = "RETURNED"


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

    @property
    def ended(self) -> bool:
        """Whether its places went back to sale for good."""
        return self.end_time is not None
