"""Placing, confirming, releasing and expiring holds: the rules as data."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.capacity.domain.controls import EventState, ScheduleState
from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.holds import LIVE, HoldState, Line, Void, VoidCause
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.placing import LineRequest
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import (
    NOW,
    committed,
    controls,
    date,
    held,
    inventory,
    later,
    lock,
    placed,
    priced,
    section,
)

SELLS = {EventState.ON_SALE, EventState.SOLD_OUT}
CONFIRMS = {
    EventState.RESCHEDULED,
    EventState.ON_SALE,
    EventState.SALES_PAUSED,
    EventState.SOLD_OUT,
    EventState.IN_PROGRESS,
}
REFUSALS = {EventState.CANCELLED: Reason.EVENT_CANCELLED, EventState.POSTPONED: Reason.EVENT_POSTPONED}


def refusal(call: Any, *args: Any, **kwargs: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_hold_takes_places_and_ends_alone() -> None:
    """A section of 10; A holds 3 for 5 minutes, B holds 4 for 15: at minute 6 six are free and four held."""
    stock = inventory(section(total=10))
    first = placed(stock, 3, hold_ttl_seconds=300)
    stock = committed(stock)
    second = placed(stock, 4, customer_id="bob", hold_ttl_seconds=900)
    stock = committed(stock, at=later(6))
    stock.expired = [first]
    stock.holds.load(first.hold_id, first)
    stock.reclaim("floor", 4)
    counters = stock.sections["floor"].counters
    assert (counters.available, counters.held) == (6, 4)
    assert second.seen(stock.at, ()) is second
    assert first.seen(stock.at, ()).state is HoldState.EXPIRED


def test_the_worked_example_of_a_thousand_places() -> None:
    stock = inventory(section(total=1000, sold=100, held=50))
    placed(stock, 5)
    counters = stock.sections["floor"].counters
    assert (counters.available, counters.held) == (845, 55)


@pytest.mark.parametrize("state", list(EventState))
def test_which_states_take_new_holds(state: EventState) -> None:
    stock = inventory(controls=controls(state=state))
    if state in SELLS:
        assert placed(stock, 1).state is HoldState.ACTIVE
    else:
        assert refusal(placed, stock, 1).reason is REFUSALS.get(state, Reason.EVENT_NOT_ON_SALE)


@pytest.mark.parametrize("state", list(EventState))
@pytest.mark.parametrize("paying", [False, True])
def test_which_states_confirm_holds(state: EventState, *, paying: bool) -> None:
    hold = held(state=HoldState.PENDING if paying else HoldState.ACTIVE)
    stock = inventory(section(pending=1) if paying else section(held=1), controls=controls(state=state), live_holds=1)
    if state in CONFIRMS or (paying and state is EventState.POSTPONED):
        _, sale = confirm(stock, hold, Confirmation("sale"))
        assert sale.lines == hold.lines
        assert stock.sections["floor"].counters.sold == 1
    else:
        error = refusal(confirm, stock, hold, Confirmation("sale"))
        assert error.reason is REFUSALS.get(state, Reason.EVENT_NOT_ON_SALE)


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (None, None, None),
        (0, 0, None),
        (-1, 1, None),
        (1, None, Reason.SALES_WINDOW_CLOSED),
        (None, -1, Reason.SALES_WINDOW_CLOSED),
    ],
)
@pytest.mark.parametrize("of_tier", [False, True])
def test_sales_windows_include_both_ends(
    start: float | None, end: float | None, reason: Reason | None, *, of_tier: bool
) -> None:
    bounds: dict[str, Any] = {
        "sales_start_time": None if start is None else later(start),
        "sales_end_time": None if end is None else later(end),
    }
    stock = inventory(controls=controls() if of_tier else controls(**bounds))
    line = priced(1, lock(**bounds)) if of_tier else 1
    if reason is None:
        assert placed(stock, line).state is HoldState.ACTIVE
        return
    error = refusal(placed, stock, line)
    assert error.reason is reason
    assert error.metadata.get("next_change_time") == ("2026-05-01T12:01:00Z" if start == 1 else None)


@pytest.mark.parametrize(
    ("dates", "fields", "asked_for", "expected"),
    [
        ([], {}, None, None),
        ([date("a")], {}, None, "a"),
        ([date("a"), date("b", state=ScheduleState.CANCELLED)], {}, None, "a"),
        ([date("a"), date("b", hours=-4)], {}, None, "a"),
        ([date("a"), date("b")], {}, "b", "b"),
        ([date("a"), date("b")], {}, None, Reason.VALIDATION_FAILED),
        ([date("a")], {}, "x", Reason.SCHEDULE_NOT_FOUND),
        ([date("a", state=ScheduleState.CANCELLED)], {}, "a", Reason.SALES_WINDOW_CLOSED),
        ([date("a", state=ScheduleState.POSTPONED)], {}, "a", Reason.SALES_WINDOW_CLOSED),
        ([date("a", state=ScheduleState.RESCHEDULED)], {}, "a", "a"),
        ([date("a", hours=0)], {}, "a", Reason.SALES_WINDOW_CLOSED),
        ([date("a", hours=-1)], {"sales_end_time": later(30)}, "a", "a"),
        ([date("a", hours=-4)], {"sales_end_time": later(30)}, "a", Reason.SALES_WINDOW_CLOSED),
        (
            [date("a", hours=-1, state=ScheduleState.IN_PROGRESS)],
            {"sales_end_time": later(30), "state": EventState.IN_PROGRESS},
            "a",
            "a",
        ),
    ],
)
def test_which_date_a_hold_is_for(
    dates: list[Any], fields: dict[str, Any], asked_for: str | None, expected: str | Reason | None
) -> None:
    stock = inventory(controls=controls(schedules=tuple(dates), **fields))
    line = LineRequest("floor", asked_for, 1)
    if isinstance(expected, Reason):
        assert refusal(placed, stock, line).reason is expected
    else:
        assert placed(stock, line).lines[0].schedule_id == expected


def test_a_section_of_one_date_is_for_that_date_only() -> None:
    stock = inventory(section(schedule_id="a"), controls=controls(schedules=(date("a"), date("b"))))
    assert placed(stock, 1).lines[0].schedule_id == "a"
    error = refusal(placed, stock, LineRequest("floor", "b", 1, field="lines[0]"))
    assert [each.field for each in error.violations] == ["lines[0].schedule_id"]


@pytest.mark.parametrize(
    ("quantity", "limit", "claimed", "metadata"),
    [
        (1, {}, 0, {"limit": "min_per_order", "value": "2", "section_id": "floor"}),
        (7, {}, 0, {"limit": "max_per_order", "value": "6", "section_id": "floor"}),
        (5, {"max_per_order": 4}, 0, {"limit": "max_per_order", "value": "4", "price_tier_id": "tier"}),
        (
            4,
            {"max_per_customer": 6},
            3,
            {"limit": "max_per_customer", "value": "6", "price_tier_id": "tier", "current": "3"},
        ),
        (3, {"max_per_customer": 6, "max_per_order": 3}, 3, None),
    ],
)
def test_limits(quantity: int, limit: dict[str, Any], claimed: int, metadata: dict[str, str] | None) -> None:
    stock = inventory(section(total=100, min_per_order=2, max_per_order=6))
    line = priced(quantity, lock(**limit))
    if metadata is None:
        assert placed(stock, line, claimed={"tier": claimed}).state is HoldState.ACTIVE
        return
    error = refusal(placed, stock, line, claimed={"tier": claimed})
    assert (error.reason, error.metadata) == (Reason.PURCHASE_LIMIT, metadata)


def test_several_lines_are_all_or_nothing() -> None:
    stock = inventory(section("floor", 10), section("balcony", 1))
    lines = (LineRequest("floor", None, 2), LineRequest("balcony", None, 2))
    error = refusal(placed, stock, *lines)
    assert error.metadata == {"section_id": "balcony", "available": "1", "inventory_version": "1"}
    assert not stock.dirty


@pytest.mark.parametrize(("seconds", "expected"), [(None, 900), (1, 1), (3600, 3600), (3601, Reason.VALIDATION_FAILED)])
def test_how_long_a_hold_lasts(seconds: int | None, expected: int | Reason) -> None:
    if isinstance(expected, Reason):
        assert refusal(placed, inventory(), 1, hold_ttl_seconds=seconds).reason is expected
    else:
        hold = placed(inventory(), 1, hold_ttl_seconds=seconds)
        assert hold.expire_time - hold.create_time == timedelta(seconds=expected)


def test_a_stale_price_and_a_closed_section_are_refused() -> None:
    assert refusal(placed, inventory(), priced(1, lock(expire_time=later(-1)))).reason is Reason.PRICE_LOCK_EXPIRED
    assert refusal(placed, inventory(section(active=False)), 1).reason is Reason.SECTION_CLOSED
    assert refusal(placed, inventory(), 1, event_id="another").reason is Reason.LINES_SPAN_EVENTS


def test_expired_holds_are_reclaimed_oldest_first_and_only_as_many_as_needed() -> None:
    over = [held("a", 3, minutes=1), held("b", 3, minutes=2), held("c", 3, minutes=3)]
    stock = inventory(section(total=10, held=9), at=later(60), live_holds=3, expired=over)
    placed(stock, 5)
    assert {hold.hold_id: hold.end_time for hold in stock.holds.changed} == {"a": later(1), "b": later(2)}
    assert stock.sections["floor"].counters == replace(section(total=10).counters, held=8)
    assert stock.live_holds == 2


def test_what_a_void_ended_before_its_time_is_not_called_expired_later() -> None:
    cancelled = Void(VoidCause.EVENT_POSTPONED, 1, later(2))
    over = [held("voided", 3, minutes=3), held("expired", 3, minutes=1)]
    stock = inventory(section(total=6, held=6), at=later(60), live_holds=2, expired=over, voids=(cancelled,))
    stock.reclaim("floor", 6)
    ended = {hold.hold_id: (hold.state, hold.end_time) for hold in stock.holds.changed}
    assert ended == {"voided": (HoldState.VOIDED, later(2)), "expired": (HoldState.EXPIRED, later(1))}


def test_places_that_one_commit_cannot_free_are_tidied_first() -> None:
    for fields in ({"more_expired": {"floor"}}, {"voids": (Void(VoidCause.EVENT_POSTPONED, 1, NOW),)}):
        stock = inventory(section(total=1, held=1), **fields)
        with pytest.raises(TidyFirst):
            placed(stock, 1)


@pytest.mark.parametrize(("minutes", "reason"), [(14.999, None), (15, Reason.HOLD_EXPIRED), (16, Reason.HOLD_EXPIRED)])
def test_a_hold_is_expired_from_its_expire_time_on(minutes: float, reason: Reason | None) -> None:
    stock = inventory(section(held=1), at=later(minutes), live_holds=1)
    if reason is None:
        assert confirm(stock, held(), Confirmation("sale"))[0].state is HoldState.CONFIRMED
    else:
        error = refusal(confirm, stock, held(), Confirmation("sale", etag="1"))
        assert (error.reason, error.metadata["expire_time"]) == (reason, "2026-05-01T12:15:00Z")
        assert release(stock, held(), etag="2", manages=False).state is HoldState.EXPIRED
        assert not stock.dirty


@pytest.mark.parametrize(
    ("state", "manages", "expected"),
    [
        (HoldState.ACTIVE, False, HoldState.RELEASED),
        (HoldState.PENDING, True, HoldState.RELEASED),
        (HoldState.PENDING, False, None),
        (HoldState.CONFIRMED, True, None),
        (HoldState.RELEASED, False, HoldState.RELEASED),
        (HoldState.EXPIRED, False, HoldState.EXPIRED),
        (HoldState.VOIDED, False, HoldState.VOIDED),
    ],
)
def test_releasing(state: HoldState, *, manages: bool, expected: HoldState | None) -> None:
    stock = inventory(section(held=5, pending=5), live_holds=1)
    hold = held(state=state)
    if expected is None:
        error = refusal(release, stock, hold, etag="", manages=manages)
        assert (error.reason, error.metadata["state"]) == (Reason.HOLD_NOT_ACTIVE, state.value)
    else:
        assert release(stock, hold, etag="1", manages=manages).state is expected
    assert stock.dirty == (state in LIVE and expected is HoldState.RELEASED)


def test_confirming_checks_total_and_etag() -> None:
    price = lock(minor=12420).price
    hold = held(lines=(Line(1, "floor", None, 1, price=price),))
    stock = inventory(section(held=1), live_holds=1)
    wrong = refusal(confirm, stock, hold, Confirmation("sale", expected_total=Money(10000, "USD")))
    assert (wrong.reason, wrong.metadata) == (
        Reason.TOTAL_MISMATCH,
        {"expected_total": "USD 100.00", "total": "USD 124.20"},
    )
    assert refusal(confirm, stock, hold, Confirmation("sale", etag="2")).reason is Reason.ETAG_MISMATCH
    assert not stock.dirty
    confirmed, sale = confirm(stock, hold, Confirmation("sale", expected_total=Money(12420, "USD"), etag="1"))
    assert (confirmed.sale_id, sale.total, sale.hold_id) == ("sale", Money(12420, "USD"), "hold")


@pytest.mark.parametrize(
    ("void", "hold", "ended"),
    [
        (Void(VoidCause.EVENT_CANCELLED, 1, later(5)), held(), True),
        (Void(VoidCause.EVENT_CANCELLED, 1, later(5)), held(state=HoldState.PENDING), True),
        (Void(VoidCause.EVENT_CANCELLED, 1, later(5)), held(placed_version=2), False),
        (Void(VoidCause.EVENT_CANCELLED, 1, later(15)), held(), False),
        (Void(VoidCause.EVENT_CANCELLED, 1, later(5)), held(state=HoldState.RELEASED), False),
        (Void(VoidCause.EVENT_POSTPONED, 1, later(5)), held(), True),
        (Void(VoidCause.EVENT_POSTPONED, 1, later(5)), held(state=HoldState.PENDING), False),
        (
            Void(VoidCause.SCHEDULE_CANCELLED, 1, later(5), schedule_id="a"),
            held(lines=(Line(1, "floor", "b", 1), Line(2, "floor", "a", 1))),
            True,
        ),
        (Void(VoidCause.SCHEDULE_CANCELLED, 1, later(5), schedule_id="a"), held(lines=(Line(1, "x", "b", 1),)), False),
    ],
)
def test_what_a_void_ends(void: Void, hold: Any, *, ended: bool) -> None:
    assert void.ends(hold) is ended
    seen = hold.seen(later(6), (void,))
    assert (seen.state is HoldState.VOIDED) is ended
    if ended:
        assert (seen.end_time, seen.void_cause) == (later(5), void.cause)
        stock = inventory(section(held=1), at=later(6), voids=(void,))
        assert refusal(confirm, stock, hold, Confirmation("sale", etag="1")).reason is Reason.HOLD_VOIDED
