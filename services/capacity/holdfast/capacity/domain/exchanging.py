"""Exchanging places of a sale for others of the event, in one commit or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.adding import OtherPriceError, beyond, check_size, further_lines
from holdfast.capacity.domain.checks import told
from holdfast.capacity.domain.choosing import choose_seats
from holdfast.capacity.domain.journal_sizes import claim_bytes, exchange_bytes
from holdfast.capacity.domain.places import check_places, wanted_places
from holdfast.capacity.domain.placing import check_lock, check_order_sizes, check_tier_limits
from holdfast.capacity.domain.returning import given_up, parts_of
from holdfast.capacity.domain.sales import SaleExchange
from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.capacity.domain.blocks import Act
    from holdfast.capacity.domain.holds import Line
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.parts import Part, PartRequest
    from holdfast.capacity.domain.placing import LineRequest
    from holdfast.capacity.domain.sales import Sale
    from holdfast.common.money import Money

SALE_BYTES_MAX: Final = 200 * 1024
"""What an exchange and its sale may take of the journal's row: lines that are gone stay in the sale."""


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """Parts of a sale to give up, and lines to take. `exchange_id` is made before the first attempt.

    `kept` tells, by the index of a line to take, the number of the line given up at whose locked price it was priced.
    """

    exchange_id: str
    sale_id: str
    given: tuple[PartRequest, ...]
    taken: tuple[LineRequest, ...]
    kept: Mapping[int, int]
    act: Act
    expected_difference: Money | None = None
    etag: str = ""


def exchange(inventory: Inventory, stored: Sale, request: ExchangeRequest) -> SaleExchange:
    """Exchange places of a sale for others, or raise the DomainError that says why not.

    Raises TidyFirst as placing does, and OtherPriceError or OtherDateError when its prices must be asked for again.
    """
    sale = stored.seen(inventory.voids)
    parts = parts_of(sale, request.given, etag=request.etag)
    taken = further_lines(inventory, sale.lines, request.taken, field="take_lines")
    for index, (wanted, line) in enumerate(zip(request.taken, taken, strict=True)):
        kept = request.kept.get(index)
        if wanted.tier_id is not None and kept != _kept_of(parts, wanted, line.schedule_id):
            raise OtherPriceError
        check_lock(inventory, wanted, kept=kept is not None)
    given = [(line.section_id, _part_line(line, part)) for line, part in parts]
    taken = choose_seats(inventory, taken, request.taken, back=given)
    made = SaleExchange(
        exchange_id=request.exchange_id,
        sale_id=sale.sale_id,
        given=tuple(given_up(sale, parts)),
        taken=taken,
        note=request.act.note,
        actor=request.act.actor,
    )
    _check_difference(made, request.expected_difference)
    now = sale.exchanging({line.number: part for line, part in parts}, taken, at=inventory.at)
    _check(inventory, request, before=sale, now=now, made=made)
    check_places(inventory, beyond(taken, given))
    for line, part in parts:
        inventory.unsell(sale, line, part)
    for line in taken:
        inventory.sell_line(sale, line)
    inventory.put_sale(stored, now)
    inventory.add_exchange(made)
    return made


def kept_line(sale: Sale, given: Sequence[PartRequest], wanted: LineRequest) -> Line | None:
    """Find the line whose locked price a line to take keeps, by what is asked: `parts_of` judges whether it is there.

    The date of `wanted` is the one that it will be for. At a line's locked price no more is taken than is given up of
    it; of several lines it is the first.
    """
    by_number = {line.number: line for line in sale.lines}
    named = {part.number: part for part in given}
    for number in sorted(named.keys() & by_number.keys()):
        line, part = by_number[number], named[number]
        quantity = len(part.labels) or part.quantity or sale.left(line).quantity
        if _keeps(line, quantity, wanted, wanted.schedule_id):
            return line
    return None


def _kept_of(parts: Sequence[tuple[Line, Part]], wanted: LineRequest, schedule_id: str | None) -> int | None:
    return next((line.number for line, part in parts if _keeps(line, part.quantity, wanted, schedule_id)), None)


def _keeps(line: Line, given: int, wanted: LineRequest, schedule_id: str | None) -> bool:
    return (
        line.price is not None
        and line.price.price_tier_id == wanted.tier_id
        and (line.section_id, line.schedule_id) == (wanted.section_id, schedule_id)
        and wanted.quantity <= given
    )


def _part_line(line: Line, part: Part) -> Line:
    return replace(line, quantity=part.quantity, seats=part.seats, labels=line.labels_of(part.seats))


def _check_difference(made: SaleExchange, expected: Money | None) -> None:
    if expected is not None and expected != made.difference:
        raise DomainError(
            Reason.TOTAL_MISMATCH,
            "the difference is another one; nothing was done",
            metadata={"expected_total": told(expected), "total": told(made.difference)},
        )


def _check(inventory: Inventory, request: ExchangeRequest, *, before: Sale, now: Sale, made: SaleExchange) -> None:
    """Raise VALIDATION_FAILED for a sale that becomes too large, PURCHASE_LIMIT for one beyond the limits."""
    had, has = ([line for line in map(sale.left, sale.lines) if line.quantity] for sale in (before, now))
    check_size(inventory, has, field="take_lines")
    if claim_bytes(now) + exchange_bytes(made) > SALE_BYTES_MAX:
        raise invalid("take_lines", "the sale has had too many lines or seats")
    places, places_before = wanted_places(has), wanted_places(had)
    check_order_sizes(inventory, {each: places[each] for each in places if places[each] != places_before.get(each)})
    kept = has[: len(has) - len(made.taken)]
    check_tier_limits(inventory, before.customer_id, request.taken, before=had, kept=kept)
