"""Exchanging places of a sale: what is given up, what is taken, at which price, or nothing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity import journal_messages
from holdfast.capacity.domain.adding import OtherPriceError
from holdfast.capacity.domain.blocks import Act, Block, BlockKind
from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.exchanging import ExchangeRequest, exchange, kept_line
from holdfast.capacity.domain.holds import Line, Void, VoidCause
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.parts import Part, PartRequest
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.domain.sales import ReturnedLine, ReturnTo, Sale, SaleReturn, SaleState
from holdfast.capacity.domain.seat_rows import Numbers, Row, SeatRun
from holdfast.capacity.domain.seats import Seating, SeatOwner
from holdfast.capacity.domain.sections import SectionKind
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import NOW, controls, held, inventory, later, lock, priced, section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.capacity.domain.inventory import Inventory

LAYOUT = Layout(rows=(Row(label="A", runs=(SeatRun(place=1, labels=(Numbers(1, 1, 10),)),)),))


def sold(stock: Inventory, *lines: Line, **fields: Any) -> Sale:
    """Let an inventory have a sale, whose places count as sold."""
    made = Sale("sale", "event", "hold", "ann", SaleState.SOLD, lines, NOW, **fields)
    for line in lines:
        stock.move(line.section_id, sold=line.quantity - made.gone(line).quantity)
    stock.changed_sections.clear()
    stock.sales.load("sale", made)
    return made


def wanted(given: PartRequest, *taken: LineRequest, kept: Mapping[int, int] | None = None, **fields: Any) -> Any:
    return ExchangeRequest("exchange", "sale", (given,), taken, kept or {}, Act("staff", "why"), **fields)


def two_sections(**balcony: Any) -> Inventory:
    return inventory(section("floor", 10), section("balcony", 5, **balcony))


def refused(stock: Inventory, made: Sale, request: ExchangeRequest) -> DomainError:
    """Give the refusal of an exchange, which must leave no trace."""
    before = {name: replace(each.counters) for name, each in stock.sections.items()}
    with pytest.raises(DomainError) as caught:
        exchange(stock, made, request)
    assert {name: each.counters for name, each in stock.sections.items()} == before
    assert not stock.dirty
    return caught.value


def test_places_move_from_one_section_to_another() -> None:
    stock = two_sections()
    made = sold(stock, Line(1, "floor", None, 4, price=lock(minor=4000).price))
    stock.claimed = {("ann", "tier"): 4, ("ann", "other"): 0}
    told = exchange(stock, made, wanted(PartRequest(1, 1), priced(2, lock("other", minor=2500), "balcony")))
    floor, balcony = (stock.sections[name].counters for name in ("floor", "balcony"))
    assert (floor.sold, balcony.sold, stock.counters.sold) == (3, 2, 5)
    now = stock.sales.now["sale"]
    assert [(line.number, line.section_id, line.quantity) for line in now.lines] == [(1, "floor", 4), (2, "balcony", 2)]
    assert (now.exchanged, now.state, now.revision, now.update_time) == ({1: Part(1)}, SaleState.SOLD, 2, NOW)
    assert now.left(now.lines[0]).quantity == 3
    assert [(each.number, each.quantity, each.amount) for each in told.given] == [(1, 1, Money(1000, "USD"))]
    assert told.difference == Money(1500, "USD")
    assert now.total_without_exchanged(()) == Money(5500, "USD")
    assert stock.claimed == {("ann", "tier"): 3, ("ann", "other"): 2}

    (change,) = journal_messages.change_message(stock, ()).exchanges
    assert (change.sale_id, change.exchange_id, change.actor, change.note) == ("sale", "exchange", "staff", "why")
    assert [(each.number, each.quantity, each.total_minor) for each in change.given_lines] == [(1, 1, 1000)]
    assert [(each.number, each.quantity, each.total_minor) for each in change.taken_lines] == [(2, 2, 2500)]
    assert journal_messages.told_difference(change) == told.difference


def test_seats_go_over_also_those_that_are_given_up_in_the_same_exchange() -> None:
    stock = inventory(section("floor", 10, kind=SectionKind.SEATED))
    made = sold(stock, Line(1, "floor", None, 3, seats=(0, 1, 2), labels=("A-1", "A-2", "A-3")))
    stock.seatings["floor"] = Seating(LAYOUT, 0b10111)
    request = wanted(PartRequest(1, labels=("A-1", "A-2")), LineRequest("floor", None, 2, labels=("A-2", "A-4")))
    exchange(stock, made, request)
    seating = stock.seatings["floor"]
    assert seating.taken == 0b11110
    assert seating.claims == {0: None, 1: SeatOwner(hold_id="hold"), 3: SeatOwner(hold_id="hold")}
    now = stock.sales.now["sale"]
    assert now.exchanged == {1: Part(2, (0, 1))}
    assert [now.left(line).labels for line in now.lines] == [("A-3",), ("A-2", "A-4")]
    assert stock.sections["floor"].counters.sold == 3

    # A seat that was exchanged once is not there to be exchanged again, and one that somebody has cannot be had.
    stock.changed_sections.clear()
    again = wanted(PartRequest(1, labels=("A-1",)), LineRequest("floor", None, 1, labels=("A-9",)))
    with pytest.raises(DomainError) as caught:
        exchange(stock, now, again)
    assert (caught.value.reason, caught.value.metadata["seats"]) == (Reason.LINE_EXCEEDED, "A-1")
    other = wanted(PartRequest(2, labels=("A-4",)), LineRequest("floor", None, 2, labels=("A-5", "A-6")))
    with pytest.raises(DomainError) as caught:
        exchange(stock, now, other)
    assert (caught.value.reason, caught.value.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-5")
    assert seating.taken == 0b11110


def test_a_full_section_gives_what_was_given_up_and_what_expired() -> None:
    stock = inventory(section("floor", 6, held=2), expired=[held(quantity=2, minutes=0)], live_holds=1)
    made = sold(stock, Line(1, "floor", None, 4))
    exchange(stock, made, wanted(PartRequest(1, 4), LineRequest("floor", None, 4)))
    assert (stock.sections["floor"].counters.held, stock.sections["floor"].counters.sold) == (2, 4)
    now = stock.sales.now["sale"]
    exchange(stock, now, wanted(PartRequest(2, 4), LineRequest("floor", None, 6)))
    assert (stock.sections["floor"].counters.held, stock.sections["floor"].counters.sold) == (0, 6)


def test_what_waits_to_be_tidied_is_tidied_first() -> None:
    stock = inventory(section("floor", 6, held=2), more_expired={"floor"})
    made = sold(stock, Line(1, "floor", None, 4))
    with pytest.raises(TidyFirst):
        exchange(stock, made, wanted(PartRequest(1, 4), LineRequest("floor", None, 5)))


def test_places_are_taken_from_a_block_and_come_back_to_sale() -> None:
    stock = inventory(section("floor", 10, blocked=3))
    block = Block("block", "event", "floor", BlockKind.HOUSE, 3, 3, "house", "staff", NOW, NOW)
    stock.blocks.load("block", block)
    made = sold(stock, Line(1, "floor", None, 2))
    exchange(stock, made, wanted(PartRequest(1, 2), LineRequest("floor", None, 2, block_id="block")))
    counters = stock.sections["floor"].counters
    assert (counters.sold, counters.blocked, counters.available) == (2, 1, 7)
    assert (stock.blocks.now["block"].quantity, stock.blocks.now["block"].taken_quantity) == (1, 2)
    exchange(stock, stock.sales.now["sale"], wanted(PartRequest(2, 2), LineRequest("floor", None, 1)))
    assert (counters.sold, counters.blocked, counters.available) == (1, 1, 8)


PAID = Line(1, "floor", None, 4, price=lock(minor=4000).price)


@pytest.mark.parametrize(
    ("given", "taken", "keeps"),
    [
        (PartRequest(1, 2), priced(2, lock()), True),
        (PartRequest(1), priced(4, lock()), True),
        (PartRequest(1, 2), priced(3, lock()), False),
        (PartRequest(1, 2), priced(2, lock("other")), False),
        (PartRequest(1, 2), priced(2, lock(), "balcony"), False),
        (PartRequest(1, 2), LineRequest("floor", None, 2), False),
        (PartRequest(9, 2), priced(2, lock()), False),
    ],
)
def test_a_price_is_kept_for_as_much_of_the_same_as_is_given_up(
    given: PartRequest, taken: LineRequest, *, keeps: bool
) -> None:
    made = Sale("sale", "event", "hold", "ann", SaleState.SOLD, (PAID,), NOW)
    assert kept_line(made, (given,), taken) == (PAID if keeps else None)


def test_a_price_that_was_asked_for_something_else_is_asked_for_again() -> None:
    stock = two_sections()
    made = sold(stock, PAID)
    for kept, taken in (({}, 2), ({0: 1}, 3)):
        with pytest.raises(OtherPriceError):
            exchange(stock, made, wanted(PartRequest(1, 2), priced(taken, lock()), kept=kept))
    assert not stock.dirty


def test_a_kept_price_asks_for_no_window_and_another_does() -> None:
    stock = two_sections()
    made = sold(stock, PAID)
    over = lock(sales_end_time=later(-5))
    error = refused(stock, made, wanted(PartRequest(1, 2), priced(2, over, "balcony")))
    assert error.reason is Reason.SALES_WINDOW_CLOSED
    late = replace(over, expire_time=later(-1))
    error = refused(stock, made, wanted(PartRequest(1, 2), priced(2, late), kept={0: 1}))
    assert error.reason is Reason.PRICE_LOCK_EXPIRED
    exchange(stock, made, wanted(PartRequest(1, 2), priced(2, over), kept={0: 1}))


@pytest.mark.parametrize(("expected", "told"), [(Money(499, "USD"), "USD 5.00"), (Money(500, "EUR"), "USD 5.00")])
def test_another_difference_than_expected_exchanges_nothing(expected: Money, told: str) -> None:
    stock = two_sections()
    made = sold(stock, PAID)
    taken = priced(1, lock(minor=1500), "balcony")
    error = refused(stock, made, wanted(PartRequest(1, 1), taken, expected_difference=expected))
    assert (error.reason, error.metadata["total"]) == (Reason.TOTAL_MISMATCH, told)
    exchange(stock, made, wanted(PartRequest(1, 1), taken, expected_difference=Money(500, "USD")))


def test_there_is_no_difference_where_a_price_is_missing_or_of_another_currency() -> None:
    for taken in (LineRequest("balcony", None, 1), priced(1, lock(currency="EUR"), "balcony")):
        stock = two_sections()
        made = sold(stock, PAID)
        told = exchange(stock, made, wanted(PartRequest(1, 1), taken))
        assert told.difference is None
        (change,) = journal_messages.change_message(stock, ()).exchanges
        assert journal_messages.told_difference(change) is None
        stock = two_sections()
        made = sold(stock, PAID)
        error = refused(stock, made, wanted(PartRequest(1, 1), taken, expected_difference=Money(0, "USD")))
        assert error.metadata["total"] == "none"


@pytest.mark.parametrize(
    ("limits", "given", "taken", "limit"),
    [
        ({"max_per_order": 2}, 3, LineRequest("balcony", None, 3), "max_per_order"),
        ({"min_per_order": 2}, 1, LineRequest("balcony", None, 1), "min_per_order"),
        ({}, 1, priced(3, lock("other", max_per_order=2), "balcony"), "max_per_order"),
        ({}, 1, priced(2, lock("other", max_per_customer=5), "balcony"), "max_per_customer"),
        ({}, 1, priced(3, lock(max_per_order=5), "balcony"), "max_per_order"),
    ],
)
def test_limits_count_the_sale_as_it_will_be(
    limits: dict[str, int], given: int, taken: LineRequest, limit: str
) -> None:
    stock = two_sections(**limits)
    made = sold(stock, PAID)
    stock.claimed = {("ann", "other"): 4, ("ann", "tier"): 4}
    error = refused(stock, made, wanted(PartRequest(1, given), taken))
    assert (error.reason, error.metadata["limit"]) == (Reason.PURCHASE_LIMIT, limit)


def test_an_order_that_changes_nothing_of_a_section_is_not_measured_again() -> None:
    stock = inventory(section("floor", 10, max_per_order=2), section("balcony", 5))
    made = sold(stock, PAID)
    tight = lock(max_per_customer=4, max_per_order=4)
    stock.claimed = {("ann", "tier"): 4}
    exchange(stock, made, wanted(PartRequest(1, 4), priced(4, tight), kept={0: 1}))
    assert stock.claimed == {("ann", "tier"): 4}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (EventState.SALES_PAUSED, Reason.EVENT_NOT_ON_SALE),
        (EventState.POSTPONED, Reason.EVENT_POSTPONED),
        (EventState.CANCELLED, Reason.EVENT_CANCELLED),
    ],
)
def test_an_event_that_takes_no_holds_exchanges_nothing(state: EventState, reason: Reason) -> None:
    stock = inventory(section("floor", 10), controls=controls(state=state))
    made = sold(stock, Line(1, "floor", None, 2))
    assert refused(stock, made, wanted(PartRequest(1, 1), LineRequest("floor", None, 1))).reason is reason


def test_a_sale_that_ended_or_changed_is_not_exchanged() -> None:
    stock = inventory(section("floor", 10), voids=(Void(VoidCause.EVENT_CANCELLED, 1, NOW),))
    made = sold(stock, Line(1, "floor", None, 2))
    request = wanted(PartRequest(1, 1), LineRequest("floor", None, 1))
    assert refused(stock, made, request).reason is Reason.SALE_NOT_ACTIVE
    stock = inventory(section("floor", 10))
    made = sold(stock, Line(1, "floor", None, 2), revision=3)
    assert refused(stock, made, replace(request, etag="2")).reason is Reason.ETAG_MISMATCH
    exchange(stock, made, replace(request, etag="3"))


def test_a_sale_does_not_grow_without_end() -> None:
    stock = inventory(section("floor", 2_000))
    lines = tuple(Line(number, "floor", None, 1) for number in range(1, 51))
    made = sold(stock, *lines)
    error = refused(
        stock,
        made,
        ExchangeRequest(
            "exchange",
            "sale",
            (PartRequest(1),),
            (LineRequest("floor", None, 1), LineRequest("floor", None, 1, field="take_lines[1]")),
            {},
            Act("staff"),
        ),
    )
    assert [each.field for each in error.violations] == ["take_lines[1].section_id"]
    gone = sold(
        inventory(),
        *(Line(number, "floor", None, 1) for number in range(1, 700)),
        exchanged={number: Part(1) for number in range(1, 699)},
    )
    stock = inventory(section("floor", 2_000))
    error = refused(stock, gone, wanted(PartRequest(699), LineRequest("floor", None, 1)))
    assert [(each.field, each.message) for each in error.violations] == [
        ("take_lines", "the sale has had too many lines or seats")
    ]


def test_the_total_counts_what_came_back_and_not_what_was_exchanged() -> None:
    paid = Line(1, "floor", None, 3, price=lock(minor=1000).price)
    further = Line(2, "floor", None, 1, price=lock(minor=700).price)
    made = Sale("sale", "event", "hold", "ann", SaleState.SOLD, (paid,), NOW)
    first, amount = made.without({1: Part(1)}, at=NOW), made.share(paid, 1)
    assert amount == Money(333, "USD")
    now = first.exchanging({1: Part(1)}, (further,), at=NOW)
    assert first.share(paid, 1) == Money(334, "USD")
    assert now.state is SaleState.PARTIALLY_RETURNED
    assert now.left(paid).quantity == 1
    back = SaleReturn("return", "sale", (ReturnedLine(1, 1, amount=amount),), ReturnTo.SALE, "", "staff", NOW)
    assert now.total_without_exchanged((back,)) == Money(1000 + 700 - 334, "USD")
