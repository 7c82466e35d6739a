"""What the requests of a batch need to see of an event's inventory, so that one round trip reads it all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.common.database import Pipeline
    from holdfast.common.idempotency import RequestKey

    More = Callable[[Unit, Pipeline, Reader], Awaitable[None]]


@dataclass(slots=True)
class Needs:
    """Ids of what is needed; what there is not is simply not found.

    `wanted` is how many places of a section the requests want together, `wanted_seats` the labels, `wanted_of_blocks`
    how many of the places that are in a block; of `open_sections` they get whichever seats are best. `hold_keys` are
    (placed by, request id). `claimed` are pairs of customer and price tier. `again` tells that an earlier attempt of
    the same batch may have taken effect, `by_claims` that claims and not bitmaps tell which seats are taken. `make`
    makes the row of an event that is seen for the first time. `more` reads what a command alone can say, once the rest
    is there.
    """

    again: bool = False
    by_claims: bool = False
    make: bool = False
    all_sections: bool = False
    sections: set[str] = field(default_factory=set)
    holds: set[str] = field(default_factory=set)
    hold_keys: set[tuple[str, str]] = field(default_factory=set)
    sales: set[str] = field(default_factory=set)
    blocks: set[str] = field(default_factory=set)
    keys: set[RequestKey] = field(default_factory=set)
    claimed: set[tuple[str, str]] = field(default_factory=set)
    wanted: dict[str, int] = field(default_factory=dict)
    wanted_seats: dict[str, set[str]] = field(default_factory=dict)
    wanted_of_blocks: dict[str, int] = field(default_factory=dict)
    open_sections: set[str] = field(default_factory=set)
    more: list[More] = field(default_factory=list)

    def want(self, section_id: str, quantity: int) -> None:
        """Add up the places that requests want of a section."""
        self.sections.add(section_id)
        self.wanted[section_id] = self.wanted.get(section_id, 0) + quantity

    def want_seats(self, section_id: str, labels: tuple[str, ...]) -> None:
        """Add seats that a request wants."""
        self.want(section_id, len(labels))
        self.wanted_seats.setdefault(section_id, set()).update(labels)

    def want_of_block(self, block_id: str, quantity: int) -> None:
        """Add up the places that requests want of a block."""
        self.blocks.add(block_id)
        self.wanted_of_blocks[block_id] = self.wanted_of_blocks.get(block_id, 0) + quantity

    def want_any(self, section_id: str) -> None:
        """Add a section of which a request gets whichever seats are best."""
        self.sections.add(section_id)
        self.open_sections.add(section_id)
