"""Sales: the confirmed lines of holds, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.capacity.domain.holds import Line, total_of

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.money import Money


class SaleState(StrEnum):
    """Where a sale stands."""

    SOLD = "SOLD"
    PARTIALLY_RETURNED = "PARTIALLY_RETURNED"
    RETURNED = "RETURNED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Sale:
    """The confirmed lines of a hold. `cancelled_lines` are numbers of lines whose event or date was cancelled."""

    sale_id: str
    event_id: str
    hold_id: str
    customer_id: str
    state: SaleState
    lines: tuple[Line, ...]
    create_time: datetime
    order_reference: str = ""
    cancelled_lines: frozenset[int] = frozenset()
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change of the sale."""
        return str(self.revision)

    @property
    def total(self) -> Money | None:
        """Sum of the locked prices; None if a line has none, or if they are of several currencies."""
        return total_of(self.lines)

    def cancelled(self, schedule_id: str | None) -> Sale:
        """Give the sale with the lines of a date, or all lines, cancelled; CANCELLED once no other line is left."""
        marked = {line.number for line in self.lines if schedule_id is None or line.schedule_id == schedule_id}
        numbers = self.cancelled_lines | marked
        state = SaleState.CANCELLED if len(numbers) == len(self.lines) else self.state
        return replace(self, cancelled_lines=numbers, state=state, revision=self.revision + 1)
