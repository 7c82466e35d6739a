"""Changing what a hold claims: parts given back, lines added, all of it or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity import journal_messages
from holdfast.capacity.domain.adding import OtherPriceError
from holdfast.capacity.domain.blocks import Block, BlockKind
from holdfast.capacity.domain.changing import ChangeRequest, change, shrunk
from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.holds import HoldState, Line, LinePrice
from holdfast.capacity.domain.inventory import TidyFirst
from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.domain.seat_rows import Numbers, Row, SeatRun
from holdfast.capacity.domain.seats import Seating, SeatOwner
from holdfast.capacity.domain.sections import SectionKind
from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from tests.unit.capacity.factories import NOW, controls, held, inventory, later, lock, priced, section

if TYPE_CHECKING:
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.domain.inventory import Inventory

LAYOUT = Layout(rows=(Row(label="A", runs=(SeatRun(place=1, labels=(Numbers(1, 1, 10),)),)),))


def refusal(call: Any, *args: Any) -> DomainError:
    with pytest.raises(DomainError) as caught:
        call(*args)
    return caught.value


def price(minor: int, *, version: int = 1, tier: str = "tier") -> LinePrice:
    return LinePrice(tier, version, Money(minor, "USD"), b"")


def asked(
    *given: PartRequest,
    add: tuple[LineRequest | int, ...] = (),
    prices: dict[tuple[LinePrice, int], LinePrice] | None = None,
    etag: str = "",
) -> ChangeRequest:
    added = tuple(
        LineRequest("floor", None, each, field=f"add_lines[{index}]") if isinstance(each, int) else each
        for index, each in enumerate(add)
    )
    return ChangeRequest(given=given, added=added, prices=prices or {}, etag=etag)


def part(number: int = 1, quantity: int | None = None, *labels: str) -> PartRequest:
    return PartRequest(number, quantity, labels, field="release_lines[0]")


def stocked(hold: Hold, *sections: Any, **fields: Any) -> Inventory:
    """Give an inventory in which a hold's lines are counted, and its seats are its own."""
    quantities: dict[str, int] = {}
    for line in hold.lines:
        quantities[line.section_id] = quantities.get(line.section_id, 0) + line.quantity
    rows = [
        replace(each, counters=replace(each.counters, held=each.counters.held + quantities.get(each.section_id, 0)))
        for each in (sections or (section(),))
    ]
    stock = inventory(*rows, live_holds=1, **fields)
    stock.holds.load(hold.hold_id, hold)
    for each in rows:
        if each.seated:
            mine = [seat for line in hold.lines if line.section_id == each.section_id for seat in line.seats]
            stock.seatings[each.section_id] = Seating(LAYOUT, sum(1 << seat for seat in mine))
    return stock


