"""Exchanging places of sales: seats, sections and prices in one commit, or nothing of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import hold_pb2
from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.domain.exchanging import ExchangeRequest
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.operations.exchanging import ExchangeSeats
from holdfast.common.errors import Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.steps import blocked, claimed_seats, figures, hold_seats, seated, sold, taken_seats

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import section_pb2
    from tests.integration.capacity.conftest import Capacity


def labels(*names: str) -> dict[str, Any]:
    return {"labels": list(names)}


def part(*names: str, number: int = 1) -> dict[str, Any]:
    return {"number": number, "seats": labels(*names)}


def seats_of(section: section_pb2.Section, *names: str, **fields: Any) -> dict[str, Any]:
    return {"section_id": section.id, "seats": labels(*names), **fields}


async def swap(capacity: Capacity, sale: hold_pb2.Sale, give: Any, take: Any, **fields: Any) -> Any:
    return await capacity.call("ExchangeSeats", sale_id=sale.id, give_lines=[give], take_lines=[take], **fields)


async def test_a_seat_is_exchanged_at_the_price_that_was_locked(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    tier = capacity.tier(unit_minor=1000)
    sale = await sold(capacity, await hold_seats(capacity, section, "A-1", "A-2", price_tier_id=tier))
    capacity.world.tiers[tier].reprice(5000)
    answer = await swap(
        capacity, sale, part("A-1"), seats_of(section, "B-3", price_tier_id=tier), note="better view", subject="user:x"
    )
    assert answer.difference.amount == "0.00"
    first, second = answer.sale.lines
    assert (first.exchanged_quantity, list(first.exchanged_seats)) == (1, ["A-1"])
    assert (second.number, list(second.seats), second.locked_price.price_tier_version) == (2, ["B-3"], 1)
    assert (answer.sale.total.amount, answer.sale.etag) == ("20.00", "2")
    assert hold_pb2.Sale.State.Name(answer.sale.state) == "SOLD"
    assert (await capacity.call("GetSale", sale_id=sale.id)).sale == answer.sale
    assert claimed_seats(capacity, section.id) == {1: "hold", 7: "hold"}
    assert taken_seats(capacity, section.id) == [1, 7]
    assert await figures(capacity, section.id) == (8, 0, 2, 0)

    row = (await capacity.journal(event_id))[-1]
    assert row.version == answer.inventory_version
    (told,) = row.exchanges
    assert (told.sale_id, told.actor, told.note) == (sale.id, "user:x", "better view")
    assert [(list(each.seats), each.total_minor) for each in told.given_lines] == [(["A-1"], 1000)]
    assert [(list(each.seats), each.total_minor) for each in told.taken_lines] == [(["B-3"], 1000)]
    assert sorted((list(each.indexes), each.taken) for each in row.seats) == [([0], False), ([7], True)]
    await capacity.check(event_id)

    # The seat that was given up is for sale again, the exchanged one comes back like any other.
    await hold_seats(capacity, section, "A-1")
    back = await capacity.call("ReturnSale", sale_id=sale.id, lines=[{"number": 2, "all": True}])
    assert back.sale_return.amount.amount == "10.00"
    assert (back.sale.total.amount, back.sale.returned_total.amount) == ("20.00", "10.00")
    await capacity.check(event_id)


async def test_the_difference_is_told_and_asked_for(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, box = await capacity.section(event_id, 10), await seated(capacity, event_id)
    # 3 tickets for 10.00 together: 3.33, 3.34, 3.33.
    cheap, dear = capacity.tier(unit_minor=300, fee_minor=100), capacity.tier(unit_minor=2500)
    sale = await sold(capacity, await capacity.place(floor.id, 3, price_tier_id=cheap))
    give, take = {"number": 1, "quantity": 2}, seats_of(box, "A-1", "A-2", price_tier_id=dear)
    wrong = await refused(
        swap(capacity, sale, give, take, expected_difference={"currency_code": "USD", "amount": "40.00"})
    )
    assert (wrong.reason, wrong.metadata) == (
        Reason.TOTAL_MISMATCH,
        {"expected_total": "USD 40.00", "total": "USD 43.33"},
    )
    assert await figures(capacity, floor.id) == (7, 0, 3, 0)
    answer = await swap(capacity, sale, give, take, expected_difference={"currency_code": "USD", "amount": "43.33"})
    assert (answer.difference.amount, answer.sale.total.amount) == ("43.33", "53.33")
    # And back again, cheaper: the seller owes.
    answer = await swap(
        capacity, sale, part("A-2", number=2), {"section_id": floor.id, "quantity": 1, "price_tier_id": cheap}
    )
    assert (answer.difference.amount, answer.sale.total.amount) == ("-21.00", "32.33")
    unpriced = await swap(capacity, sale, part("A-1", number=2), {"section_id": floor.id, "quantity": 1})
    assert not unpriced.HasField("difference")
    assert not unpriced.sale.HasField("total")
    assert await figures(capacity, floor.id) == (7, 0, 3, 0)
    assert await figures(capacity, box.id) == (10, 0, 0, 0)
    await capacity.check(event_id)


async def test_a_taken_seat_is_named_and_nothing_changes(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id)
    sale = await sold(capacity, await hold_seats(capacity, section, "A-1", "A-2"))
    await hold_seats(capacity, section, "B-1")
    await blocked(capacity, section, ["B-2"])
    rows = len(await capacity.journal(event_id))
    error = await refused(swap(capacity, sale, part("A-1"), seats_of(section, "B-1", "B-2", "B-3")))
    assert (error.reason, error.metadata["seats"]) == (Reason.SEATS_TAKEN, "B-1,B-2")
    assert (await capacity.call("GetSale", sale_id=sale.id)).sale == sale
    assert taken_seats(capacity, section.id) == [0, 1, 5, 6]
    assert len(await capacity.journal(event_id)) == rows


@pytest.mark.parametrize(
    ("give", "take", "reason", "told"),
    [
        (part("A-9"), {"quantity": 1}, Reason.LINE_EXCEEDED, {"line": "1", "seats": "A-9"}),
        ({"number": 7, "all": True}, {"quantity": 1}, Reason.LINE_EXCEEDED, {"line": "7"}),
        ({"number": 1, "quantity": 1}, {"quantity": 1}, Reason.VALIDATION_FAILED, "give_lines[0].quantity"),
        (part("A-1"), {"quantity": 6}, Reason.INSUFFICIENT_CAPACITY, {"available": "5"}),
        (part("A-1"), {"quantity": 1, "section_id": new_id()}, Reason.SECTION_NOT_FOUND, {}),
        (part("A-1"), {"quantity": 1, "price_tier_id": new_id()}, Reason.PRICE_TIER_NOT_FOUND, {}),
        (part("A-1"), {"quantity": 1, "block_id": new_id()}, Reason.BLOCK_NOT_FOUND, {}),
        (part("A-1"), {"seats": labels("A-1")}, Reason.SEAT_NOT_FOUND, {}),
        (part("A-1"), {"best_available": {"quantity": 1}}, Reason.VALIDATION_FAILED, "take_lines[0].best_available"),
    ],
)
async def test_what_cannot_be_exchanged(
    capacity: Capacity, give: dict[str, Any], take: dict[str, Any], reason: Reason, told: dict[str, str] | str
) -> None:
    event_id = await capacity.event()
    floor, seats = await capacity.section(event_id, 5), await seated(capacity, event_id)
    sale = await sold(capacity, await hold_seats(capacity, seats, "A-1", "A-2"))
    error = await refused(swap(capacity, sale, give, {"section_id": floor.id, **take}))
    assert error.reason is reason
    if isinstance(told, str):
        assert [each.field for each in error.violations] == [told]
    else:
        assert told.items() <= error.metadata.items()
    assert (await capacity.call("GetSale", sale_id=sale.id)).sale == sale


async def test_sections_of_another_event_and_callers_without_the_permission_are_refused(capacity: Capacity) -> None:
    section, other = await capacity.on_sale(10), await capacity.on_sale(10)
    sale = await sold(capacity, await capacity.place(section.id, 2))
    give = {"number": 1, "quantity": 1}
    error = await refused(swap(capacity, sale, give, {"section_id": other.id, "quantity": 1}))
    assert error.reason is Reason.LINES_SPAN_EVENTS
    take = {"section_id": section.id, "quantity": 1}
    error = await refused(swap(capacity, sale, give, take, role="buyer", subject="user:buyer"))
    assert error.reason is Reason.PERMISSION_MISSING
    error = await refused(swap(capacity, sale, give, take, organization_id=new_id()))
    assert error.reason in {Reason.SALE_NOT_FOUND, Reason.SECTION_NOT_FOUND}
    error = await refused(swap(capacity, hold_pb2.Sale(id=new_id()), give, take))
    assert error.reason is Reason.SALE_NOT_FOUND
    error = await refused(swap(capacity, sale, give, take, etag="9"))
    assert error.reason is Reason.ETAG_MISMATCH


async def test_the_same_request_exchanges_once_and_answers_alike(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, box = await capacity.section(event_id, 10), await capacity.section(event_id, 10)
    cheap, dear = capacity.tier(unit_minor=1000), capacity.tier(unit_minor=2500)
    sale = await sold(capacity, await capacity.place(floor.id, 3, price_tier_id=cheap))
    give = {"number": 1, "quantity": 1}
    take = {"section_id": box.id, "quantity": 1, "price_tier_id": dear}

    async def ask(**fields: Any) -> tuple[Any, dict[str, Any]]:
        return await capacity.call_with_metadata(
            "ExchangeSeats",
            **{"sale_id": sale.id, "give_lines": [give], "take_lines": [take], "request_id": "k", **fields},
        )

    answers = await asyncio.gather(*(ask() for _ in range(5)))
    assert {answer.difference.amount for answer, _ in answers} == {"15.00"}
    assert sorted("holdfast-replayed" in metadata for _, metadata in answers) == [False, True, True, True, True]
    # Also when it cannot be priced any more, and after other changes of the sale.
    await capacity.call("ReturnSale", sale_id=sale.id, lines=[{"number": 1, "all": True}])
    del capacity.world.tiers[dear]
    again, metadata = await ask()
    assert (again.difference.amount, again.sale.etag) == ("15.00", "3")
    assert "holdfast-replayed" in metadata
    assert (await refused(ask(note="another"))).reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert await figures(capacity, box.id) == (9, 0, 1, 0)
    assert sum(len(row.exchanges) for row in await capacity.journal(event_id)) == 1
    await capacity.check(event_id)


async def test_exchanges_and_holds_race_for_the_same_seats(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section = await seated(capacity, event_id, rows=2, cols=6)
    sales = [
        await sold(capacity, await hold_seats(capacity, section, f"A-{number}", customer_id=f"customer:{number}"))
        for number in range(1, 7)
    ]
    rivals = [hold_seats(capacity, section, f"B-{number}") for number in (1, 2, 3)]
    done = await outcomes(
        *(
            swap(capacity, sale, {"number": 1, "all": True}, seats_of(section, f"B-{1 + index // 2}"))
            for index, sale in enumerate(sales)
        ),
        *rivals,
    )
    assert reasons(done) == {"ok": 3, Reason.SEATS_TAKEN: 6}
    assert sorted(seat for seat in taken_seats(capacity, section.id) if seat >= 6) == [6, 7, 8]
    assert len(claimed_seats(capacity, section.id)) == 6 + sum(isinstance(each, hold_pb2.Hold) for each in done)
    await capacity.check(event_id)


async def test_an_exchange_that_runs_again_after_an_unknown_commit_finds_what_it_did(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, box = await capacity.section(event_id, 10), await capacity.section(event_id, 10)
    sale = await sold(capacity, await capacity.place(floor.id, 3))
    request = ExchangeRequest(
        new_id(), sale.id, (PartRequest(1, 2),), (LineRequest(box.id, None, 1),), {}, Act("user:owner", "why")
    )
    command = ExchangeSeats(request, sale.customer_id, RequestKey("user:owner", "X", new_id(), b""))
    async with capacity.engine_of_the_service() as submit:
        first, again = await submit(event_id, command), await submit(event_id, command)
    assert (again.exchange_id, again.made_version) == (first.exchange_id, first.made_version)
    assert (first.replayed, again.replayed) == (False, False)
    assert (await figures(capacity, floor.id), await figures(capacity, box.id)) == ((9, 0, 1, 0), (9, 0, 1, 0))
    await capacity.check(event_id)
