"""Selling an expired hold's places after all: the rules as data, instants exact."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.blocks import Block, BlockKind
from holdfast.capacity.domain.controls import EventState, ScheduleState
from holdfast.capacity.domain.ending import Confirmation
from holdfast.capacity.domain.holds import HoldState, Line, LinePrice
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.reacquiring import reacquire
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import NOW, controls, date, held, inventory, later, section

if TYPE_CHECKING:
    from holdfast.capacity.domain.holds import Hold

INSTANT = timedelta(microseconds=1)
GOES_ON = {
    EventState.RESCHEDULED,
    EventState.ON_SALE,
    EventState.SALES_PAUSED,
    EventState.SOLD_OUT,
    EventState.IN_PROGRESS,
}
REFUSALS = {EventState.CANCELLED: Reason.EVENT_CANCELLED, EventState.POSTPONED: Reason.EVENT_POSTPONED}
ASKED = Confirmation("sale", replacement_id="new")


def refusal(call: Any, *args: Any, **kwargs: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        call(*args, **kwargs)
    return caught.value


def tidied(**fields: Any) -> Hold:
    """Give a hold that expired at a quarter past noon and whose row says so."""
    return held(**{"state": HoldState.EXPIRED, "end_time": later(15), "revision": 2, **fields})


def test_the_same_number_of_places_is_sold_at_the_old_price() -> None:
    price = LinePrice("tier", 3, Money(2000, "USD"), b"locked")
    hold = tidied(lines=(Line(1, "floor", None, 2, price=price),), order_reference="order 1", placed_by="bob")
    stock = inventory(section(sold=8), at=later(20))
    sold, sale = reacquire(stock, hold, Confirmation("sale", Money(2000, "USD"), etag="2", replacement_id="new"))
    assert (sold.hold_id, sold.replaces_hold_id, sold.state) == ("new", "hold", HoldState.CONFIRMED)
    assert (sold.customer_id, sold.placed_by, sold.create_time) == ("ann", "bob", later(20))
    assert (sold.lines, sale.lines) == (hold.lines, hold.lines)
    assert (sale.sale_id, sale.hold_id, sale.order_reference, sold.sale_id) == ("sale", "new", "order 1", "sale")
    assert sold.expire_time > sold.create_time
    assert stock.sections["floor"].counters.sold == 10
    assert stock.live_holds == 0
    assert stock.holds.made == [sold]
    assert not stock.holds.changed  # the expired one stays as it is


def test_a_hold_that_nobody_tidied_gives_its_places_to_its_own_replacement() -> None:
    hold = held(quantity=10)
    stock = inventory(section(held=10), at=later(15), live_holds=1)
    sold, _ = reacquire(stock, hold, ASKED)
    counters = stock.sections["floor"].counters
    assert (counters.held, counters.sold, stock.live_holds) == (0, 10, 0)
    assert sold.state is HoldState.CONFIRMED
    (before,) = stock.holds.changed
    assert (before.state, before.end_time) == (HoldState.EXPIRED, later(15))


def test_a_hold_whose_payment_ran_out_is_reacquired_too() -> None:
    hold = held(quantity=4, state=HoldState.PENDING)
    stock = inventory(section(pending=4), at=later(16), live_holds=1)
    reacquire(stock, hold, ASKED)
    counters = stock.sections["floor"].counters
    assert (counters.pending, counters.sold) == (0, 4)


@pytest.mark.parametrize(
    ("at", "good"),
    [
        (later(15), True),
        (later(15) + timedelta(hours=24), True),
        (later(15) + timedelta(hours=24) + INSTANT, False),
    ],
)
def test_not_later_than_a_day_after_the_expiry(at: Any, *, good: bool) -> None:
    stock = inventory(at=at)
    if good:
        assert reacquire(stock, tidied(), ASKED)[0].state is HoldState.CONFIRMED
        return
    error = refusal(reacquire, stock, tidied(), ASKED)
    assert error.reason is Reason.HOLD_EXPIRED
    assert error.metadata == {"hold_id": "hold", "expire_time": "2026-05-01T12:15:00Z"}
    assert not stock.dirty


@pytest.mark.parametrize(("free", "good"), [(3, True), (2, False)])
def test_all_places_or_none(*, free: int, good: bool) -> None:
    lines = (Line(1, "balcony", None, 1), Line(2, "floor", None, 3))
    stock = inventory(section(sold=10 - free), section("balcony"), at=later(20))
    if good:
        reacquire(stock, tidied(lines=lines), ASKED)
        assert (stock.sections["floor"].counters.sold, stock.sections["balcony"].counters.sold) == (10, 1)
    else:
        assert refusal(reacquire, stock, tidied(lines=lines), ASKED).reason is Reason.HOLD_EXPIRED
        assert not stock.dirty


def test_places_of_other_holds_that_are_over_are_free() -> None:
    other = held("other", 10)
    stock = inventory(section(held=10), at=later(20), expired=[other], live_holds=1)
    reacquire(stock, tidied(), ASKED)
    assert stock.sections["floor"].counters.sold == 1
    crowded = inventory(section(held=10), at=later(20), more_expired={"floor"})
    with pytest.raises(TidyFirst):
        reacquire(crowded, tidied(), ASKED)


@pytest.mark.parametrize("state", list(EventState))
def test_in_which_states_of_the_event(state: EventState) -> None:
    stock = inventory(controls=controls(state=state), at=later(20))
    if state in GOES_ON:
        assert reacquire(stock, tidied(), ASKED)[0].state is HoldState.CONFIRMED
        return
    assert refusal(reacquire, stock, tidied(), ASKED).reason is REFUSALS.get(state, Reason.EVENT_NOT_ON_SALE)
    assert not stock.dirty


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({}, True),
        ({"hours": -1}, True),  # began, and is not over
        ({"hours": -4}, False),
        ({"state": ScheduleState.POSTPONED}, True),
        ({"state": ScheduleState.IN_PROGRESS}, True),
        ({"state": ScheduleState.COMPLETED}, False),
        ({"state": ScheduleState.CANCELLED}, False),
    ],
)
def test_the_date_must_be_to_come_or_under_way(fields: dict[str, Any], *, good: bool) -> None:
    stock = inventory(controls=controls(schedules=(date("friday", **fields),)), at=later(20))
    hold = tidied(lines=(Line(1, "floor", "friday", 1),))
    if good:
        assert reacquire(stock, hold, ASKED)[0].lines == hold.lines
    else:
        assert refusal(reacquire, stock, hold, ASKED).reason is Reason.HOLD_EXPIRED


def test_a_section_that_was_closed_meanwhile_is_not_sold() -> None:
    stock = inventory(section(active=False), at=later(20))
    assert refusal(reacquire, stock, tidied(), ASKED).reason is Reason.HOLD_EXPIRED


def test_what_the_caller_expects_is_checked() -> None:
    price = LinePrice("tier", 1, Money(2000, "USD"), b"")
    hold = tidied(lines=(Line(1, "floor", None, 1, price=price),))
    stock = inventory(at=later(20))
    wrong = Confirmation("sale", Money(1, "USD"), replacement_id="new")
    assert refusal(reacquire, stock, hold, wrong).reason is Reason.TOTAL_MISMATCH
    stale = Confirmation("sale", etag="1", replacement_id="new")
    assert refusal(reacquire, stock, hold, stale).reason is Reason.ETAG_MISMATCH
    assert not stock.dirty


@pytest.mark.parametrize(("ended", "left", "good"), [(False, 2, True), (False, 1, False), (True, 0, True)])
def test_places_of_a_block_come_from_it_or_from_sale_once_it_is_over(*, ended: bool, left: int, good: bool) -> None:
    block = Block(
        block_id="house",
        event_id="event",
        section_id="floor",
        kind=BlockKind.HOUSE,
        quantity=left,
        initial_quantity=5,
        note="",
        actor="ann",
        create_time=NOW,
        update_time=NOW,
        end_time=later(1) if ended else None,
    )
    stock = inventory(section(blocked=left), at=later(20))
    stock.blocks.load("house", block)
    hold = tidied(lines=(Line(1, "floor", None, 2, block_id="house"),))
    if not good:
        assert refusal(reacquire, stock, hold, ASKED).reason is Reason.HOLD_EXPIRED
        return
    sold, _ = reacquire(stock, hold, ASKED)
    counters = stock.sections["floor"].counters
    assert (counters.blocked, counters.sold) == (0, 2)
    assert [line.block_id for line in sold.lines] == [None if ended else "house"]
    assert stock.blocks.now["house"].taken_quantity == (0 if ended else 2)
