"""Prices that holds lock: asked of pricing before the transaction, never guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, running, schedule, state_of

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase


async def test_a_hold_keeps_its_price_and_a_new_one_gets_the_new(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    tier_id = capacity.tier(unit_minor=1000)
    before = await capacity.place(section.id, 2, price_tier_id=tier_id)
    capacity.world.tiers[tier_id].unit_minor = 1500
    capacity.world.tiers[tier_id].version = 2
    after = await capacity.place(section.id, 2, price_tier_id=tier_id)
    assert [each.total.amount for each in (before, after)] == ["20.00", "30.00"]
    wrong = await refused(
        capacity.call(
            "ConfirmHold",
            role="buyer",
            hold_id=before.id,
            expected_total={"currency_code": "USD", "amount": "30.00"},
        )
    )
    assert wrong.reason is Reason.TOTAL_MISMATCH
    assert wrong.metadata == {"expected_total": "USD 30.00", "total": "USD 20.00"}
    assert (await capacity.read(section.id)).sold == 0
    sold = await capacity.call("ConfirmHold", role="buyer", hold_id=before.id)
    assert sold.sale.total.amount == "20.00"
    assert sold.sale.lines[0].locked_price.price_tier_version == 1
    change = (await capacity.journal(section.event_id))[-1].sales[0].lines[0]
    assert (change.total_minor, change.currency_code, change.price_tier_id) == (2000, "USD", tier_id)


async def test_what_pricing_refuses_is_refused(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    unknown = await refused(capacity.place(section.id, price_tier_id=new_id()))
    assert unknown.reason is Reason.PRICE_TIER_NOT_FOUND
    foreign = await refused(capacity.place(section.id, price_tier_id=capacity.tier(section_id=new_id())))
    assert foreign.reason is Reason.PRICE_TIER_NOT_APPLICABLE
    stale = await refused(capacity.place(section.id, price_tier_id=capacity.tier(lock_seconds=-1)))
    assert stale.reason is Reason.PRICE_LOCK_EXPIRED
    closed = capacity.tier(sales_end_time=datetime.now(UTC) - timedelta(minutes=1))
    assert (await refused(capacity.place(section.id, price_tier_id=closed))).reason is Reason.SALES_WINDOW_CLOSED
    assert (await capacity.read(section.id)).held == 0


async def test_limits_count_live_holds_and_sales_of_the_customer(capacity: Capacity) -> None:
    section = await capacity.on_sale(100, min_per_order=2, max_per_order=6)
    for quantity, limit in ((1, "min_per_order"), (7, "max_per_order")):
        refusal = await refused(capacity.place(section.id, quantity))
        assert (refusal.reason, refusal.metadata["limit"]) == (Reason.PURCHASE_LIMIT, limit)
    tier_id = capacity.tier(max_per_customer=6, max_per_order=4)
    order = await refused(capacity.place(section.id, 5, price_tier_id=tier_id))
    assert order.metadata == {"limit": "max_per_order", "value": "4", "price_tier_id": tier_id}
    first = await capacity.place(section.id, 2, price_tier_id=tier_id)
    await capacity.call("ConfirmHold", role="buyer", hold_id=first.id)
    second = await capacity.place(section.id, 3, price_tier_id=tier_id)
    over = await refused(capacity.place(section.id, 2, price_tier_id=tier_id))
    assert over.metadata == {
        "limit": "max_per_customer",
        "value": "6",
        "current": "5",
        "price_tier_id": tier_id,
    }
    await capacity.place(section.id, 2, price_tier_id=tier_id, buyer="user:other")
    await capacity.call("ReleaseHold", role="buyer", hold_id=second.id)
    await capacity.place(section.id, 4, price_tier_id=tier_id)
    assert (await capacity.read(section.id)).held == 6


async def test_pricing_is_asked_for_the_date_that_is_meant(capacity: Capacity) -> None:
    only = schedule()
    section = await capacity.section(await capacity.event(schedules=[only, schedule(state="CANCELLED")]), 10)
    hold = await capacity.place(section.id, price_tier_id=capacity.tier())
    assert hold.lines[0].schedule_id == only.schedule_id
    assert capacity.world.locked[-1].schedule_id == only.schedule_id
    own = await capacity.section(section.event_id, 10, schedule_id=only.schedule_id)
    await capacity.place(own.id, price_tier_id=capacity.tier())
    assert capacity.world.locked[-1].schedule_id == only.schedule_id


async def test_without_pricing_a_price_is_never_guessed(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    async with running(database, nats_server.url, identity_dir) as service:
        section = await service.on_sale(10)
        tier_id = service.tier()
        body: dict[str, Any] = {"role": "buyer", "section_id": section.id, "quantity": 2, "price_tier_id": tier_id}
        hold = (await service.call("PlaceHold", request_id="first", **body)).hold
        _, pricing = service.neighbours
        await pricing.stop()
        down = await refused(service.call("PlaceHold", **body))
        assert (down.reason, down.metadata["dependency"]) == (Reason.DEPENDENCY_UNAVAILABLE, "pricing")
        answer, metadata = await service.call_with_metadata("PlaceHold", request_id="first", **body)
        assert (answer.hold, metadata["holdfast-replayed"]) == (hold, "true")
        reused = await refused(service.call("PlaceHold", request_id="first", **{**body, "quantity": 3}))
        assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
        assert state_of(await service.place(section.id)) == "ACTIVE"
        assert state_of((await service.call("ConfirmHold", role="buyer", hold_id=hold.id)).hold) == "CONFIRMED"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hold_ttl_seconds": 3601}, "hold_ttl_seconds"),
        ({"schedule_id": "00000000-0000-7000-8000-000000000000"}, ""),
        ({"quantity": 0}, "quantity"),
    ],
)
async def test_what_cannot_be_honoured_is_refused(capacity: Capacity, fields: dict[str, Any], named: str) -> None:
    section = await capacity.on_sale(10)
    refusal = await refused(
        capacity.call("PlaceHold", role="buyer", **{"section_id": section.id, "quantity": 1, **fields})
    )
    if named:
        assert refusal.reason is Reason.VALIDATION_FAILED
        assert [each.field for each in refusal.violations] == [named]
    else:
        assert refusal.reason is Reason.SCHEDULE_NOT_FOUND


async def test_lines_are_all_or_nothing_and_of_one_event(capacity: Capacity) -> None:
    event_id = await capacity.event()
    wide, narrow = await capacity.section(event_id, 10), await capacity.section(event_id, 1)
    elsewhere = await capacity.on_sale(10)

    def lines(*pairs: tuple[str, int]) -> list[dict[str, Any]]:
        return [{"section_id": section_id, "quantity": quantity} for section_id, quantity in pairs]

    short = await refused(capacity.call("PlaceHold", role="buyer", lines=lines((wide.id, 2), (narrow.id, 2))))
    assert (short.reason, short.metadata["section_id"]) == (Reason.INSUFFICIENT_CAPACITY, narrow.id)
    span = await refused(capacity.call("PlaceHold", role="buyer", lines=lines((wide.id, 1), (elsewhere.id, 1))))
    assert span.reason is Reason.LINES_SPAN_EVENTS
    other = await refused(capacity.place(wide.id, event_id=elsewhere.event_id))
    assert other.reason is Reason.LINES_SPAN_EVENTS
    twice = await refused(capacity.call("PlaceHold", role="buyer", lines=lines((wide.id, 1), (wide.id, 1))))
    assert [each.field for each in twice.violations] == ["lines[1].section_id"]
    assert (await capacity.read(wide.id)).held == 0
    both = (await capacity.call("PlaceHold", role="buyer", lines=lines((wide.id, 2), (narrow.id, 1)))).hold
    assert [(line.number, line.section_id, line.quantity) for line in both.lines] == [
        (1, wide.id, 2),
        (2, narrow.id, 1),
    ]
    await capacity.check(event_id)
