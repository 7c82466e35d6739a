"""Sales: the confirmed lines of holds, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.capacity.domain.holds import Line, total_of
from holdfast.capacity.domain.parts import NOTHING, Part
from holdfast.common.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from holdfast.capacity.domain.holds import Void


class SaleState(StrEnum):
    """Where a sale stands."""

    SOLD = "SOLD"
    PARTIALLY_RETURNED = "PARTIALLY_RETURNED"
    RETURNED = "RETURNED"
    CANCELLED = "CANCELLED"


class ReturnTo(StrEnum):
    """Where returned places go."""

    SALE = "SALE"
    BLOCKED = "BLOCKED"


def sum_of(amounts: Iterable[Money | None]) -> Money | None:
    """Add up amounts; None if one is missing, if they are of several currencies, or if there is none."""
    given = list(amounts)
    known = [amount for amount in given if amount is not None]
    currencies = {amount.currency_code for amount in known}
    if len(known) != len(given) or len(currencies) != 1:
        return None
    return Money(sum(amount.minor for amount in known), currencies.pop())


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """Places of a line that came back. `amount` is their share of what was paid; `block_id` where they stay."""

    number: int
    quantity: int
    seats: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    amount: Money | None = None
    block_id: str | None = None


@dataclass(frozen=True, slots=True)
class SaleReturn:
    """Places of a sale that came back in one commit."""

    return_id: str
    sale_id: str
    lines: tuple[ReturnedLine, ...]
    return_to: ReturnTo
    note: str
    actor: str
    create_time: datetime

    @property
    def amount(self) -> Money | None:
        """Sum of the lines' amounts; None if a line has none, or if they are of several currencies."""
        return sum_of(line.amount for line in self.lines)


@dataclass(frozen=True, slots=True)
class Sale:
    """The confirmed lines of a hold.

    `cancelled_lines` are numbers of lines whose event or date was cancelled. `returned` and `exchanged` are by number
    the places that are not sold any more.
    """

    sale_id: str
    event_id: str
    hold_id: str
    customer_id: str
    state: SaleState
    lines: tuple[Line, ...]
    create_time: datetime
    order_reference: str = ""
    cancelled_lines: frozenset[int] = frozenset()
    returned: Mapping[int, Part] = field(default_factory=dict)
    exchanged: Mapping[int, Part] = field(default_factory=dict)
    update_time: datetime | None = None
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change of the sale."""
        return str(self.revision)

    @property
    def total(self) -> Money | None:
        """Sum of the locked prices; None if a line has none, or if they are of several currencies."""
        return total_of(self.lines)

    def returned_of(self, line: Line) -> Part:
        """Give what came back of a line."""
        return self.returned.get(line.number, NOTHING)

    def exchanged_of(self, line: Line) -> Part:
        """Give what of a line was exchanged for other places."""
        return self.exchanged.get(line.number, NOTHING)

    def gone(self, line: Line) -> Part:
        """Give what of a line is not sold any more."""
        return self.returned_of(line).plus(self.exchanged_of(line))

    def share(self, line: Line, quantity: int) -> Money | None:
        """Give what was paid for the next so many places of a line that come back.

        The shares of a line are rounded half up so that, one after the other, all of them add up to its total.
        """
        if line.price is None:
            return None
        total, before = line.price.total, self.gone(line).quantity
        minor = _rounded(total.minor * (before + quantity), line.quantity) - _rounded(
            total.minor * before, line.quantity
        )
        return Money(minor, total.currency_code)

    def without(self, parts: Mapping[int, Part], *, at: datetime) -> Sale:
        """Give the sale after places, by number of their line, came back at a moment."""
        returned = dict(self.returned)
        for number, part in parts.items():
            returned[number] = returned.get(number, NOTHING).plus(part)
        return _with_state(replace(self, returned=returned, update_time=at, revision=self.revision + 1))

    def cancelled(self, schedule_id: str | None, *, at: datetime) -> Sale:
        """Give the sale with the lines of a date, or all lines, cancelled at a moment."""
        marked = {line.number for line in self.lines if schedule_id is None or line.schedule_id == schedule_id}
        if marked <= self.cancelled_lines:
            return self
        numbers = self.cancelled_lines | marked
        return _with_state(replace(self, cancelled_lines=numbers, update_time=at, revision=self.revision + 1))

    def seen(self, voids: Iterable[Void]) -> Sale:
        """Give the sale as it truly stands, whether or not its row was brought up to date.

        Nothing is sold any more of what a void cancels, so that every sale there is was made before it.
        """
        sale = self
        for void in voids:
            if void.cancels_sales:
                sale = sale.cancelled(void.schedule_id, at=void.at)
        return sale


def _with_state(sale: Sale) -> Sale:
    left = [line for line in sale.lines if sale.gone(line).quantity < line.quantity]
    if not left:
        state = SaleState.RETURNED
    elif all(line.number in sale.cancelled_lines for line in left):
        state = SaleState.CANCELLED
    elif any(part.quantity for part in sale.returned.values()):
        state = SaleState.PARTIALLY_RETURNED
    else:
        state = SaleState.SOLD
    return replace(sale, state=state)


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
