"""Whether a hold could be placed: the same rules as placing one, told before, with what would change a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import availability_pb2
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.protobuf import to_timestamp
from tests.integration.capacity.conftest import refused, schedule
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity

CHANGE = availability_pb2.AvailabilityRefusal.Change


async def check(capacity: Capacity, section_id: str, quantity: int = 1, **fields: Any) -> Any:
    asked = {"quantity": quantity, **fields} if "seats" not in fields else fields
    return await capacity.call("CheckAvailability", role="buyer", section_id=section_id, **asked)


async def agreed(capacity: Capacity, section_id: str, quantity: int = 1, **fields: Any) -> tuple[str, str]:
    """Check what is refused, see that placing it is refused alike, and give the reason and what would change it."""
    told = (await check(capacity, section_id, quantity, **fields)).refusal
    error = await refused(capacity.place(section_id, quantity, **fields))
    assert error_reason_pb2.Error.Reason.Name(told.reason) == error.reason
    assert dict(told.metadata) == error.metadata
    assert told.detail
    return error.reason.value, CHANGE.Name(told.change)


async def test_what_can_be_held_is_available_and_nothing_is_claimed(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    for _ in range(2):
        answer = await check(capacity, section.id, 10)
        assert (answer.available, answer.quantity, answer.available_count) == (True, 10, 10)
        assert not answer.HasField("refusal")
    assert answer.inventory_version == len(await capacity.journal(section.event_id))
    assert (await capacity.read(section.id)).held == 0


async def test_holds_that_expire_give_back_enough_at_a_time(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    gone = await capacity.place(section.id, 2, hold_ttl_seconds=1)
    first = await capacity.place(section.id, 3, hold_ttl_seconds=600)
    second = await capacity.place(section.id, 3, hold_ttl_seconds=900)
    await over(capacity, gone.id)
    assert (await check(capacity, section.id, 4)).available_count == 4
    for quantity, ends in ((5, first), (7, first), (8, second)):
        answer = await check(capacity, section.id, quantity)
        assert CHANGE.Name(answer.refusal.change) == "HOLD_EXPIRY"
        assert answer.refusal.next_change_time == ends.expire_time
    assert await agreed(capacity, section.id, 8) == ("INSUFFICIENT_CAPACITY", "HOLD_EXPIRY")


async def test_what_is_sold_does_not_come_back(capacity: Capacity) -> None:
    section = await capacity.on_sale(4)
    hold = await capacity.place(section.id, 3)
    await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)
    assert await agreed(capacity, section.id, 2) == ("INSUFFICIENT_CAPACITY", "OTHER_REQUEST")
    last = await capacity.place(section.id)
    await capacity.call("ConfirmHold", role="buyer", hold_id=last.id)
    assert await agreed(capacity, section.id, 1) == ("INSUFFICIENT_CAPACITY", "NOTHING")


async def test_limits_and_closed_sections(capacity: Capacity) -> None:
    section = await capacity.on_sale(10, min_per_order=2, max_per_order=4)
    assert await agreed(capacity, section.id, 1) == ("PURCHASE_LIMIT", "OTHER_REQUEST")
    assert await agreed(capacity, section.id, 5) == ("PURCHASE_LIMIT", "OTHER_REQUEST")
    await capacity.call("UpdateSection", section_id=section.id, section={"active": False})
    assert await agreed(capacity, section.id, 2) == ("SECTION_CLOSED", "STAFF_DECISION")


@pytest.mark.parametrize(
    ("state", "reason", "change"),
    [
        ("DRAFT", "EVENT_NOT_ON_SALE", "STAFF_DECISION"),
        ("SALES_PAUSED", "EVENT_NOT_ON_SALE", "STAFF_DECISION"),
        ("IN_PROGRESS", "EVENT_NOT_ON_SALE", "STAFF_DECISION"),
        ("POSTPONED", "EVENT_POSTPONED", "STAFF_DECISION"),
        ("COMPLETED", "EVENT_NOT_ON_SALE", "NOTHING"),
        ("CANCELLED", "EVENT_CANCELLED", "NOTHING"),
    ],
)
async def test_the_events_state(capacity: Capacity, state: str, reason: str, change: str) -> None:
    section = await capacity.on_sale(10)
    await capacity.change_event(section.event_id, state=state)
    assert await agreed(capacity, section.id) == (reason, change)


async def test_sales_that_open_and_that_are_over(capacity: Capacity) -> None:
    now = datetime.now(UTC)
    start = now + timedelta(hours=1)
    for state, reason in (("PUBLISHED", "EVENT_NOT_ON_SALE"), ("ON_SALE", "SALES_WINDOW_CLOSED")):
        early = await capacity.section(await capacity.event(state=state, sales_start_time=start), 10)
        assert await agreed(capacity, early.id) == (reason, "SALES_START")
        assert (await check(capacity, early.id)).refusal.next_change_time == to_timestamp(start)
    late = await capacity.section(await capacity.event(sales_end_time=now - timedelta(hours=1)), 10)
    assert await agreed(capacity, late.id) == ("SALES_WINDOW_CLOSED", "STAFF_DECISION")


async def test_dates(capacity: Capacity) -> None:
    past, friday, moved = schedule(days=-1), schedule(days=10), schedule(days=11, state="POSTPONED")
    section = await capacity.section(await capacity.event(schedules=[past, friday, moved]), 10)
    assert (await check(capacity, section.id, schedule_id=friday.schedule_id)).available
    for date, change in ((past, "NOTHING"), (moved, "STAFF_DECISION")):
        told = (await check(capacity, section.id, schedule_id=date.schedule_id)).refusal
        assert error_reason_pb2.Error.Reason.Name(told.reason) == "SALES_WINDOW_CLOSED"
        assert CHANGE.Name(told.change) == change
    missing = await refused(check(capacity, section.id, schedule_id=new_id()))
    assert missing.reason is Reason.SCHEDULE_NOT_FOUND
    several = await refused(check(capacity, section.id))
    assert several.reason is Reason.VALIDATION_FAILED


async def test_what_is_not_there_is_no_answer(capacity: Capacity) -> None:
    hidden = await capacity.on_sale(10, visible=False)
    for section_id in (hidden.id, new_id()):
        assert (await refused(check(capacity, section_id))).reason is Reason.SECTION_NOT_FOUND
    section = await capacity.on_sale(10)
    seatless = await refused(check(capacity, section.id, seats={"labels": ["A-1", "A-2"]}))
    assert (seatless.reason, seatless.metadata["seats"]) == (Reason.SEAT_NOT_FOUND, "A-1,A-2")
    stranger = capacity.call(
        "CheckAvailability", role="owner", organization_id=new_id(), section_id=section.id, quantity=1
    )
    assert (await refused(stranger)).reason is Reason.SECTION_NOT_FOUND
