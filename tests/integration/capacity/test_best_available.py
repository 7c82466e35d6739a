"""Best available: which seats holds get that leave the choice to the service, and what they are told without any."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import availability_pb2
from holdfast.capacity.domain.best_available import Wish
from holdfast.capacity.domain.layouts import Layout
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.operations.holds import PlaceHold
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, schedule, state_of
from tests.integration.capacity.steps import blocked, claimed_seats, hold_seats, taken_seats
from tests.integration.capacity.test_expiry import over
from tests.unit.capacity.best_available_reference import reference

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import hold_pb2, section_pb2
    from tests.integration.capacity.conftest import Capacity

KINDS = {
    ".": {},
    "w": {"wheelchair": True},
    "c": {"companion": True},
    "r": {"restricted_view": True},
    "v": {"category": "VIP"},
}
CHANGE = availability_pb2.AvailabilityRefusal.Change


async def room(
    capacity: Capacity, *rows: str, event_id: str = "", schedule_id: str = "", **section: Any
) -> section_pb2.Section:
    """Lay out rows as they are drawn, front first: `_` a gap, else a kind of seat."""
    layouts = [
        {"runs": [{"gap": 1} if kind == "_" else {"seats": 1, "attributes": KINDS[kind]} for kind in row]}
        for row in rows
    ]
    made = await capacity.call(
        "GenerateSeating",
        event_id=event_id or await capacity.event(),
        schedule_id=schedule_id,
        config={"sections": [{"name": f"Seats {new_id()}", "row_layouts": layouts, **section}]},
    )
    first: section_pb2.Section = made.sections[0]
    return first


async def best(
    capacity: Capacity, section: section_pb2.Section, quantity: int, *, fields: Any = None, **wish: Any
) -> hold_pb2.Hold:
    """Hold the best seats there are; `fields` are others of the request."""
    answer = await capacity.call(
        "PlaceHold",
        **{"role": "buyer", "section_id": section.id, **(fields or {})},
        best_available={"quantity": quantity, **wish},
    )
    hold: hold_pb2.Hold = answer.hold
    return hold


async def check(capacity: Capacity, section: section_pb2.Section, quantity: int, **wish: Any) -> Any:
    return await capacity.call(
        "CheckAvailability", role="buyer", section_id=section.id, best_available={"quantity": quantity, **wish}
    )


def seats(hold: hold_pb2.Hold, line: int = 0) -> list[str]:
    return list(hold.lines[line].seats)


def any_rows(rng: random.Random) -> list[str]:
    """Draw rows of one to twelve seats with gaps and kinds of seats."""
    kinds = rng.choice((".", "....v", "......rr", ".....wc", "..wcrv"))
    return [
        "".join(
            "_" if place > 0 and rng.random() < 0.08 else rng.choice(kinds) for place in range(rng.randint(1, 12))
        ).rstrip("_")
        for _ in range(rng.randint(2, 5))
    ]


def any_wish(rng: random.Random) -> Wish:
    quantity = rng.choice((1, 2, 2, 3, 3, 4, 5))
    return Wish(
        quantity,
        wheelchairs=rng.randint(1, min(2, quantity)) if rng.random() < 0.25 else 0,
        allow_split=rng.random() < 0.4,
        restricted_view_allowed=rng.random() < 0.5,
        category="VIP" if rng.random() < 0.15 else "",
    )


@pytest.mark.parametrize("seed", range(4))
async def test_no_better_seats_were_free_when_a_hold_of_a_batch_got_its_own(capacity: Capacity, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 (a seed that reproduces the room)
    focal: dict[str, Any] = (
        {"focal_point": {"row": rng.randint(1, 4), "place": rng.randint(1, 10)}} if rng.random() < 0.5 else {}
    )
    section = await room(capacity, *any_rows(rng), **focal)
    (stored,) = capacity.rows("SELECT row_layout FROM capacity.sections WHERE id = %s", section.id)[0]
    layout, taken = Layout.from_json(stored), set[int]()
    refusals = 0
    async with capacity.engine_of_the_service() as submit:
        for _ in range(4):
            wishes = [any_wish(rng) for _ in range(6)]
            commands = [
                PlaceHold(
                    PlaceRequest(
                        hold_id=new_id(),
                        event_id=section.event_id,
                        customer_id="ann",
                        placed_by="ann",
                        lines=(LineRequest(section.id, None, wish.quantity, wish=wish),),
                    )
                )
                for wish in wishes
            ]
            answers = await asyncio.gather(
                *(submit(section.event_id, command) for command in commands), return_exceptions=True
            )
            for wish, answer in zip(wishes, answers, strict=True):
                expected = reference(layout, taken, wish)
                if expected is None:
                    assert isinstance(answer, DomainError), wish
                    assert answer.reason is Reason.INSUFFICIENT_CAPACITY
                    refusals += 1
                    continue
                assert not isinstance(answer, BaseException), (wish, answer)
                assert list(answer.hold.lines[0].seats) == sorted(seat for group in expected for seat in group), wish
                taken |= set(answer.hold.lines[0].seats)
            given_back = rng.sample([each for each in answers if not isinstance(each, BaseException)] or [None], 1)[0]
            if given_back is not None:
                await capacity.call("ReleaseHold", hold_id=given_back.hold.hold_id)
                taken -= set(given_back.hold.lines[0].seats)
    assert set(taken_seats(capacity, section.id)) == taken
    assert refusals < 24
    await capacity.check(section.event_id)


async def test_a_repetition_gets_the_same_seats(capacity: Capacity) -> None:
    section = await room(capacity, "......")
    key = {"request_id": new_id()}
    first = await best(capacity, section, 2, fields=key)
    await best(capacity, section, 2)
    again = await best(capacity, section, 2, fields=key)
    assert (again.id, seats(again)) == (first.id, seats(first))
    for other in ({"quantity": 3}, {"quantity": 2, "allow_split": True}):
        asked = capacity.call("PlaceHold", role="buyer", section_id=section.id, best_available=other, **key)
        assert (await refused(asked)).reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert len(taken_seats(capacity, section.id)) == 4


async def test_a_refusal_tells_what_there_is(capacity: Capacity) -> None:
    section = await room(capacity, "...w")
    middle = await hold_seats(capacity, section, "A-2")
    error = await refused(best(capacity, section, 2))
    assert error.reason is Reason.INSUFFICIENT_CAPACITY
    version = len(await capacity.journal(section.event_id))
    assert error.metadata == {
        "section_id": section.id,
        "available": "3",
        "adjacent": "1",
        "inventory_version": str(version),
        "next_change_time": middle.expire_time.ToJsonString().replace(".000000Z", "Z"),
    }
    wheelchairs = await refused(best(capacity, section, 3, wheelchair_quantity=2))
    assert (wheelchairs.metadata["adjacent"], wheelchairs.metadata["wheelchairs"]) == ("2", "1")
    assert taken_seats(capacity, section.id) == [1]


async def test_seats_of_a_hold_whose_time_is_over_are_as_good_as_free_ones(capacity: Capacity) -> None:
    section = await room(capacity, "....", "....")
    front = await best(capacity, section, 4, fields={"hold_ttl_seconds": 1})
    back = await best(capacity, section, 2, fields={"hold_ttl_seconds": 1})
    assert (seats(front), seats(back)) == (["A-1", "A-2", "A-3", "A-4"], ["B-1", "B-2"])
    await over(capacity, front.id)
    await over(capacity, back.id)
    assert list((await check(capacity, section, 4)).seats) == seats(front)
    hold = await best(capacity, section, 3)
    assert seats(hold) == ["A-1", "A-2", "A-3"]
    stored = dict(capacity.rows("SELECT id, state FROM capacity.holds WHERE event_id = %s", section.event_id))
    assert stored == {front.id: "EXPIRED", back.id: "ACTIVE", hold.id: "ACTIVE"}
    assert taken_seats(capacity, section.id) == [0, 1, 2, 4, 5]
    rest = await refused(best(capacity, section, 5))  # what is over makes no five, and is brought up to date
    assert (rest.metadata["available"], rest.metadata["adjacent"]) == ("5", "4")
    assert taken_seats(capacity, section.id) == [0, 1, 2]
    await capacity.check(section.event_id)


async def test_more_that_is_over_than_one_commit_frees_is_brought_up_to_date_first(capacity: Capacity) -> None:
    section = await room(capacity, *("." * 26,) * 24)
    async with capacity.engine_of_the_service() as submit:
        requests = [
            PlaceRequest(
                hold_id=new_id(),
                event_id=section.event_id,
                customer_id="ann",
                placed_by="ann",
                lines=(LineRequest(section.id, None, 1, wish=Wish(1)),),
                hold_ttl_seconds=1,
            )
            for _ in range(24 * 26)
        ]
        await asyncio.gather(*(submit(section.event_id, PlaceHold(request)) for request in requests))
    await over(capacity, requests[-1].hold_id)
    hold = await best(capacity, section, 26)
    assert seats(hold)[0] == "A-1"
    await capacity.check(section.event_id)


async def test_blocked_seats_are_nobodys_best_but_for_holds_from_their_block(capacity: Capacity) -> None:
    section = await room(capacity, "......")
    block = await blocked(capacity, section, ["A-2", "A-3", "A-4"])
    assert seats(await best(capacity, section, 2)) == ["A-5", "A-6"]
    guest = {"role": "owner", "block_id": block.id}
    denied = await refused(best(capacity, section, 2, fields={"block_id": block.id}))
    assert denied.reason is Reason.PERMISSION_MISSING
    too_many = await refused(best(capacity, section, 4, fields=guest))
    assert (too_many.metadata["block_id"], too_many.metadata["available"]) == (block.id, "3")
    assert too_many.metadata["adjacent"] == "3"
    house = await best(capacity, section, 2, fields={**guest, "hold_ttl_seconds": 1})
    assert seats(house) == ["A-3", "A-4"]
    await over(capacity, house.id)
    again = await best(capacity, section, 3, fields=guest)  # what came back into the block is taken again
    assert seats(again) == ["A-2", "A-3", "A-4"]
    assert (await refused(best(capacity, section, 2))).metadata["adjacent"] == "1"
    assert set(claimed_seats(capacity, section.id).values()) == {"hold"}
    await capacity.check(section.event_id)


async def test_limits_apply_before_seats_are_looked_for(capacity: Capacity) -> None:
    section = await room(capacity, "....")
    tier_id = capacity.tier(max_per_customer=3)
    await capacity.call("UpdateSection", section_id=section.id, section={"max_per_order": 4})
    error = await refused(best(capacity, section, 5))
    assert (error.reason, error.metadata["limit"]) == (Reason.PURCHASE_LIMIT, "max_per_order")
    hold = await best(capacity, section, 2, fields={"price_tier_id": tier_id})
    assert hold.total.amount == "20.00"
    error = await refused(best(capacity, section, 2, fields={"price_tier_id": tier_id}))
    assert (error.reason, error.metadata["limit"]) == (Reason.PURCHASE_LIMIT, "max_per_customer")


async def test_several_lines_get_their_seats_or_none_does(capacity: Capacity) -> None:
    event_id = await capacity.event(schedules=[schedule(days=10), schedule(days=11)])
    both = await room(capacity, "....", event_id=event_id)
    other = await room(capacity, "..", event_id=event_id)
    first, second = (each.schedule_id for each in capacity.world.controls[event_id].schedules)

    async def place(*lines: Any) -> hold_pb2.Hold:
        answer = await capacity.call("PlaceHold", role="buyer", event_id=event_id, lines=lines)
        hold: hold_pb2.Hold = answer.hold
        return hold

    def line(section: section_pb2.Section, quantity: int, date: str = first) -> dict[str, Any]:
        return {"section_id": section.id, "schedule_id": date, "best_available": {"quantity": quantity}}

    error = await refused(place(line(both, 2), line(other, 3)))
    assert (error.reason, error.metadata["section_id"]) == (Reason.INSUFFICIENT_CAPACITY, other.id)
    assert not taken_seats(capacity, both.id)
    # Two dates of the same seats: what one line gets the other does not.
    explicit = {"section_id": both.id, "schedule_id": second, "seats": {"labels": ["A-1"]}}
    twice = await refused(place(explicit, {**explicit, "schedule_id": first}))
    assert [each.field for each in twice.violations] == ["lines[1].seats"]
    hold = await place(line(both, 3), explicit, line(other, 2))
    assert [list(each.seats) for each in hold.lines] == [["A-2", "A-3", "A-4"], ["A-1"], ["A-1", "A-2"]]
    await capacity.check(event_id)


async def test_other_sections_are_tried_in_the_order_of_preference(capacity: Capacity) -> None:
    event_id = await capacity.event()
    first, second, third = [await room(capacity, "...", event_id=event_id) for _ in range(3)]
    wish = {"fallback_section_ids": [second.id, third.id]}
    assert (await best(capacity, first, 2, **wish)).lines[0].section_id == first.id
    hold = await best(capacity, first, 2, **wish)
    assert (hold.lines[0].section_id, seats(hold)) == (second.id, ["A-1", "A-2"])
    told = await check(capacity, first, 2, **wish)
    assert (told.available, told.section_id, list(told.seats)) == (True, third.id, ["A-1", "A-2"])
    assert told.available_count == 3
    await capacity.call("UpdateSection", section_id=third.id, section={"max_per_order": 1})
    error = await refused(best(capacity, first, 2, **wish))
    assert (error.reason, error.metadata["section_id"]) == (Reason.INSUFFICIENT_CAPACITY, first.id)
    await capacity.call("UpdateSection", section_id=first.id, section={"active": False})
    assert (await best(capacity, first, 1, **wish)).lines[0].section_id == second.id
    assert (await best(capacity, first, 1, **wish)).lines[0].section_id == third.id
    assert (await refused(best(capacity, first, 3, **wish))).reason is Reason.SECTION_CLOSED


async def test_sections_to_fall_back_on_are_those_that_the_tier_applies_to(capacity: Capacity) -> None:
    event_id = await capacity.event(schedules=[schedule()])
    first, second, third = [await room(capacity, "..", event_id=event_id) for _ in range(3)]
    everywhere, of_first = capacity.tier(), capacity.tier(section_id=first.id)
    wish = {"fallback_section_ids": [second.id, third.id]}
    hold = await best(capacity, first, 2, fields={"price_tier_id": of_first}, **wish)
    assert (hold.lines[0].section_id, hold.total.amount) == (first.id, "20.00")
    refusal = await refused(best(capacity, first, 2, fields={"price_tier_id": of_first}, **wish))
    assert (refusal.reason, refusal.metadata["section_id"]) == (Reason.INSUFFICIENT_CAPACITY, first.id)
    hold = await best(capacity, first, 2, fields={"price_tier_id": everywhere}, **wish)
    assert (hold.lines[0].section_id, hold.lines[0].locked_price.price_tier_id) == (second.id, everywhere)
    of_third = capacity.tier(section_id=third.id)
    refusal = await refused(best(capacity, first, 2, fields={"price_tier_id": of_third}, **wish))
    assert refusal.reason is Reason.PRICE_TIER_NOT_APPLICABLE


async def test_what_cannot_be_fallen_back_on_is_refused_even_if_nobody_needs_it(capacity: Capacity) -> None:
    dates = [schedule(days=10), schedule(days=11)]
    event_id = await capacity.event(schedules=dates)
    here, there, later = [
        await room(capacity, "..", event_id=event_id, schedule_id=date) for date in ("", "", dates[1].schedule_id)
    ]
    general = await capacity.section(event_id, 5)
    elsewhere = await room(capacity, "..")
    block = await blocked(capacity, here, ["A-1"])
    on = {"schedule_id": dates[0].schedule_id}
    wrong: list[tuple[list[str], dict[str, Any], Reason]] = [
        ([general.id], {}, Reason.VALIDATION_FAILED),
        ([here.id], {}, Reason.VALIDATION_FAILED),
        ([later.id], {}, Reason.VALIDATION_FAILED),
        ([there.id], {"role": "owner", "block_id": block.id}, Reason.VALIDATION_FAILED),
        ([elsewhere.id], {}, Reason.LINES_SPAN_EVENTS),
        ([new_id()], {}, Reason.SECTION_NOT_FOUND),
    ]
    for ids, fields, reason in wrong:
        error = await refused(best(capacity, here, 1, fields={**on, **fields}, fallback_section_ids=ids))
        assert error.reason is reason, ids
        if reason is Reason.VALIDATION_FAILED:
            assert [each.field for each in error.violations] == ["best_available.fallback_section_ids"]
    hold = await best(capacity, later, 1, fallback_section_ids=[here.id])
    assert hold.lines[0].section_id == later.id
    hold = await best(capacity, later, 2, fallback_section_ids=[there.id])  # for the date of the one that is named
    assert (hold.lines[0].section_id, hold.lines[0].schedule_id) == (there.id, dates[1].schedule_id)
    no_seats = await refused(best(capacity, general, 1, fields=on))
    assert [each.field for each in no_seats.violations] == ["best_available"]
    assert taken_seats(capacity, here.id) == [0]


async def test_a_hold_can_be_changed_to_better_seats(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, other = [await room(capacity, ".....", event_id=event_id) for _ in range(2)]
    middle = await best(capacity, section, 1)
    assert seats(middle) == ["A-3"]

    async def change(**wish: Any) -> hold_pb2.Hold:
        answer = await capacity.call(
            "ChangeHold",
            role="buyer",
            hold_id=middle.id,
            release_lines=[{"number": middle.lines[0].number, "all": True}],
            add_lines=[{"section_id": section.id, "best_available": wish}],
        )
        hold: hold_pb2.Hold = answer.hold
        return hold

    middle = await change(quantity=4)  # its own seat among them
    assert seats(middle) == ["A-1", "A-2", "A-3", "A-4"]
    error = await refused(change(quantity=6))
    assert (error.metadata["available"], error.metadata["adjacent"]) == ("1", "5")
    await hold_seats(capacity, section, "A-5")
    middle = await change(quantity=5, fallback_section_ids=[other.id])
    assert (middle.lines[0].section_id, len(seats(middle))) == (other.id, 5)
    assert taken_seats(capacity, section.id) == [4]
    await capacity.check(event_id)


@pytest.mark.parametrize("bitmap", ["0000", "ff00"], ids=["all free", "all taken but two"])
async def test_a_corrupted_bitmap_gives_no_seat_twice_and_is_mended(capacity: Capacity, bitmap: str) -> None:
    section = await room(capacity, "." * 10)
    first = await hold_seats(capacity, section, "A-5", "A-6", "A-9")
    capacity.change("UPDATE capacity.sections SET taken = decode(%s, 'hex') WHERE id = %s", bitmap, section.id)
    with capacity.holding(section.event_id):  # so that they are decided together
        asked = [
            asyncio.create_task(best(capacity, section, 2, fields={"subject": f"user:{number}"})) for number in range(4)
        ]
        asked.append(asyncio.create_task(hold_seats(capacity, section, "A-9", "A-10")))
        await capacity.until_in_flight(len(asked))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    errors = [each for each in answers if isinstance(each, DomainError)]
    assert [(each.reason, each.metadata["available"]) for each in errors[:-1]] == [(Reason.INSUFFICIENT_CAPACITY, "1")]
    assert (errors[-1].reason, errors[-1].metadata["seats"]) == (Reason.SEATS_TAKEN, "A-9")
    held = sorted(label for each in answers if not isinstance(each, BaseException) for label in seats(each))
    assert held == ["A-1", "A-2", "A-3", "A-4", "A-7", "A-8"]
    assert set(taken_seats(capacity, section.id)) == set(claimed_seats(capacity, section.id)) == set(range(9))
    assert seats(await capacity.hold(first.id)) == ["A-5", "A-6", "A-9"]
    await capacity.check(section.event_id)


async def test_sold_seats_can_be_exchanged_for_better_ones(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, other = [await room(capacity, "....", "....", event_id=event_id) for _ in range(2)]
    hold = await hold_seats(capacity, section, "A-2", "B-2")
    sale = (await capacity.call("ConfirmHold", hold_id=hold.id)).sale
    given = {"sale_id": sale.id, "give_lines": [{"number": 1, "all": True}]}
    wish = {"quantity": 2, "fallback_section_ids": [other.id]}
    asked = capacity.call("ExchangeSeats", **given, take_lines=[{"section_id": section.id, "best_available": wish}])
    assert [each.field for each in (await refused(asked)).violations] == [
        "take_lines[0].best_available.fallback_section_ids"
    ]
    await hold_seats(capacity, section, "A-1")
    answer = await capacity.call(
        "ExchangeSeats", **given, take_lines=[{"section_id": section.id, "best_available": {"quantity": 3}}]
    )
    assert list(answer.sale.lines[1].seats) == ["A-2", "A-3", "A-4"]  # one of them is among those given up
    assert taken_seats(capacity, section.id) == [0, 1, 2, 3]
    await capacity.check(event_id)


async def test_a_check_tells_the_seats_and_when_there_will_be_some(capacity: Capacity) -> None:
    section = await room(capacity, "....")
    one = await hold_seats(capacity, section, "A-1", hold_ttl_seconds=600)
    two = await hold_seats(capacity, section, "A-3", hold_ttl_seconds=700)
    told = await check(capacity, section, 1)
    assert (told.available, list(told.seats), told.section_id) == (True, ["A-2"], section.id)
    told = await check(capacity, section, 2)
    assert not told.available
    assert (CHANGE.Name(told.refusal.change), told.refusal.next_change_time) == ("HOLD_EXPIRY", one.expire_time)
    told = await check(capacity, section, 3)  # the first to end leaves only two side by side
    assert (CHANGE.Name(told.refusal.change), told.refusal.next_change_time) == ("HOLD_EXPIRY", two.expire_time)
    error = await refused(best(capacity, section, 3))
    assert dict(told.refusal.metadata) == error.metadata
    for hold in (one, two):
        await capacity.call("ConfirmHold", hold_id=hold.id)
    told = await check(capacity, section, 2)
    assert CHANGE.Name(told.refusal.change) == "OTHER_REQUEST"
    explicit = await capacity.call(
        "CheckAvailability", role="buyer", section_id=section.id, seats={"labels": ["A-1", "A-2", "A-4"]}
    )
    assert (explicit.available, list(explicit.seats)) == (False, ["A-2", "A-4"])
    assert state_of(await capacity.hold(one.id)) == "CONFIRMED"
