"""Why a hold would be refused: the same as it is refused for, what would change that, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.capacity.v1 import availability_pb2
from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.protobuf import to_timestamp
from tests.integration.capacity.conftest import refused, schedule
from tests.integration.capacity.racing import outcomes
from tests.integration.capacity.steps import blocked, hold_seats, seated, sold

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity

CHANGE = availability_pb2.AvailabilityRefusal.Change
ANN = "customer:ann"


async def explain(capacity: Capacity, section_id: str, quantity: int = 1, **fields: Any) -> Any:
    asked: dict[str, Any] = {} if fields.keys() & {"seats", "best_available"} else {"quantity": quantity}
    return await capacity.call("ExplainAvailability", section_id=section_id, **asked, **fields)


async def agreed(capacity: Capacity, section_id: str, quantity: int = 1, **fields: Any) -> tuple[str, str, Any]:
    """See that a hold is refused for what was explained; give the reason, what would change it, and when."""
    answer = await explain(capacity, section_id, quantity, **fields)
    asked: dict[str, Any] = {} if fields.keys() & {"seats", "best_available"} else {"quantity": quantity}
    error = await refused(capacity.call("PlaceHold", section_id=section_id, **asked, **fields))
    told = answer.refusal
    assert not answer.allowed
    assert error_reason_pb2.Error.Reason.Name(told.reason) == error.reason
    assert (told.detail, dict(told.metadata)) == (str(error), error.metadata)
    when = told.next_change_time if told.HasField("next_change_time") else None
    return error.reason.value, CHANGE.Name(told.change), when


async def fails_alike(capacity: Capacity, section_id: str, **fields: Any) -> DomainError:
    """See that what is no question has no answer, as PlaceHold has none."""
    explained = await refused(explain(capacity, section_id, **fields))
    asked: dict[str, Any] = {} if fields.keys() & {"seats", "best_available"} else {"quantity": 1}
    error = await refused(capacity.call("PlaceHold", section_id=section_id, **asked, **fields))
    assert (explained.reason, explained.metadata) == (error.reason, error.metadata)
    assert [each.field for each in explained.violations] == [each.field for each in error.violations]
    return explained


async def test_what_every_rule_admits_is_allowed_and_nothing_is_claimed(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, seats = await capacity.section(event_id, 10), await seated(capacity, event_id)
    tier = capacity.tier(max_per_customer=5)
    hold = await capacity.place(section.id, 2, buyer=ANN, price_tier_id=tier)
    await capacity.place(section.id, 1, buyer=ANN)
    await sold(capacity, hold)
    rows = len(await capacity.journal(event_id))
    fields: dict[str, Any]
    for fields in ({"quantity": 3, "price_tier_id": tier}, {"quantity": 7}):
        answer = await capacity.call("ExplainAvailability", role="buyer", subject=ANN, section_id=section.id, **fields)
        assert (answer.allowed, answer.available_count, answer.customer_count) == (True, 7, 3)
        assert not answer.HasField("refusal")
    answer = await explain(capacity, seats.id, best_available={"quantity": 4})
    assert (answer.allowed, answer.available_count, answer.customer_count) == (True, 10, 0)
    assert (await explain(capacity, seats.id, seats={"labels": ["A-1"]})).allowed
    assert answer.inventory_version == rows == len(await capacity.journal(event_id))


@pytest.mark.parametrize(
    ("state", "reason", "change"),
    [
        ("DRAFT", "EVENT_NOT_ON_SALE", "STAFF_DECISION"),
        ("SALES_PAUSED", "EVENT_NOT_ON_SALE", "STAFF_DECISION"),
        ("POSTPONED", "EVENT_POSTPONED", "STAFF_DECISION"),
        ("COMPLETED", "EVENT_NOT_ON_SALE", "NOTHING"),
        ("CANCELLED", "EVENT_CANCELLED", "NOTHING"),
    ],
)
async def test_the_events_state(capacity: Capacity, state: str, reason: str, change: str) -> None:
    section = await capacity.on_sale(10)
    await capacity.change_event(section.event_id, state=state)
    assert await agreed(capacity, section.id) == (reason, change, None)


async def test_windows_of_the_event_its_dates_and_price_tiers(capacity: Capacity) -> None:
    now = datetime.now(UTC)
    soon, over = now + timedelta(hours=1), now - timedelta(hours=1)
    early = await capacity.section(await capacity.event(sales_start_time=soon), 10)
    assert await agreed(capacity, early.id) == ("SALES_WINDOW_CLOSED", "SALES_START", to_timestamp(soon))
    published = await capacity.section(await capacity.event(state="PUBLISHED", sales_start_time=soon), 10)
    assert await agreed(capacity, published.id) == ("EVENT_NOT_ON_SALE", "SALES_START", to_timestamp(soon))
    late = await capacity.section(await capacity.event(sales_end_time=over), 10)
    assert await agreed(capacity, late.id) == ("SALES_WINDOW_CLOSED", "STAFF_DECISION", None)

    past, friday, moved = schedule(days=-1), schedule(days=10), schedule(days=11, state="POSTPONED")
    dated = await capacity.section(await capacity.event(schedules=[past, friday, moved]), 10)
    assert (await explain(capacity, dated.id, schedule_id=friday.schedule_id)).allowed
    for date, change in ((past, "NOTHING"), (moved, "STAFF_DECISION")):
        assert await agreed(capacity, dated.id, schedule_id=date.schedule_id) == ("SALES_WINDOW_CLOSED", change, None)

    section = await capacity.on_sale(10)
    opening = capacity.tier(sales_start_time=soon)
    told = await agreed(capacity, section.id, price_tier_id=opening)
    assert told == ("SALES_WINDOW_CLOSED", "SALES_START", to_timestamp(soon))
    closed = capacity.tier(sales_end_time=over)
    assert await agreed(capacity, section.id, price_tier_id=closed) == ("SALES_WINDOW_CLOSED", "OTHER_REQUEST", None)
    # What pricing says comes before what the event says.
    elsewhere = capacity.tier(section_id=new_id())
    await capacity.change_event(section.event_id, state="SALES_PAUSED")
    assert (await agreed(capacity, section.id, price_tier_id=elsewhere))[:2] == (
        "PRICE_TIER_NOT_APPLICABLE",
        "OTHER_REQUEST",
    )


async def test_closed_sections_limits_and_prices_that_are_over(capacity: Capacity) -> None:
    section = await capacity.on_sale(20, min_per_order=2, max_per_order=6)
    for quantity in (1, 7):
        assert await agreed(capacity, section.id, quantity) == ("PURCHASE_LIMIT", "OTHER_REQUEST", None)
    order = capacity.tier(max_per_order=3)
    assert await agreed(capacity, section.id, 4, price_tier_id=order) == ("PURCHASE_LIMIT", "OTHER_REQUEST", None)
    stale = capacity.tier(lock_seconds=-1)
    assert (await agreed(capacity, section.id, 2, price_tier_id=stale))[0] == "PRICE_LOCK_EXPIRED"

    mine = capacity.tier(max_per_customer=4)
    first = await capacity.place(section.id, 2, buyer=ANN, price_tier_id=mine, hold_ttl_seconds=600)
    second = await capacity.place(section.id, 2, buyer=ANN, price_tier_id=mine)
    asked = {"price_tier_id": mine, "customer_id": ANN}
    assert await agreed(capacity, section.id, 2, **asked) == ("PURCHASE_LIMIT", "HOLD_EXPIRY", first.expire_time)
    assert await agreed(capacity, section.id, 4, **asked) == ("PURCHASE_LIMIT", "HOLD_EXPIRY", second.expire_time)
    assert await agreed(capacity, section.id, 5, **asked) == ("PURCHASE_LIMIT", "OTHER_REQUEST", None)
    assert (await explain(capacity, section.id, 2, **asked)).customer_count == 4
    await sold(capacity, first)
    assert await agreed(capacity, section.id, 3, **asked) == ("PURCHASE_LIMIT", "OTHER_REQUEST", None)

    await capacity.call("UpdateSection", section_id=section.id, section={"active": False})
    assert await agreed(capacity, section.id, 2) == ("SECTION_CLOSED", "STAFF_DECISION", None)


async def test_places_that_are_short(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    held = await capacity.place(section.id, 3, hold_ttl_seconds=600)
    paying = await capacity.place(section.id, 2)
    begun = (await capacity.call("BeginPayment", hold_id=paying.id)).hold
    block = await blocked(capacity, section, 3)
    assert await agreed(capacity, section.id, 5) == ("INSUFFICIENT_CAPACITY", "HOLD_EXPIRY", held.expire_time)
    assert await agreed(capacity, section.id, 7) == ("INSUFFICIENT_CAPACITY", "PAYMENT_DEADLINE", begun.expire_time)
    assert await agreed(capacity, section.id, 9) == ("INSUFFICIENT_CAPACITY", "OTHER_REQUEST", None)
    assert (await explain(capacity, section.id, 3, block_id=block.id)).allowed
    assert await agreed(capacity, section.id, 4, block_id=block.id) == ("INSUFFICIENT_CAPACITY", "OTHER_REQUEST", None)
    guest = (
        await capacity.call("PlaceHold", section_id=section.id, quantity=2, block_id=block.id, hold_ttl_seconds=300)
    ).hold
    told = await agreed(capacity, section.id, 3, block_id=block.id)
    assert told == ("INSUFFICIENT_CAPACITY", "HOLD_EXPIRY", guest.expire_time)


async def test_seats_that_are_taken_and_seats_side_by_side(capacity: Capacity) -> None:
    section = await seated(capacity, await capacity.event(), rows=2, cols=4)

    async def asked(*labels: str) -> tuple[str, str, Any]:
        return await agreed(capacity, section.id, seats={"labels": list(labels)})

    held = await hold_seats(capacity, section, "A-1", hold_ttl_seconds=600)
    later = await hold_seats(capacity, section, "A-2")
    assert await asked("A-1", "A-3") == ("SEATS_TAKEN", "HOLD_EXPIRY", held.expire_time)
    assert await asked("A-1", "A-2") == ("SEATS_TAKEN", "HOLD_EXPIRY", later.expire_time)
    begun = (await capacity.call("BeginPayment", hold_id=later.id)).hold
    assert await asked("A-1", "A-2") == ("SEATS_TAKEN", "PAYMENT_DEADLINE", begun.expire_time)
    house = await blocked(capacity, section, ["B-1", "B-2"])
    assert await asked("A-1", "B-1") == ("SEATS_TAKEN", "STAFF_DECISION", None)
    await capacity.call("PlaceHold", section_id=section.id, seats={"labels": ["B-2"]}, block_id=house.id)
    assert await asked("B-2") == ("SEATS_TAKEN", "STAFF_DECISION", None)
    await sold(capacity, await hold_seats(capacity, section, "B-3"))
    assert await asked("A-1", "B-1", "B-3") == ("SEATS_TAKEN", "OTHER_REQUEST", None)

    assert (await explain(capacity, section.id, seats={"labels": ["B-1"]}, block_id=house.id)).allowed
    told = await agreed(capacity, section.id, seats={"labels": ["B-4"]}, block_id=house.id)
    assert told == ("SEATS_TAKEN", "OTHER_REQUEST", None)
    reason, change, when = await agreed(capacity, section.id, best_available={"quantity": 3})
    assert (reason, change, when) == ("INSUFFICIENT_CAPACITY", "PAYMENT_DEADLINE", begun.expire_time)


async def test_what_is_no_question_has_no_answer(capacity: Capacity) -> None:
    event_id = await capacity.event()
    section, seats = await capacity.section(event_id, 10), await seated(capacity, event_id)
    cases: list[tuple[Reason, str, dict[str, Any]]] = [
        (Reason.SECTION_NOT_FOUND, new_id(), {}),
        (Reason.SCHEDULE_NOT_FOUND, section.id, {"schedule_id": new_id()}),
        (Reason.PRICE_TIER_NOT_FOUND, section.id, {"price_tier_id": new_id()}),
        (Reason.BLOCK_NOT_FOUND, section.id, {"block_id": new_id()}),
        (Reason.SEAT_NOT_FOUND, seats.id, {"seats": {"labels": ["Z-9"]}}),
        (Reason.VALIDATION_FAILED, seats.id, {}),
        (Reason.PERMISSION_MISSING, section.id, {"role": "buyer", "customer_id": ANN}),
        (Reason.PERMISSION_MISSING, section.id, {"role": "buyer", "block_id": new_id()}),
    ]
    for reason, section_id, fields in cases:
        assert (await fails_alike(capacity, section_id, **fields)).reason is reason
    others = await refused(explain(capacity, section.id, organization_id=new_id()))
    assert others.reason is Reason.SECTION_NOT_FOUND


async def test_explanations_agree_with_what_becomes_of_requests(capacity: Capacity) -> None:
    """Requests drawn from a seed, while the event fills: each is refused as was explained, or placed as was."""
    random = Random(7)  # noqa: S311 (a repeatable draw)
    event_id = await capacity.event()
    general = await capacity.section(event_id, 30, min_per_order=2, max_per_order=8)
    seats = await seated(capacity, event_id, rows=2, cols=8)
    tiers = [
        capacity.tier(),
        capacity.tier(max_per_order=4, max_per_customer=6),
        capacity.tier(section_id=seats.id, max_per_customer=5),
    ]
    seen: set[str] = set()
    for _ in range(70):
        section = random.choice([general, seats])
        fields: dict[str, Any] = {"customer_id": random.choice(["customer:a", "customer:b"])}
        if random.random() < 0.6:
            fields["price_tier_id"] = random.choice(tiers)
        if section is general:
            fields["quantity"] = random.randint(1, 9)
        elif random.random() < 0.5:
            fields["best_available"] = {"quantity": random.randint(1, 4)}
        else:
            labels = [f"{row}-{number}" for row in "AB" for number in range(1, 9)]
            fields["seats"] = {"labels": random.sample(labels, random.randint(1, 3))}
        told = await capacity.call("ExplainAvailability", section_id=section.id, **fields)
        (done,) = await outcomes(capacity.call("PlaceHold", section_id=section.id, **fields))
        assert told.allowed != isinstance(done, DomainError)
        if isinstance(done, DomainError):
            assert error_reason_pb2.Error.Reason.Name(told.refusal.reason) == done.reason
            assert (told.refusal.detail, dict(told.refusal.metadata)) == (str(done), done.metadata)
            seen.add(done.reason)
            continue
        seen.add("placed")
        if random.random() < 0.4:
            await capacity.call("ReleaseHold", hold_id=done.hold.id)
        elif random.random() < 0.3:
            await capacity.call("ConfirmHold", hold_id=done.hold.id)
    assert seen == {
        "placed",
        "INSUFFICIENT_CAPACITY",
        "SEATS_TAKEN",
        "PURCHASE_LIMIT",
        "PRICE_TIER_NOT_APPLICABLE",
    }