def seats(*numbers: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    return tuple(number - 1 for number in numbers), tuple(f"A-{number}" for number in numbers)


def seated_line(number: int, *numbers: int, **fields: Any) -> Line:
    indexes, labels = seats(*numbers)
    return Line(number, "floor", None, len(numbers), seats=indexes, labels=labels, **fields)


def wanted_seats(*numbers: int, **fields: Any) -> LineRequest:
    return LineRequest("floor", None, len(numbers), labels=seats(*numbers)[1], **fields)


@pytest.mark.parametrize(
    ("given", "left", "released"),
    [
        ([part(1, 2)], [(1, 1), (2, 2)], [(1, 2)]),
        ([part(1, 3)], [(2, 2)], [(1, 3)]),
        ([part(1)], [(2, 2)], [(1, 3)]),
        ([part(1, 1), part(2)], [(1, 2)], [(1, 1), (2, 2)]),
    ],
)
def test_parts_of_lines_come_back_and_lines_keep_their_numbers(given: Any, left: Any, released: Any) -> None:
    hold = held(lines=(Line(1, "floor", None, 3), Line(2, "balcony", None, 2)))
    stock = stocked(hold, section(), section("balcony"))
    now = change(stock, hold, asked(*given))
    assert [(line.number, line.quantity) for line in now.lines] == left
    assert (now.expire_time, now.create_time, now.etag) == (hold.expire_time, hold.create_time, "2")
    assert [(line.number, line.quantity) for line in stock.released_lines["hold"]] == released
    counts = {name: each.counters.held for name, each in stock.sections.items()}
    assert sum(counts.values()) == stock.counters.held == sum(quantity for _, quantity in left)
    assert (stock.live_holds, stock.relined_holds) == (1, {"hold"})


@pytest.mark.parametrize(
    ("given", "metadata"),
    [
        (part(1, 4), {"line": "1", "remaining": "3"}),
        (part(2), {"line": "2", "remaining": "0"}),
    ],
)
def test_more_than_a_line_has_is_refused(given: PartRequest, metadata: dict[str, str]) -> None:
    hold = held(quantity=3)
    stock = stocked(hold)
    error = refusal(change, stock, hold, asked(given))
    assert (error.reason, error.metadata) == (Reason.LINE_EXCEEDED, metadata)
    assert not stock.dirty


@pytest.mark.parametrize(
    ("request_of", "field"),
    [
        (asked(part(1), part(1)), "release_lines[0].number"),
        (asked(part(1)), "release_lines"),  # nothing would be left
        (asked(part(1, None, "A-1")), "release_lines[0].seats"),
        (asked(add=(1,) * 2), "add_lines[1].section_id"),
    ],
)
def test_senseless_changes_are_refused(request_of: ChangeRequest, field: str) -> None:
    hold = held(quantity=3)
    stock = stocked(hold)
    error = refusal(change, stock, hold, request_of)
    assert error.reason is Reason.VALIDATION_FAILED
    assert [each.field for each in error.violations] == [field]
    assert not stock.dirty


def test_a_hold_has_at_most_fifty_lines() -> None:
    lines = tuple(Line(number, f"s{number}", None, 1) for number in range(1, 51))
    hold = held(lines=lines)
    sections = [section(f"s{number}") for number in range(1, 52)]
    stock = stocked(hold, *sections)
    error = refusal(change, stock, hold, asked(add=(LineRequest("s51", None, 1),)))
    assert [each.field for each in error.violations] == ["add_lines"]
    now = change(stock, hold, asked(part(50), add=(LineRequest("s51", None, 1),)))
    assert [line.number for line in now.lines] == [*range(1, 50), 51]


def test_numbers_of_lines_are_bounded() -> None:
    hold = held(lines=(Line(10_000, "floor", None, 1),))
    assert refusal(change, stocked(hold), hold, asked(add=(1,))).reason is Reason.VALIDATION_FAILED


def test_what_is_given_back_can_be_taken_in_the_same_change() -> None:
    hold = held(quantity=10)
    stock = stocked(hold)  # all of the section
    now = change(stock, hold, asked(part(1, 4), add=(4,)))
    assert [(line.number, line.quantity) for line in now.lines] == [(1, 6), (2, 4)]
    assert stock.sections["floor"].counters.held == 10
    error = refusal(change, stock, now, asked(part(1, 2), add=(3,)))
    assert error.reason is Reason.INSUFFICIENT_CAPACITY
    assert stock.holds.now["hold"] is now


def test_nothing_is_given_back_if_what_is_added_cannot_be_had() -> None:
    hold = held(quantity=3)
    stock = stocked(hold, section(), section("balcony", sold=10))
    error = refusal(change, stock, hold, asked(part(1, 1), add=(LineRequest("balcony", None, 1),)))
    assert (error.reason, error.metadata["section_id"]) == (Reason.INSUFFICIENT_CAPACITY, "balcony")
    assert not stock.dirty
    assert stock.sections["floor"].counters.held == 3


def test_places_of_holds_that_are_over_are_taken() -> None:
    hold, other = held(quantity=1), held("other", 9, minutes=5)
    stock = stocked(hold, section(held=9), at=later(6), expired=[other])
    now = change(stock, hold, asked(add=(9,)))
    assert sum(line.quantity for line in now.lines) == 10
    assert stock.holds.now["other"].state is HoldState.EXPIRED
    crowded = stocked(hold, section(held=9), at=later(6), more_expired={"floor"})
    with pytest.raises(TidyFirst):
        change(crowded, hold, asked(add=(1,)))


def test_lines_that_stay_keep_their_price_and_what_is_left_gets_its_own() -> None:
    full, left = price(34_000), price(36_000)  # ten at 15 % off, nine without
    hold = held(lines=(Line(1, "floor", None, 10, price=full), Line(2, "balcony", None, 1, price=price(500))))
    stock = stocked(hold, section(), section("balcony"))
    assert shrunk(hold, [part(1, 1), part(2)]) == [(hold.lines[0], 9)]
    with pytest.raises(OtherPriceError):
        change(stock, hold, asked(part(1, 1)))
    with pytest.raises(OtherPriceError):
        change(stock, hold, asked(part(1, 2), prices={(full, 9): left}))
    assert not stock.dirty
    now = change(stock, hold, asked(part(1, 1), prices={(full, 9): left}))
    assert [line.price for line in now.lines] == [left, price(500)]
    (released,) = stock.released_lines["hold"]
    assert released.price is not None
    assert (released.price.total, released.price.price_tier_id) == (Money(-2000, "USD"), "tier")
    row = journal_messages.change_message(stock, ()).holds[0].released_lines[0]
    assert (row.number, row.quantity, row.total_minor) == (1, 1, -2000)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([part(1)], []),
        ([part(1, 3)], []),
        ([part(1, 4)], []),
        ([part(1, 2)], [1]),
        ([part(7, 1)], []),
        ([part(2, 1)], []),  # it has no price
    ],
)
def test_which_lines_are_priced_again(given: Any, expected: list[int]) -> None:
    hold = held(lines=(Line(1, "floor", None, 3, price=price(100)), Line(2, "floor", None, 3)))
    assert [left for _, left in shrunk(hold, given)] == expected


