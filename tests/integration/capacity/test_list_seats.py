"""A section's seats one by one: in the order of the layout, exact at the moment, and who has them for staff only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import seat_pb2
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, schedule, until
from tests.integration.capacity.steps import hold_seats, seated
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import section_pb2, section_service_pb2
    from tests.integration.capacity.conftest import Capacity

THEATRE = {
    "sections": [
        {
            "name": "Stalls",
            "numbering": {"rows": "NUMBERS", "seats": "ODD_LEFT_EVEN_RIGHT"},
            "row_layouts": [
                {"runs": [{"seats": 3}, {"gap": 2}, {"seats": 2}]},
                {
                    "offset": 1,
                    "runs": [
                        {"seats": 1, "attributes": {"wheelchair": True}},
                        {"seats": 1, "attributes": {"companion": True}},
                        {"seats": 1, "labels": ["9A"], "attributes": {"category": "Side", "restricted_view": True}},
                    ],
                },
            ],
        }
    ]
}


async def look(capacity: Capacity, *, role: str = "owner", **fields: Any) -> section_service_pb2.ListSeatsResponse:
    answer: section_service_pb2.ListSeatsResponse = await capacity.call("ListSeats", role=role, **fields)
    return answer


async def priced(capacity: Capacity, **fields: Any) -> section_service_pb2.ListSeatsResponse:
    """Look until pricing answered within the patience that there is."""
    answer = await look(capacity, **fields)

    async def there() -> bool:
        nonlocal answer
        answer = await look(capacity, **fields)
        return not answer.prices_missing

    await until(there)
    return answer


async def theatre(capacity: Capacity, event_id: str) -> section_pb2.Section:
    made = await capacity.call("GenerateSeating", event_id=event_id, config=THEATRE)
    section: section_pb2.Section = made.sections[0]
    return section


def labels(answer: section_service_pb2.ListSeatsResponse) -> list[str]:
    return [seat.label for seat in answer.seats]


def states(answer: section_service_pb2.ListSeatsResponse) -> dict[str, str]:
    return {seat.label: seat_pb2.Seat.State.Name(seat.state) for seat in answer.seats}


async def test_rows_come_from_the_front_and_seats_from_the_left(capacity: Capacity) -> None:
    section = await theatre(capacity, await capacity.event())
    answer = await look(capacity, section_id=section.id, with_total=True)
    assert labels(answer) == ["1-5", "1-3", "1-1", "1-2", "1-4", "2-1", "2-2", "2-9A"]
    assert answer.pagination.total == 8
    assert not answer.pagination.next_page_token
    assert set(states(answer).values()) == {"AVAILABLE"}
    first, wheelchair, side = answer.seats[0], answer.seats[5], answer.seats[7]
    assert (first.section_id, first.row, first.seat) == (section.id, "1", "5")
    assert not first.attributes.ByteSize()
    assert wheelchair.attributes.wheelchair
    assert (side.seat, side.attributes.category, side.attributes.restricted_view) == ("9A", "Side", True)


async def test_a_section_is_found_by_its_name_too(capacity: Capacity) -> None:
    event_id = await capacity.event()
    config = {"rows": 1, "cols": 2, "sections": [{"name": "Rang links", "subsections": 2}, {"name": "Box"}]}
    left, right, box = (await capacity.call("GenerateSeating", event_id=event_id, config=config)).sections
    for name, number, section in (("Rang links", 1, left), ("Rang links", 2, right), ("Box", 1, box)):
        answer = await look(capacity, event_id=event_id, section_name=name, subsection=number)
        assert {seat.section_id for seat in answer.seats} == {section.id}
    general = await capacity.section(event_id, 10, name="Floor")
    fields: dict[str, Any]
    for fields in (
        {"event_id": event_id, "section_name": "Rang links", "subsection": 3},
        {"event_id": event_id, "section_name": "Nowhere", "subsection": 1},
        {"event_id": event_id, "section_name": "Floor", "subsection": 1},
        {"section_id": general.id},
        {"section_id": new_id()},
        {"section_id": left.id, "organization_id": new_id()},
    ):
        assert (await refused(look(capacity, **fields))).reason is Reason.SECTION_NOT_FOUND
    named: dict[str, Any] = {"event_id": event_id, "section_name": "Box", "subsection": 1}
    assert (await refused(look(capacity, **{**named, "event_id": new_id()}))).reason is Reason.EVENT_NOT_FOUND
    assert (await refused(look(capacity, organization_id=new_id(), **named))).reason is Reason.EVENT_NOT_FOUND
    for bad in ({**named, "section_id": box.id}, {"event_id": event_id, "section_name": "Box"}, {}):
        assert (await refused(look(capacity, **bad))).reason is Reason.VALIDATION_FAILED


async def test_a_date_chooses_between_sections_of_one_name(capacity: Capacity) -> None:
    first, second = schedule(), schedule()
    event_id = await capacity.event(schedules=[first, second])
    config = {"rows": 1, "cols": 2, "sections": [{"name": "Box"}]}
    made = [
        (
            await capacity.call("GenerateSeating", event_id=event_id, config=config, schedule_id=each.schedule_id)
        ).sections[0]
        for each in (first, second)
    ]
    named: dict[str, Any] = {"event_id": event_id, "section_name": "Box", "subsection": 1}
    error = await refused(look(capacity, **named))
    assert [each.field for each in error.violations] == ["schedule_id"]
    of_second = await look(capacity, **named, schedule_id=second.schedule_id)
    assert of_second.seats[0].section_id == made[1].id


async def test_states_and_who_has_a_seat(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event(), rows=2, cols=5)
    held = await hold_seats(capacity, section, "A-1", customer_id="user:ann")
    paying = await hold_seats(capacity, section, "A-2", customer_id="user:bob")
    await capacity.call("BeginPayment", hold_id=paying.id)
    bought = await hold_seats(capacity, section, "A-3", "A-4", customer_id="user:cid")
    sale = (await capacity.call("ConfirmHold", hold_id=bought.id)).sale
    line = {"number": 1, "seats": {"labels": ["A-4"]}}
    await capacity.call("ReturnSale", sale_id=sale.id, lines=[line])
    block = (await capacity.call("BlockSeats", section_id=section.id, seats={"labels": ["A-5"]}, note="house")).block
    answer = await look(capacity, section_id=section.id, row="A")
    assert states(answer) == {
        "A-1": "HELD",
        "A-2": "PENDING",
        "A-3": "SOLD",
        "A-4": "AVAILABLE",
        "A-5": "BLOCKED",
    }
    one, two, three, four, five = answer.seats
    assert (one.customer_id, one.hold_id, one.hold_time, one.expire_time) == (
        "user:ann",
        held.id,
        held.create_time,
        held.expire_time,
    )
    assert (two.customer_id, two.hold_id) == ("user:bob", paying.id)
    assert two.expire_time == (await capacity.hold(paying.id)).expire_time
    assert (three.customer_id, three.hold_id, three.sale_id) == ("user:cid", bought.id, sale.id)
    assert three.sale_time == sale.create_time
    assert not three.HasField("expire_time")
    assert five.block_id == block.id
    assert not any((four.customer_id, four.hold_id, four.sale_id, four.block_id, four.HasField("hold_time")))
    version = (await capacity.journal(section.event_id))[-1].version
    assert answer.inventory_version == version

    buyer = await look(capacity, section_id=section.id, row="A", role="buyer")
    assert states(buyer) == states(answer)
    for seat in buyer.seats:
        assert not any((seat.customer_id, seat.hold_id, seat.sale_id, seat.block_id))
        assert not any(seat.HasField(name) for name in ("hold_time", "expire_time", "sale_time"))
    office = await look(capacity, section_id=section.id, row="A", role="box_office")
    assert office.seats[0].customer_id == "user:ann"


async def test_seats_of_ended_holds_are_free_or_back_in_their_block(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    block = (await capacity.call("BlockSeats", section_id=section.id, seats={"labels": ["A-2"]}, note="house")).block
    free = await hold_seats(capacity, section, "A-1", hold_ttl_seconds=1)
    back = await hold_seats(capacity, section, "A-2", block_id=block.id, hold_ttl_seconds=1)
    await hold_seats(capacity, section, "A-3")
    for hold in (free, back):
        await over(capacity, hold.id)
    answer = await look(capacity, section_id=section.id, row="A")
    assert list(states(answer).values()) == ["AVAILABLE", "BLOCKED", "HELD", "AVAILABLE", "AVAILABLE"]
    assert answer.seats[1].block_id == block.id
    assert not answer.seats[1].hold_id
    blocked = await look(capacity, section_id=section.id, states=["BLOCKED"])
    assert labels(blocked) == ["A-2"]
    await capacity.change_event(section.event_id, state="CANCELLED")
    ended = await look(capacity, section_id=section.id, states=["HELD", "PENDING", "SOLD"])
    assert not ended.seats


@pytest.mark.parametrize("wanted", [[], ["AVAILABLE"], ["HELD"], ["HELD", "AVAILABLE"]])
async def test_pages_show_every_seat_once(capacity: Capacity, wanted: list[str]) -> None:
    section = await seated(capacity, await capacity.event(), rows=3, cols=5)
    await hold_seats(capacity, section, "A-2", "A-4", "B-1", "C-5")
    every = await look(capacity, section_id=section.id, states=wanted, page_size=200, with_total=True)
    shown: list[str] = []
    token = ""
    for _ in range(20):
        answer = await look(
            capacity, section_id=section.id, states=wanted, page_size=2, page_token=token, with_total=True
        )
        assert answer.pagination.total == len(every.seats)
        shown += labels(answer)
        token = answer.pagination.next_page_token
        if not token:
            break
    assert shown == labels(every)
    assert set(states(every).values()) == set(wanted or ["HELD", "AVAILABLE"])
    first = await look(capacity, section_id=section.id, states=wanted, page_size=2)
    other = await refused(look(capacity, section_id=section.id, row="B", page_token=first.pagination.next_page_token))
    assert other.reason is Reason.PAGE_TOKEN_INVALID
    none = await look(capacity, section_id=section.id, row="ZZ", with_total=True)
    assert (list(none.seats), none.pagination.total) == ([], 0)


async def test_hidden_sections_are_not_there_for_buyers(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    await capacity.call("UpdateSection", section_id=section.id, section={"visible": False})
    assert (await look(capacity, section_id=section.id)).seats
    error = await refused(look(capacity, section_id=section.id, role="buyer"))
    assert error.reason is Reason.SECTION_NOT_FOUND


async def test_free_seats_cost_the_cheapest_visible_tier_and_taken_ones_what_was_locked(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    other = await seated(capacity, section.event_id)
    tier = capacity.tier(event_id=section.event_id, unit_minor=4850, fee_minor=300, currency_code="EUR")
    capacity.tier(event_id=section.event_id, unit_minor=6000, currency_code="EUR")
    capacity.tier(event_id=section.event_id, unit_minor=100, currency_code="EUR", visible=False)
    capacity.tier(event_id=section.event_id, unit_minor=200, currency_code="EUR", section_id=other.id)
    capacity.tier(event_id=section.event_id, unit_minor=300, currency_code="USD")
    await hold_seats(capacity, section, "A-1", "A-2", price_tier_id=tier)
    sold = await hold_seats(capacity, section, "A-3", price_tier_id=tier)
    await capacity.call("ConfirmHold", hold_id=sold.id)
    await hold_seats(capacity, section, "A-4")
    capacity.world.tiers[tier].reprice(5000)
    answer = await priced(capacity, section_id=section.id, row="A", role="buyer")
    assert [(seat.label, seat.price.amount) for seat in answer.seats] == [
        ("A-1", "48.50"),
        ("A-2", "48.50"),
        ("A-3", "48.50"),
        ("A-4", ""),
        ("A-5", "50.00"),
    ]
    assert answer.seats[4].price.currency_code == "EUR"
    cheaper = await priced(capacity, section_id=other.id, row="A")
    assert {seat.price.amount for seat in cheaper.seats} == {"2.00"}


async def test_without_pricing_seats_are_shown_without_prices(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event())
    capacity.tier(event_id=section.event_id, unit_minor=1000)
    capacity.world.prices_open.clear()
    try:
        answer = await look(capacity, section_id=section.id)
    finally:
        capacity.world.prices_open.set()
    assert answer.prices_missing
    assert len(answer.seats) == 10
    assert not any(seat.HasField("price") for seat in answer.seats)
