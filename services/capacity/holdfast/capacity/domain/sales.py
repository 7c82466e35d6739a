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
class SaleExchange:
    """Places of a sale that were given up for further lines of it in one commit."""

    exchange_id: str
    sale_id: str
    given: tuple[ReturnedLine, ...]
    taken: tuple[Line, ...]
    note: str
    actor: str

    @property
    def difference(self) -> Money | None:
        """What was taken costs so much more than was paid for what was given up.

        None if a line has no price, or if they are of several currencies.
        """
        cost, paid = total_of(self.taken), sum_of(line.amount for line in self.given)
        if cost is None or paid is None or cost.currency_code != paid.currency_code:
            return None
        return Money(cost.minor - paid.minor, cost.currency_code)


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
        """Sum of the locked prices, gone or not; None if a line has none, or if they are of several currencies."""
        return total_of(self.lines)

    def total_without_exchanged(self, returns: Iterable[SaleReturn]) -> Money | None:
        """Give the total without what was paid for exchanged places; `returns` are all that came back of the sale."""
        total = self.total
        if total is None or not self.exchanged:
            return total
        minor = total.minor - sum(self._gone_minor(line) for line in self.lines)
        returned = sum(line.amount.minor for each in returns for line in each.lines if line.amount is not None)
        return Money(minor + returned, total.currency_code)

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
        after = _rounded(line.price.total.minor * (self.gone(line).quantity + quantity), line.quantity)
        return Money(after - self._gone_minor(line), line.price.total.currency_code)

    def _gone_minor(self, line: Line) -> int:
        """Give what was paid for what of a line is gone."""
        total = 0 if line.price is None else line.price.total.minor
        return _rounded(total * self.gone(line).quantity, line.quantity)

    def without(self, parts: Mapping[int, Part], *, at: datetime) -> Sale:
        """Give the sale after places, by number of their line, came back at a moment."""
        returned = dict(self.returned)
        for number, part in parts.items():
            returned[number] = returned.get(number, NOTHING).plus(part)
        return _with_state(replace(self, returned=returned, update_time=at, revision=self.revision + 1))

    def exchanging(self, parts: Mapping[int, Part], taken: tuple[Line, ...], *, at: datetime) -> Sale:
        """Give the sale after places, by number of their line, were exchanged for further lines at a moment."""
        exchanged = dict(self.exchanged)
        for number, part in parts.items():
            exchanged[number] = exchanged.get(number, NOTHING).plus(part)
        lines = (*self.lines, *taken)
        return _with_state(replace(self, lines=lines, exchanged=exchanged, update_time=at, revision=self.revision + 1))

    def left(self, line: Line) -> Line:
        """Give what of a line is sold still; nothing is left of some."""
        gone = self.gone(line)
        if not gone.quantity:
            return line
        absent = set(gone.seats)
        seats = tuple(seat for seat in line.seats if seat not in absent)
        return replace(line, quantity=line.quantity - gone.quantity, seats=seats, labels=line.labels_of(seats))

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