def test_limits_count_the_hold_as_it_will_be() -> None:
    hold = held(lines=(Line(1, "floor", None, 3, price=price(3000)),))
    floor = section(min_per_order=2, max_per_order=6)
    stock = stocked(hold, floor, section("balcony"))
    few = refusal(change, stock, hold, asked(part(1, 2), prices={(price(3000), 1): price(1000)}))
    assert few.metadata == {"limit": "min_per_order", "value": "2", "section_id": "floor"}
    many = refusal(change, stock, hold, asked(add=(4,)))
    assert many.metadata == {"limit": "max_per_order", "value": "6", "section_id": "floor"}
    # One more of the section is right here though it would be too small an order by itself.
    assert len(change(stock, hold, asked(add=(1,))).lines) == 2


def test_limits_of_a_section_whose_number_of_places_stays_are_not_asked_again() -> None:
    hold = held(quantity=3)
    stock = stocked(hold, section(max_per_order=2), section("balcony"))  # lowered after the hold was placed
    now = change(stock, hold, asked(part(1, 1), add=(1, LineRequest("balcony", None, 1))))
    assert sum(line.quantity for line in now.lines) == 4
    assert refusal(change, stocked(hold, section(max_per_order=1)), hold, asked(part(1, 1))).reason is (
        Reason.PURCHASE_LIMIT
    )


@pytest.mark.parametrize(
    ("claimed", "per_order", "per_customer", "limit"),
    [
        (5, 0, 6, None),  # 2 elsewhere, 3 here: 1 goes, 2 come
        (6, 0, 6, "max_per_customer"),
        (5, 4, 0, None),
        (5, 3, 0, "max_per_order"),
    ],
)
def test_limits_of_a_tier_count_the_order_and_the_customer_as_they_will_be(
    claimed: int, per_order: int, per_customer: int, limit: str | None
) -> None:
    hold = held(lines=(Line(1, "floor", None, 3, price=price(3000)),))
    stock = stocked(hold, section(), section("balcony"), claimed={("ann", "tier"): claimed})
    added = priced(2, lock(max_per_order=per_order, max_per_customer=per_customer), "balcony")
    wanted = asked(part(1, 1), add=(added,), prices={(price(3000), 2): price(2000)})
    if limit is None:
        change(stock, hold, wanted)
        assert stock.claimed == {("ann", "tier"): claimed + 1}
    else:
        error = refusal(change, stock, hold, wanted)
        assert error.metadata["limit"] == limit
        if limit == "max_per_customer":
            assert error.metadata["current"] == str(claimed - 3)
        assert not stock.dirty


