"""Reading and listing sales."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import hold_pb2
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, schedule
from tests.integration.capacity.steps import sold

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


async def ids(capacity: Capacity, **fields: Any) -> list[str]:
    return [sale.id for sale in (await capacity.call("ListSales", **fields)).sales]


def state_of(sale: hold_pb2.Sale) -> str:
    return hold_pb2.Sale.State.Name(sale.state)


async def test_a_sale_is_what_confirming_answered(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 2, price_tier_id=capacity.tier(), order_reference="order-1")
    sale = await sold(capacity, hold)
    shown = await capacity.call("GetSale", sale_id=sale.id)
    assert shown.sale == sale
    assert shown.server_time.ToDatetime() >= sale.create_time.ToDatetime()
    assert (sale.hold_id, sale.customer_id, sale.order_reference) == (hold.id, "user:buyer", "order-1")
    assert (sale.organization_id, sale.event_id) == (capacity.organization_id, section.event_id)
    assert sale.lines == hold.lines
    assert (sale.total.amount, sale.etag, list(sale.returns)) == ("20.00", "1", [])
    assert not sale.HasField("returned_total")


async def test_buyers_see_their_own_sales_and_staff_all_of_the_organization(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    anns = await sold(capacity, await capacity.place(section.id, 1, buyer="user:ann"))
    bobs = await sold(capacity, await capacity.place(section.id, 1, buyer="user:bob"))
    of_event = {"event_id": section.event_id}
    assert await ids(capacity, role="buyer", subject="user:ann", **of_event) == [anns.id]
    assert await ids(capacity, role="buyer", subject="user:ann", customer_id="user:bob", **of_event) == []
    assert await ids(capacity, role="analyst", **of_event) == [bobs.id, anns.id]
    assert await ids(capacity, organization_id=new_id(), **of_event) == []
    assert (await capacity.call("GetSale", role="buyer", subject="user:ann", sale_id=anns.id)).sale == anns
    for caller in ({"role": "buyer", "subject": "user:ann"}, {"organization_id": new_id()}):
        error = await refused(capacity.call("GetSale", sale_id=bobs.id, **caller))
        assert (error.reason, error.metadata) == (Reason.SALE_NOT_FOUND, {"sale_id": bobs.id})
    scanner = await refused(capacity.call("GetSale", role="scanner", sale_id=anns.id))
    assert scanner.reason is Reason.PERMISSION_MISSING


async def test_sales_are_listed_by_what_is_known_of_them_newest_first(capacity: Capacity) -> None:
    one, other = await capacity.on_sale(20), await capacity.on_sale(20)
    key = new_id()
    made = []
    for section, buyer, reference in (
        (one, "user:ann", f"{key}-1"),
        (one, "user:bob", f"{key}-2"),
        (other, "user:ann", f"{key}-3"),
        (one, "user:ann", ""),
    ):
        hold = await capacity.place(section.id, 2, buyer=buyer, order_reference=reference)
        made.append(await sold(capacity, hold))
    for number, quantity in ((0, 1), (1, 2)):
        await capacity.call("ReturnSale", sale_id=made[number].id, lines=[{"number": 1, "quantity": quantity}])
    moments = [sale.create_time.ToDatetime(tzinfo=UTC).isoformat() for sale in made]
    of_one = {"event_id": one.event_id}
    cases: list[tuple[dict[str, Any], list[int]]] = [
        (of_one, [3, 1, 0]),
        ({"event_id": other.event_id}, [2]),
        ({**of_one, "customer_id": "user:ann"}, [3, 0]),
        ({"order_reference": f"{key}-2"}, [1]),
        ({**of_one, "order_reference": f"{key}-3"}, []),
        ({**of_one, "states": ["SOLD"]}, [3]),
        ({**of_one, "states": ["PARTIALLY_RETURNED", "RETURNED"]}, [1, 0]),
        ({**of_one, "states": ["CANCELLED"]}, []),
        ({**of_one, "from_time": moments[1]}, [3, 1]),
        ({**of_one, "to_time": moments[3]}, [1, 0]),
        ({**of_one, "from_time": moments[1], "to_time": moments[3]}, [1]),
    ]
    for fields, expected in cases:
        listed = await capacity.call("ListSales", with_total=True, **fields)
        assert [sale.id for sale in listed.sales] == [made[number].id for number in expected], fields
        assert listed.pagination.total == len(expected)
    listed = await capacity.call("ListSales", **of_one)
    for sale in listed.sales:
        assert sale == (await capacity.call("GetSale", sale_id=sale.id)).sale
    for ends in ((moments[3], moments[0]), (moments[0], moments[0])):
        error = await refused(capacity.call("ListSales", from_time=ends[0], to_time=ends[1]))
        assert (error.reason, error.metadata) == (Reason.INVALID_DATE_RANGE, {"rule": "from_time < to_time"})


async def test_pages_of_sales_follow_each_other_and_belong_to_their_list(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    made = [(await sold(capacity, await capacity.place(section.id, 1))).id for _ in range(5)]
    found: list[str] = []
    token = ""
    for _ in range(3):
        page = await capacity.call(
            "ListSales", event_id=section.event_id, page_size=2, page_token=token, with_total=True
        )
        assert page.pagination.total == 5
        found += [sale.id for sale in page.sales]
        token = page.pagination.next_page_token
    assert (found, token) == (made[::-1], "")
    token = (await capacity.call("ListSales", event_id=section.event_id, page_size=2)).pagination.next_page_token
    others: list[dict[str, Any]] = [
        {"states": ["SOLD"]},
        {"subject": "user:other"},
        {"organization_id": new_id()},
        {"page_token": f"{token}x"},
    ]
    for fields in others:
        wanted = {"event_id": section.event_id, "page_size": 2, "page_token": token, **fields}
        assert (await refused(capacity.call("ListSales", **wanted))).reason is Reason.PAGE_TOKEN_INVALID
    await capacity.call("ListSales", event_id=section.event_id, page_size=1, page_token=token)


@pytest.mark.parametrize("tidied", [False, True])
async def test_sales_of_what_is_cancelled_say_so_before_and_after_their_rows_do(
    capacity: Capacity, *, tidied: bool
) -> None:
    friday, saturday = schedule(days=10), schedule(days=11)
    event_id = await capacity.event(schedules=[friday, saturday])
    section = await capacity.section(event_id, 20)

    async def bought(*days: Any) -> hold_pb2.Sale:
        lines = [{"section_id": section.id, "quantity": 2, "schedule_id": day.schedule_id} for day in days]
        return await sold(capacity, (await capacity.call("PlaceHold", lines=lines)).hold)

    of_friday, of_saturday, of_both = await bought(friday), await bought(saturday), await bought(friday, saturday)
    of_none = await bought(friday)
    await capacity.call("ReturnSale", sale_id=of_none.id, lines=[{"number": 1, "all": True}])
    await capacity.call("ReturnSale", sale_id=of_friday.id, lines=[{"number": 1, "quantity": 1}])
    rows = capacity.rows("SELECT id, state, revision, update_time FROM capacity.sales WHERE event_id = %s", event_id)
    friday.state = "CANCELLED"
    await capacity.change_event(event_id, schedules=[friday, saturday])
    if not tidied:
        # As between the commit that cancels and those that bring the rows up to date.
        capacity.change("UPDATE capacity.voids SET done = false WHERE event_id = %s", event_id)
        capacity.change(
            "UPDATE capacity.sale_lines SET cancelled = false WHERE sale_id = ANY (%s)", [row[0] for row in rows]
        )
        for row in rows:
            capacity.change(
                "UPDATE capacity.sales SET state = %s, revision = %s, update_time = %s WHERE id = %s", *row[1:], row[0]
            )
    expected = {
        of_friday.id: "CANCELLED",
        of_saturday.id: "SOLD",
        of_both.id: "SOLD",
        of_none.id: "RETURNED",
    }
    listed = (await capacity.call("ListSales", event_id=event_id)).sales
    assert {sale.id: state_of(sale) for sale in listed} == expected
    for state in ("SOLD", "PARTIALLY_RETURNED", "RETURNED", "CANCELLED"):
        named = {sale_id for sale_id, each in expected.items() if each == state}
        assert set(await ids(capacity, event_id=event_id, states=[state])) == named
    shown = (await capacity.call("GetSale", sale_id=of_friday.id)).sale
    assert (state_of(shown), shown.lines[0].returned_quantity, len(shown.returns)) == ("CANCELLED", 1, 1)
    again = (await capacity.call("ConfirmHold", hold_id=of_friday.hold_id)).sale
    assert (state_of(again), len(again.returns)) == ("CANCELLED", 1)
    # What is cancelled stays counted as sold; what came back before does not.
    assert (await capacity.read(section.id)).sold == 1 + 2 + 4
