"""Extending holds and beginning to pay for them: the rules as data, instants exact."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.deadlines import Payment, begin_payment, extend
from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.holds import HoldState, Line, LinePrice, Void, VoidCause
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import NOW, controls, held, inventory, later, section

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.domain.inventory import Inventory

SECOND = timedelta(seconds=1)
INSTANT = timedelta(microseconds=1)
GOES_ON = {
    EventState.RESCHEDULED,
    EventState.ON_SALE,
    EventState.SALES_PAUSED,
    EventState.SOLD_OUT,
    EventState.IN_PROGRESS,
}
REFUSALS = {EventState.CANCELLED: Reason.EVENT_CANCELLED, EventState.POSTPONED: Reason.EVENT_POSTPONED}
ENDED = [
    (HoldState.CONFIRMED, Reason.HOLD_NOT_ACTIVE),
    (HoldState.RELEASED, Reason.HOLD_NOT_ACTIVE),
    (HoldState.EXPIRED, Reason.HOLD_EXPIRED),
    (HoldState.VOIDED, Reason.HOLD_VOIDED),
]


def refusal(call: Any, *args: Any, **kwargs: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        call(*args, **kwargs)
    return caught.value


def stocked(hold: Hold, **fields: Any) -> Inventory:
    """Give an inventory in which a hold of the floor is counted."""
    pending = hold.state is HoldState.PENDING
    quantity = sum(line.quantity for line in hold.lines)
    stock = inventory(section(pending=quantity) if pending else section(held=quantity), live_holds=1, **fields)
    stock.holds.load(hold.hold_id, hold)
    return stock


@pytest.mark.parametrize(
    ("minute", "seconds", "expected"),
    [
        (0, 900, None),  # 15 minutes were given
        (10, 300, None),  # it ends then anyway
        (10, 301, later(10) + 301 * SECOND),
        (0, 3600, later(60)),
        (14, 46 * 60, later(60)),
        (14, 46 * 60 + 1, Reason.HOLD_LIFETIME_EXCEEDED),
        (0, 3601, Reason.HOLD_LIFETIME_EXCEEDED),
        (15, 60, Reason.HOLD_EXPIRED),
        (16, 60, Reason.HOLD_EXPIRED),
    ],
)
def test_a_hold_lasts_longer_but_not_longer_than_holds_may(minute: float, seconds: int, expected: Any) -> None:
    hold = held()
    stock = stocked(hold, at=later(minute))
    if isinstance(expected, Reason):
        error = refusal(extend, stock, hold, hold_ttl_seconds=seconds, etag="")
        assert error.reason is expected
        if expected is Reason.HOLD_LIFETIME_EXCEEDED:
            assert error.metadata == {"hold_id": "hold", "expire_time_max": "2026-05-01T13:00:00Z"}
        assert not stock.dirty
        return
    now = extend(stock, hold, hold_ttl_seconds=seconds, etag="1")
    if expected is None:
        assert now is hold
        assert not stock.dirty
    else:
        assert (now.expire_time, now.etag, now.state) == (expected, "2", HoldState.ACTIVE)
        assert stock.holds.changed == [now]
    assert stock.sections["floor"].counters.held == 1


def test_a_hold_is_over_at_its_expire_time_and_not_an_instant_before() -> None:
    hold = held(minutes=1)
    for at, over in ((later(1) - INSTANT, False), (later(1), True)):
        if over:
            assert refusal(extend, stocked(hold, at=at), hold, hold_ttl_seconds=60, etag="").reason is (
                Reason.HOLD_EXPIRED
            )
            assert refusal(begin_payment, stocked(hold, at=at), hold, Payment()).reason is Reason.HOLD_EXPIRED
        else:
            assert extend(stocked(hold, at=at), hold, hold_ttl_seconds=60, etag="").expire_time == at + 60 * SECOND
            assert begin_payment(stocked(hold, at=at), hold, Payment()).expire_time == at + 1800 * SECOND


def test_the_hold_may_last_longer_than_is_allowed_now() -> None:
    """An organization that shortens what is allowed does not shorten holds that there are."""
    hold = held(minutes=60)
    stock = stocked(hold, controls=controls(hold_ttl_seconds_max=600), at=later(30))
    assert extend(stock, hold, hold_ttl_seconds=1800, etag="") is hold
    assert refusal(extend, stock, hold, hold_ttl_seconds=1801, etag="").reason is Reason.HOLD_LIFETIME_EXCEEDED


@pytest.mark.parametrize(
    ("minute", "seconds", "deadline"),
    [
        (0, 1800, later(30)),
        (10, 1800, later(40)),
        (0, 60, later(15)),  # never before the hold would have ended
        (10, 300, later(15)),
        (10, 301, later(10) + 301 * SECOND),
        (0, 86_400, later(24 * 60)),
    ],
)
def test_payment_gets_a_deadline_of_its_own(minute: float, seconds: int, deadline: Any) -> None:
    hold = held(quantity=3, order_reference="before")
    stock = stocked(hold, at=later(minute))
    now = begin_payment(stock, hold, Payment(payment_ttl_seconds=seconds, etag="1"))
    assert (now.state, now.expire_time, now.payment_time) == (HoldState.PENDING, deadline, later(minute))
    assert (now.order_reference, now.etag) == ("before", "2")
    counters = stock.sections["floor"].counters
    assert (counters.held, counters.pending, stock.counters.held, stock.counters.pending) == (0, 3, 0, 3)
    assert stock.live_holds == 1
    again = begin_payment(stock, now, Payment(payment_ttl_seconds=86_400, order_reference="other", etag="2"))
    assert again is now
    assert counters.pending == 3


def test_a_reference_given_when_payment_begins_is_kept() -> None:
    hold = held(order_reference="before")
    assert begin_payment(stocked(hold), hold, Payment(order_reference="order 1")).order_reference == "order 1"


@pytest.mark.parametrize("paying", [False, True])
def test_payment_begins_only_at_the_total_that_is_expected(*, paying: bool) -> None:
    price = LinePrice("tier", 1, Money(2000, "USD"), b"")
    hold = held(
        state=HoldState.PENDING if paying else HoldState.ACTIVE, lines=(Line(1, "floor", None, 1, price=price),)
    )
    error = refusal(begin_payment, stocked(hold), hold, Payment(expected_total=Money(2100, "USD")))
    assert error.reason is Reason.TOTAL_MISMATCH
    assert error.metadata == {"expected_total": "USD 21.00", "total": "USD 20.00"}
    assert begin_payment(stocked(hold), hold, Payment(expected_total=Money(2000, "USD"))).state is HoldState.PENDING


@pytest.mark.parametrize("state", list(EventState))
def test_in_which_states_of_the_event_holds_go_on(state: EventState) -> None:
    calls: list[Callable[[Inventory, Hold], Hold]] = [
        lambda stock, hold: extend(stock, hold, hold_ttl_seconds=1800, etag=""),
        lambda stock, hold: begin_payment(stock, hold, Payment()),
    ]
    for call in calls:
        hold = held()
        stock = stocked(hold, controls=controls(state=state))
        if state in GOES_ON:
            assert call(stock, hold).expire_time == later(30)
        else:
            assert refusal(call, stock, hold).reason is REFUSALS.get(state, Reason.EVENT_NOT_ON_SALE)
            assert not stock.dirty


@pytest.mark.parametrize(("state", "reason"), ENDED)
def test_nothing_is_done_with_a_hold_that_has_ended(state: HoldState, reason: Reason) -> None:
    hold = held(state=state, end_time=NOW)
    stock = inventory()
    assert refusal(extend, stock, hold, hold_ttl_seconds=1800, etag="").reason is reason
    assert refusal(begin_payment, stock, hold, Payment()).reason is reason
    assert not stock.dirty


def test_a_hold_whose_payment_runs_is_not_extended_and_keeps_its_deadline() -> None:
    hold = held(state=HoldState.PENDING)
    stock = stocked(hold, at=later(5))
    error = refusal(extend, stock, hold, hold_ttl_seconds=1800, etag="")
    assert (error.reason, error.metadata["state"]) == (Reason.HOLD_NOT_ACTIVE, "PENDING")
    assert begin_payment(stock, hold, Payment()).expire_time == later(15)


def test_another_state_of_the_hold_than_the_caller_read_is_refused() -> None:
    hold = held(revision=3)
    stock = stocked(hold)
    assert refusal(extend, stock, hold, hold_ttl_seconds=1800, etag="2").metadata == {"etag": "3"}
    assert refusal(begin_payment, stock, hold, Payment(etag="2")).reason is Reason.ETAG_MISMATCH
    assert not stock.dirty


def test_postponing_ends_active_holds_and_leaves_those_whose_payment_runs() -> None:
    void = Void(cause=VoidCause.EVENT_POSTPONED, through_version=5, at=later(1))
    postponed = {"controls": controls(state=EventState.POSTPONED), "voids": (void,), "at": later(2)}
    active, paying = held(), held(state=HoldState.PENDING, quantity=2)
    assert refusal(begin_payment, stocked(active, **postponed), active, Payment()).reason is Reason.HOLD_VOIDED
    stock = stocked(paying, **postponed)
    assert begin_payment(stock, paying, Payment()) is paying
    confirmed, _ = confirm(stock, paying, Confirmation("sale"))
    assert confirmed.state is HoldState.CONFIRMED
    counters = stock.sections["floor"].counters
    assert (counters.pending, counters.sold) == (0, 2)


@pytest.mark.parametrize("manages", [False, True])
def test_while_payment_runs_only_staff_and_services_release(*, manages: bool) -> None:
    hold = held(state=HoldState.PENDING, quantity=2)
    stock = stocked(hold)
    if manages:
        assert release(stock, hold, etag="", manages=True).state is HoldState.RELEASED
        assert stock.sections["floor"].counters.available == 10
    else:
        assert refusal(release, stock, hold, etag="", manages=False).reason is Reason.HOLD_NOT_ACTIVE
        assert stock.sections["floor"].counters.pending == 2


def test_a_payment_deadline_that_passed_frees_the_places() -> None:
    hold = held(state=HoldState.PENDING, quantity=10, minutes=30)
    stock = stocked(hold, at=later(30), expired=[hold])
    assert refusal(confirm, stock, hold, Confirmation("sale")).reason is Reason.HOLD_EXPIRED
    stock.reclaim("floor", 1)
    counters = stock.sections["floor"].counters
    assert (counters.pending, counters.available, stock.live_holds) == (0, 10, 0)
    assert stock.holds.changed[0].end_time == later(30)