def test_one_seat_for_another_and_the_same_seat_again() -> None:
    hold = held(lines=(seated_line(1, 2, 3),))
    stock = stocked(hold, section(kind=SectionKind.SEATED))
    now = change(stock, hold, asked(part(1, None, "A-3"), add=(wanted_seats(3, 4),)))
    assert [(line.number, line.labels) for line in now.lines] == [(1, ("A-2",)), (2, ("A-3", "A-4"))]
    seating = stock.seatings["floor"]
    assert seating.taken == 0b1110
    assert seating.claims == {2: SeatOwner(hold_id="hold"), 3: SeatOwner(hold_id="hold")}
    assert seating.freed_rows == [2]
    (told,) = journal_messages.change_message(stock, ()).seats
    assert (list(told.indexes), told.taken) == ([3], True)
    assert stock.sections["floor"].counters.held == 3


def test_a_seat_that_somebody_has_is_named_and_nothing_changes() -> None:
    hold = held(lines=(seated_line(1, 2, 3),))
    stock = stocked(hold, section(held=1, kind=SectionKind.SEATED))
    stock.seatings["floor"] = Seating(LAYOUT, 0b10110)  # are the hold's, A-5 somebody's
    error = refusal(change, stock, hold, asked(part(1, None, "A-2"), add=(wanted_seats(2, 5),)))
    assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-5")
    own = refusal(change, stock, hold, asked(add=(wanted_seats(3),)))
    assert (own.reason, own.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-3")
    other = refusal(change, stock, hold, asked(part(1, None, "A-5")))
    assert (other.reason, other.metadata) == (
        Reason.LINE_EXCEEDED,
        {"line": "1", "remaining": "2", "seats": "A-5"},
    )
    number = refusal(change, stock, hold, asked(part(1, 1)))
    assert [each.field for each in number.violations] == ["release_lines[0].quantity"]
    assert not stock.dirty


def house(*, left: int = 1, numbers: tuple[int, ...] = (), ended: bool = False) -> Block:
    indexes, labels = seats(*numbers)
    return Block(
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
        seats=indexes,
        labels=labels,
        taken_quantity=2,
        end_time=NOW if ended else None,
    )


def test_places_from_a_block_go_back_to_it() -> None:
    hold = held(lines=(Line(1, "floor", None, 2, block_id="house"), Line(2, "balcony", None, 1)))
    stock = stocked(hold, section(blocked=1), section("balcony"))
    stock.blocks.load("house", house())
    change(stock, hold, asked(part(1, 1)))
    block = stock.blocks.now["house"]
    assert (block.quantity, block.taken_quantity) == (2, 1)
    counters = stock.sections["floor"].counters
    assert (counters.held, counters.blocked, counters.available) == (1, 2, 7)


@pytest.mark.parametrize(("take", "good"), [(3, True), (4, False)])
def test_places_that_go_back_to_a_block_can_be_taken_from_it_in_the_same_change(*, take: int, good: bool) -> None:
    hold = held(lines=(Line(1, "floor", None, 2, block_id="house"),))
    stock = stocked(hold, section(blocked=1))
    stock.blocks.load("house", house())
    wanted = asked(part(1), add=(LineRequest("floor", None, take, block_id="house"),))
    if good:
        change(stock, hold, wanted)
        assert (stock.blocks.now["house"].quantity, stock.blocks.now["house"].taken_quantity) == (0, 3)
    else:
        assert refusal(change, stock, hold, wanted).reason is Reason.INSUFFICIENT_CAPACITY
        assert not stock.dirty


def test_a_seat_that_goes_back_to_a_block_is_not_free_to_everybody() -> None:
    hold = held(lines=(seated_line(1, 2, block_id="house"), seated_line(2, 3)))
    stock = stocked(hold, section(kind=SectionKind.SEATED))
    stock.blocks.load("house", house(left=0))
    error = refusal(change, stock, hold, asked(part(1), add=(wanted_seats(2),)))
    assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-2")
    assert not stock.dirty
    now = change(stock, hold, asked(part(1), add=(wanted_seats(2, block_id="house"),)))
    assert [(line.number, line.labels, line.block_id) for line in now.lines] == [
        (2, ("A-3",), None),
        (3, ("A-2",), "house"),
    ]


def test_places_of_a_block_that_is_over_go_to_sale() -> None:
    hold = held(lines=(Line(1, "floor", None, 2, block_id="house"),))
    stock = stocked(hold, section(total=2))
    stock.blocks.load("house", house(left=0, ended=True))
    now = change(stock, hold, asked(part(1), add=(2,)))
    assert [(line.number, line.block_id) for line in now.lines] == [(2, None)]
    assert stock.sections["floor"].counters.available == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": HoldState.PENDING}, Reason.HOLD_NOT_ACTIVE),
        ({"state": HoldState.CONFIRMED, "end_time": NOW}, Reason.HOLD_NOT_ACTIVE),
        ({"state": HoldState.EXPIRED, "end_time": NOW}, Reason.HOLD_EXPIRED),
        ({"minutes": 5}, Reason.HOLD_EXPIRED),
        ({"revision": 7}, Reason.ETAG_MISMATCH),
    ],
)
def test_only_an_active_hold_that_is_as_it_was_read_changes(fields: dict[str, Any], reason: Reason) -> None:
    hold = held(quantity=3, **fields)
    stock = stocked(hold, at=later(5))
    assert refusal(change, stock, hold, asked(part(1, 1), etag="1")).reason is reason
    assert not stock.dirty


