"""Taking back places of sales: what comes back where, and what was paid for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import block_pb2, hold_pb2
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, schedule
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.steps import blocked, claimed_seats, figures, hold_seats, seated, sold, taken_seats

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


def state_of(sale: hold_pb2.Sale) -> str:
    return hold_pb2.Sale.State.Name(sale.state)


async def give_back(capacity: Capacity, sale: hold_pb2.Sale, *lines: dict[str, Any], **fields: Any) -> Any:
    return await capacity.call("ReturnSale", sale_id=sale.id, lines=list(lines), **fields)


async def test_a_sale_comes_back_in_parts_whose_amounts_add_up_to_what_was_paid(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    # 3 tickets for 10.00 together: 3.33, 3.34, 3.33.
    tier = capacity.tier(unit_minor=300, fee_minor=100)
    hold = await capacity.place(section.id, 3, price_tier_id=tier, order_reference="order-7")
    sale = await sold(capacity, hold)
    assert (state_of(sale), sale.total.amount, sale.update_time) == ("SOLD", "10.00", sale.create_time)
    amounts = []
    for number, state in enumerate(["PARTIALLY_RETURNED", "PARTIALLY_RETURNED", "RETURNED"], start=1):
        answer = await give_back(
            capacity, sale, {"number": 1, "quantity": 1}, note=f"refund {number}", subject="user:staff"
        )
        made = answer.sale_return
        assert (made.return_to, made.note, made.actor) == (
            hold_pb2.SaleReturn.ReturnTo.SALE,
            f"refund {number}",
            "user:staff",
        )
        assert [(line.number, line.quantity, line.block_id) for line in made.lines] == [(1, 1, "")]
        assert made.amount == made.lines[0].amount
        amounts.append(made.amount.amount)
        assert (state_of(answer.sale), answer.sale.lines[0].returned_quantity) == (state, number)
        assert [each.id for each in answer.sale.returns][-1] == made.id
        assert len(answer.sale.returns) == number
        assert answer.sale.etag == str(number + 1)
        assert answer.sale.update_time == made.create_time
    assert amounts == ["3.33", "3.34", "3.33"]
    assert answer.sale.returned_total.amount == "10.00"
    assert await figures(capacity, section.id) == (10, 0, 0, 0)
    shown = await capacity.call("GetSale", sale_id=sale.id)
    assert shown.sale == answer.sale
    again = await capacity.call("ConfirmHold", hold_id=hold.id)
    assert again.sale == answer.sale
    gone = await refused(give_back(capacity, sale, {"number": 1, "all": True}))
    assert (gone.reason, gone.metadata) == (Reason.SALE_NOT_ACTIVE, {"sale_id": sale.id, "state": "RETURNED"})

    told = [row for row in await capacity.journal(section.event_id) if row.returns]
    assert [row.sections[0].sold for row in told] == [2, 1, 0]
    assert [row.returns[0].lines[0].total_minor for row in told] == [333, 334, 333]
    assert [row.sales[0].lines[0].returned_quantity for row in told] == [1, 2, 3]
    first = told[0].returns[0]
    assert (first.sale_id, first.actor, first.lines[0].price_tier_id) == (sale.id, "user:staff", tier)
    assert (first.lines[0].quantity, told[0].sales[0].lines[0].quantity) == (1, 3)
    await capacity.check(section.event_id)


@pytest.mark.parametrize(
    ("lines", "reason", "told"),
    [
        ([{"number": 1, "quantity": 4}], Reason.LINE_EXCEEDED, {"line": "1", "remaining": "3"}),
        ([{"number": 9, "all": True}], Reason.LINE_EXCEEDED, {"line": "9", "remaining": "0"}),
        ([{"number": 2, "seats": {"labels": ["A-3"]}}], Reason.LINE_EXCEEDED, {"line": "2", "seats": "A-3"}),
        ([{"number": 1, "quantity": 1}, {"number": 2, "seats": {"labels": ["A-1", "Z-1"]}}], Reason.LINE_EXCEEDED, {}),
        ([{"number": 1, "quantity": 1}, {"number": 1, "all": True}], Reason.VALIDATION_FAILED, "lines[1].number"),
        ([{"number": 2, "quantity": 1}], Reason.VALIDATION_FAILED, "lines[0].quantity"),
        ([{"number": 1, "seats": {"labels": ["A-1"]}}], Reason.VALIDATION_FAILED, "lines[0].seats"),
        ([{"number": 1}], Reason.VALIDATION_FAILED, "lines[0].part"),
        ([], Reason.VALIDATION_FAILED, "lines"),
    ],
)
async def test_what_cannot_come_back(
    capacity: Capacity, lines: list[dict[str, Any]], reason: Reason, told: dict[str, str] | str
) -> None:
    event_id = await capacity.event()
    general, seats = await capacity.section(event_id, 5), await seated(capacity, event_id)
    wanted = [
        {"section_id": general.id, "quantity": 3},
        {"section_id": seats.id, "seats": {"labels": ["A-1", "A-2"]}},
    ]
    sale = await sold(capacity, (await capacity.call("PlaceHold", lines=wanted)).hold)
    error = await refused(give_back(capacity, sale, *lines))
    assert error.reason is reason
    if isinstance(told, str):
        assert [each.field for each in error.violations] == [told]
    else:
        assert told.items() <= error.metadata.items()
    assert (await capacity.call("GetSale", sale_id=sale.id)).sale == sale
    assert await figures(capacity, general.id) == (2, 0, 3, 0)
    assert claimed_seats(capacity, seats.id) == {0: "hold", 1: "hold"}


async def test_seats_come_back_by_name_and_can_be_sold_again(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, general = await seated(capacity, event_id), await capacity.section(event_id, 5)
    wanted = [
        {"section_id": section.id, "seats": {"labels": ["A-3", "A-1", "A-2"]}, "price_tier_id": capacity.tier()},
        {"section_id": general.id, "quantity": 2},
    ]
    sale = await sold(capacity, (await capacity.call("PlaceHold", lines=wanted)).hold)
    answer = await give_back(capacity, sale, {"number": 1, "seats": {"labels": ["A-1"]}})
    assert list(answer.sale.lines[0].returned_seats) == ["A-1"]
    assert list(answer.sale_return.lines[0].seats) == ["A-1"]
    assert answer.sale_return.amount.amount == "10.00"
    assert claimed_seats(capacity, section.id) == {1: "hold", 2: "hold"}
    twice = await refused(give_back(capacity, sale, {"number": 1, "seats": {"labels": ["A-1", "A-2"]}}))
    assert (twice.reason, twice.metadata["seats"]) == (Reason.LINE_EXCEEDED, "A-1")
    await sold(capacity, await hold_seats(capacity, section, "A-1"))
    stale = await refused(give_back(capacity, sale, {"number": 1, "all": True}, etag=sale.etag))
    assert (stale.reason, stale.metadata["etag"]) == (Reason.ETAG_MISMATCH, answer.sale.etag)
    rest = await give_back(
        capacity, sale, {"number": 2, "all": True}, {"number": 1, "all": True}, etag=answer.sale.etag
    )
    assert [(line.number, line.quantity, list(line.seats)) for line in rest.sale_return.lines] == [
        (1, 2, ["A-2", "A-3"]),
        (2, 2, []),
    ]
    # A line without a price has no amount, and then there is no sum.
    assert rest.sale_return.lines[0].amount.amount == "20.00"
    assert not rest.sale_return.lines[1].HasField("amount")
    assert not rest.sale_return.HasField("amount")
    assert not rest.sale.HasField("returned_total")
    assert claimed_seats(capacity, section.id) == {0: "hold"}
    assert taken_seats(capacity, section.id) == [0]
    assert await figures(capacity, general.id) == (5, 0, 0, 0)
    await capacity.check(event_id)


async def test_returned_places_can_stay_out_of_sale_in_one_block_a_section(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, general = await seated(capacity, event_id), await capacity.section(event_id, 5)
    wanted = [
        {"section_id": section.id, "seats": {"labels": ["B-1", "A-1", "A-2"]}},
        {"section_id": general.id, "quantity": 3},
    ]
    sale = await sold(capacity, (await capacity.call("PlaceHold", lines=wanted)).hold)
    answer = await give_back(
        capacity,
        sale,
        {"number": 1, "seats": {"labels": ["B-1", "A-1"]}},
        {"number": 2, "quantity": 2},
        return_to="BLOCKED",
        note="wet paint",
    )
    listed = (await capacity.call("ListBlocks", event_id=event_id, kinds=["RETURNED"])).blocks
    blocks: dict[str, block_pb2.Block] = {each.section_id: each for each in listed}
    assert [line.block_id for line in answer.sale_return.lines] == [blocks[section.id].id, blocks[general.id].id]
    assert [(each.note, each.quantity, each.initial_quantity) for each in blocks.values()] == [("wet paint", 2, 2)] * 2
    assert list(blocks[section.id].seats) == ["A-1", "B-1"]
    assert claimed_seats(capacity, section.id) == {0: "block", 1: "hold", 5: "block"}
    assert taken_seats(capacity, section.id) == [0, 1, 5]
    assert await figures(capacity, section.id) == (7, 0, 1, 2)
    assert await figures(capacity, general.id) == (2, 0, 1, 2)
    taken = await refused(hold_seats(capacity, section, "A-1"))
    assert taken.reason is Reason.SEATS_TAKEN
    guest = await hold_seats(capacity, section, "A-1", block_id=blocks[section.id].id)
    assert guest.lines[0].block_id == blocks[section.id].id
    await capacity.call("Unblock", block_id=blocks[general.id].id)
    assert await figures(capacity, general.id) == (4, 0, 1, 0)
    await capacity.check(event_id)


async def test_places_from_a_block_come_back_to_sale(capacity: Capacity) -> None:
    section = await capacity.on_sale(4)
    block = await blocked(capacity, section, 4)
    sale = await sold(
        capacity, (await capacity.call("PlaceHold", section_id=section.id, quantity=2, block_id=block.id)).hold
    )
    await give_back(capacity, sale, {"number": 1, "quantity": 1})
    assert await figures(capacity, section.id) == (1, 0, 1, 2)
    assert (await capacity.call("GetBlock", block_id=block.id)).block.taken_quantity == 2
    await capacity.check(section.event_id)


async def test_what_came_back_does_not_count_for_the_customer_any_more(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    tier = capacity.tier(max_per_customer=3)
    sale = await sold(capacity, await capacity.place(section.id, 3, price_tier_id=tier))
    full = await refused(capacity.place(section.id, 1, price_tier_id=tier))
    assert (full.reason, full.metadata["current"]) == (Reason.PURCHASE_LIMIT, "3")
    await give_back(capacity, sale, {"number": 1, "quantity": 2})
    await capacity.place(section.id, 2, price_tier_id=tier)
    full = await refused(capacity.place(section.id, 1, price_tier_id=tier))
    assert full.metadata["current"] == "3"


async def test_a_return_reopens_what_was_sold_out_unless_it_stays_blocked(capacity: Capacity) -> None:
    section = await capacity.on_sale(2)
    sale = await sold(capacity, await capacity.place(section.id, 2))
    await give_back(capacity, sale, {"number": 1, "quantity": 1}, return_to="BLOCKED")
    await give_back(capacity, sale, {"number": 1, "quantity": 1})
    told = [
        [(each.section_id == section.id, each.kind) for each in row.crossings]
        for row in await capacity.journal(section.event_id)
        if row.sales
    ]
    assert told[1:] == [[], [(True, 4), (False, 4)]]


@pytest.mark.parametrize("state", ["ON_SALE", "SALES_PAUSED", "IN_PROGRESS", "COMPLETED", "POSTPONED"])
async def test_places_come_back_whatever_the_event_does(capacity: Capacity, state: str) -> None:
    section = await capacity.on_sale(5)
    sale = await sold(capacity, await capacity.place(section.id, 2))
    await capacity.change_event(section.event_id, state=state)
    answer = await give_back(capacity, sale, {"number": 1, "all": True})
    assert state_of(answer.sale) == "RETURNED"
    await capacity.check(section.event_id)


async def test_what_was_cancelled_does_not_come_back(capacity: Capacity) -> None:
    friday, saturday = schedule(days=10), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday])
    section = await capacity.section(event_id, 20)
    wanted = [{"section_id": section.id, "quantity": 2, "schedule_id": day.schedule_id} for day in (friday, saturday)]
    both = await sold(capacity, (await capacity.call("PlaceHold", lines=wanted)).hold)
    returned = await sold(capacity, await capacity.place(section.id, 1, schedule_id=friday.schedule_id))
    await give_back(capacity, returned, {"number": 1, "all": True})
    await give_back(capacity, both, {"number": 1, "quantity": 1})
    friday.state = "CANCELLED"
    await capacity.change_event(event_id, schedules=[friday, saturday])
    error = await refused(give_back(capacity, both, {"number": 1, "all": True}))
    assert (error.reason, error.metadata) == (Reason.SALE_NOT_ACTIVE, {"sale_id": both.id, "state": "CANCELLED"})
    answer = await give_back(capacity, both, {"number": 2, "quantity": 1})
    assert state_of(answer.sale) == "PARTIALLY_RETURNED"
    answer = await give_back(capacity, both, {"number": 2, "all": True})
    assert state_of(answer.sale) == "CANCELLED"
    over = await refused(give_back(capacity, both, {"number": 2, "all": True}))
    assert over.metadata["state"] == "CANCELLED"
    await capacity.change_event(event_id, state="CANCELLED")
    assert state_of((await capacity.call("GetSale", sale_id=returned.id)).sale) == "RETURNED"
    await capacity.check(event_id)


async def test_a_repeated_return_happens_once(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    sale = await sold(capacity, await capacity.place(section.id, 5, price_tier_id=capacity.tier()))
    fields: dict[str, Any] = {"lines": [{"number": 1, "quantity": 2}], "request_id": "return-once"}
    done = await outcomes(*(capacity.call_with_metadata("ReturnSale", sale_id=sale.id, **fields) for _ in range(10)))
    assert len({answer.sale_return.SerializeToString(deterministic=True) for answer, _ in done}) == 1
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 9
    assert (await capacity.read(section.id)).sold == 3
    other = await refused(capacity.call("ReturnSale", sale_id=sale.id, **{**fields, "note": "other"}))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED
    await give_back(capacity, sale, {"number": 1, "all": True})
    replay, metadata = await capacity.call_with_metadata("ReturnSale", sale_id=sale.id, **fields)
    assert metadata["holdfast-replayed"] == "true"
    assert replay.sale_return == done[0][0].sale_return
    assert (state_of(replay.sale), len(replay.sale.returns)) == ("RETURNED", 2)
    await capacity.check(section.event_id)


async def test_the_same_places_come_back_once_however_many_ask(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, general = await seated(capacity, event_id), await capacity.section(event_id, 5)
    seats = await sold(capacity, await hold_seats(capacity, section, "A-1", "A-2"))
    done = await outcomes(
        *(give_back(capacity, seats, {"number": 1, "seats": {"labels": ["A-1"]}}) for _ in range(4)),
        *(hold_seats(capacity, section, "A-1") for _ in range(3)),
    )
    assert reasons(done[:4]) == {"ok": 1, Reason.LINE_EXCEEDED: 3}
    assert reasons(done[4:])["ok"] <= 1
    number = await sold(capacity, await capacity.place(general.id, 5))
    done = await outcomes(*(give_back(capacity, number, {"number": 1, "quantity": 2}) for _ in range(4)))
    assert reasons(done) == {"ok": 2, Reason.LINE_EXCEEDED: 2}
    assert await figures(capacity, general.id) == (4, 0, 1, 0)
    await capacity.check(event_id)
    assert capacity.deadlocks() == 0


async def test_a_thousand_seats_come_back_into_a_block_in_one_commit(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event(), rows=25, cols=40)
    labels = [f"{row}-{seat}" for row in "ABCDEFGHIJKLMNOPQRSTUVWXY" for seat in range(1, 41)]
    sale = await sold(capacity, await hold_seats(capacity, section, *labels))
    answer = await give_back(capacity, sale, {"number": 1, "all": True}, return_to="BLOCKED")
    assert answer.sale_return.lines[0].quantity == 1000
    assert await figures(capacity, section.id) == (0, 0, 0, 1000)
    await capacity.call("Unblock", block_id=answer.sale_return.lines[0].block_id)
    assert await figures(capacity, section.id) == (1000, 0, 0, 0)
    assert taken_seats(capacity, section.id) == []
    await capacity.check(section.event_id)


async def test_returns_are_the_business_of_the_organization_and_its_staff(capacity: Capacity) -> None:
    section = await capacity.on_sale(5)
    sale = await sold(capacity, await capacity.place(section.id, 2))
    line = {"number": 1, "all": True}
    assert (await refused(give_back(capacity, sale, line, organization_id=new_id()))).reason is Reason.SALE_NOT_FOUND
    mine = await refused(give_back(capacity, sale, line, role="buyer", subject="user:buyer"))
    assert (mine.reason, mine.metadata) == (Reason.PERMISSION_MISSING, {"permission": "sales.return"})
    unknown = await refused(capacity.call("ReturnSale", sale_id=new_id(), lines=[line]))
    assert unknown.reason is Reason.SALE_NOT_FOUND
    await give_back(capacity, sale, line, role="box_office")