@pytest.mark.parametrize("state", list(EventState))
def test_places_come_back_whatever_the_event_is_doing_and_are_added_only_while_it_sells(state: EventState) -> None:
    hold = held(quantity=3)
    assert change(stocked(hold, controls=controls(state=state)), hold, asked(part(1, 1))).lines[0].quantity == 2
    stock = stocked(hold, controls=controls(state=state))
    if state in {EventState.ON_SALE, EventState.SOLD_OUT}:
        assert len(change(stock, hold, asked(add=(1,))).lines) == 2
    else:
        assert refusal(change, stock, hold, asked(add=(1,))).reason in {
            Reason.EVENT_NOT_ON_SALE,
            Reason.EVENT_CANCELLED,
            Reason.EVENT_POSTPONED,
        }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"lock": lock(expire_time=later(-1))}, Reason.PRICE_LOCK_EXPIRED),
        ({"lock": lock(sales_end_time=later(-1))}, Reason.SALES_WINDOW_CLOSED),
        ({"section_id": "nowhere"}, Reason.SECTION_NOT_FOUND),
        ({"section_id": "closed"}, Reason.SECTION_CLOSED),
        ({"schedule_id": "friday"}, Reason.SCHEDULE_NOT_FOUND),
        ({"block_id": "nobody"}, Reason.BLOCK_NOT_FOUND),
        ({"labels": ("A-1",)}, Reason.SEAT_NOT_FOUND),
    ],
)
def test_what_is_added_is_judged_as_a_new_hold_is(fields: dict[str, Any], reason: Reason) -> None:
    hold = held(quantity=3)
    stock = stocked(hold, section(), section("closed", active=False))
    wanted = LineRequest(**{"section_id": "floor", "schedule_id": None, "quantity": 1, **fields})
    assert refusal(change, stock, hold, asked(part(1, 1), add=(wanted,))).reason is reason
    assert not stock.dirty


def test_changes_of_one_commit_add_up() -> None:
    hold = held(quantity=5)
    stock = stocked(hold)
    first = change(stock, hold, asked(part(1, 2)))
    second = change(stock, first, asked(part(1, 1), add=(4,)))
    assert [(line.number, line.quantity) for line in second.lines] == [(1, 2), (2, 4)]
    assert [line.quantity for line in stock.released_lines["hold"]] == [2, 1]
    (told,) = journal_messages.change_message(stock, ()).holds
    assert [place.quantity for place in told.before.places] == [5]
    assert [line.quantity for line in told.lines] == [2, 4]
    assert stock.sections["floor"].counters.held == 6
