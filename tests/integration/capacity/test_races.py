"""Many callers at once, on real PostgreSQL: nothing is sold twice, nobody waits for nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from holdfast.common.errors import DomainError, Reason
from tests.integration.capacity.conftest import refused, state_of
from tests.integration.capacity.racing import outcomes, reasons

if TYPE_CHECKING:
    from tests.integration.capacity.conftest import Capacity


async def test_two_buyers_cannot_hold_the_same_place(capacity: Capacity) -> None:
    section = await capacity.on_sale(1)
    done = await outcomes(*(capacity.place(section.id, buyer=f"user:{number}") for number in range(2)))
    assert reasons(done) == {"ok": 1, Reason.INSUFFICIENT_CAPACITY: 1}
    refusal = next(each for each in done if isinstance(each, DomainError))
    assert refusal.metadata["available"] == "0"
    assert refusal.metadata["section_id"] == section.id
    hold = next(each for each in done if not isinstance(each, DomainError))
    assert refusal.metadata["next_change_time"].endswith("Z")
    next_change = datetime.fromisoformat(refusal.metadata["next_change_time"])
    assert next_change == hold.expire_time.ToDatetime(tzinfo=UTC)
    await capacity.check(section.event_id)


async def test_of_64_callers_for_20_places_exactly_20_win(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    done = await outcomes(*(capacity.place(section.id, buyer=f"user:{number}") for number in range(64)))
    assert reasons(done) == {"ok": 20, Reason.INSUFFICIENT_CAPACITY: 44}
    shown = await capacity.read(section.id)
    assert (shown.available, shown.held) == (0, 20)
    await capacity.check(section.event_id)
    assert capacity.deadlocks() == 0


async def test_a_request_repeated_50_times_at_once_makes_one_hold(capacity: Capacity) -> None:
    section = await capacity.on_sale(100)
    done = await outcomes(
        *(
            capacity.call_with_metadata(
                "PlaceHold", role="buyer", section_id=section.id, quantity=2, request_id="once-only"
            )
            for _ in range(50)
        )
    )
    assert reasons(done) == {"ok": 50}
    assert len({answer.hold.SerializeToString(deterministic=True) for answer, _ in done}) == 1
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 49
    assert (await capacity.read(section.id)).held == 2

    other = await refused(capacity.place(section.id, 3, request_id="once-only", buyer="user:buyer"))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED
    elsewhere = await capacity.on_sale(100)
    same = await refused(capacity.place(elsewhere.id, 2, request_id="once-only", buyer="user:buyer"))
    assert same.reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert state_of(await capacity.place(section.id, 2, request_id="once-only", buyer="user:somebody-else")) == "ACTIVE"
    await capacity.check(section.event_id)


async def test_one_key_for_holds_of_two_events_at_once_makes_one(capacity: Capacity) -> None:
    sections = [await capacity.on_sale(10) for _ in range(2)]
    done = await outcomes(
        *(
            capacity.place(section.id, request_id="for-both", buyer="user:both")
            for _ in range(10)
            for section in sections
        )
    )
    assert reasons(done) == {"ok": 10, Reason.IDEMPOTENCY_KEY_REUSED: 10}
    held = [(await capacity.read(section.id)).held for section in sections]
    assert sorted(held) == [0, 1]
    assert capacity.deadlocks() == 0


async def test_exactly_one_of_confirm_and_release_wins(capacity: Capacity) -> None:
    section = await capacity.on_sale(100)
    holds = [await capacity.place(section.id) for _ in range(10)]
    for hold in holds:
        confirmed, released = await outcomes(
            capacity.call("ConfirmHold", role="buyer", hold_id=hold.id),
            capacity.call("ReleaseHold", role="buyer", hold_id=hold.id),
        )
        state = state_of(await capacity.hold(hold.id))
        won = {"CONFIRMED": confirmed, "RELEASED": released}[state]
        lost = released if won is confirmed else confirmed
        assert state_of(won.hold) == state
        assert lost.reason is Reason.HOLD_NOT_ACTIVE
        assert lost.metadata["state"] == state
    shown = await capacity.read(section.id)
    assert (shown.held, shown.sold + shown.available) == (0, 100)
    await capacity.check(section.event_id)


async def test_confirming_many_times_at_once_sells_once(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 3)
    done = await outcomes(
        *(capacity.call("ConfirmHold", role="buyer", hold_id=hold.id, request_id=f"key-{n % 3}") for n in range(12))
    )
    assert reasons(done) == {"ok": 12}
    assert len({answer.sale.id for answer in done}) == 1
    assert (await capacity.read(section.id)).sold == 3
    await capacity.check(section.event_id)


async def test_lines_in_opposite_orders_never_deadlock(capacity: Capacity) -> None:
    event_id = await capacity.event()
    first, second = [await capacity.section(event_id, 20) for _ in range(2)]
    orders = ([first.id, second.id], [second.id, first.id])
    done = await outcomes(
        *(
            capacity.call(
                "PlaceHold",
                role="buyer",
                lines=[{"section_id": section_id, "quantity": 1} for section_id in orders[number % 2]],
            )
            for number in range(40)
        )
    )
    assert reasons(done) == {"ok": 20, Reason.INSUFFICIENT_CAPACITY: 20}
    assert [(await capacity.read(each.id)).held for each in (first, second)] == [20, 20]
    assert capacity.deadlocks() == 0
    await capacity.check(event_id)


async def test_sections_made_at_once_stay_within_the_venue(capacity: Capacity) -> None:
    event_id = await capacity.event(venue_max_capacity=5000)
    await capacity.section(event_id, 2000)
    done = await outcomes(capacity.section(event_id, 2500), capacity.section(event_id, 1000))
    assert reasons(done) == {"ok": 1, Reason.VENUE_CAPACITY_EXCEEDED: 1}
    refusal = next(each for each in done if isinstance(each, DomainError))
    assert refusal.metadata["maximum"] == "5000"
    other = await capacity.event(venue_max_capacity=5000)
    await capacity.section(other, 2000)
    await capacity.section(other, 2500)
    third = await refused(capacity.section(other, 1000))
    assert third.reason is Reason.VENUE_CAPACITY_EXCEEDED
    assert third.metadata == {"maximum": "5000", "total": "5500"}
    await capacity.section(other, 500)


async def test_random_operations_leave_a_consistent_inventory(capacity: Capacity) -> None:
    section = await capacity.on_sale(30)

    async def live(number: int) -> None:
        buyer = f"user:{number}"
        for turn in range(4):
            (hold,) = await outcomes(capacity.place(section.id, 1 + (number + turn) % 3, buyer=buyer))
            if isinstance(hold, DomainError):
                assert hold.reason is Reason.INSUFFICIENT_CAPACITY
                continue
            rpc = "ConfirmHold" if (number + turn) % 4 == 0 else "ReleaseHold"
            await capacity.call(rpc, role="buyer", subject=buyer, hold_id=hold.id)

    await asyncio.gather(*(live(number) for number in range(16)), capacity.check(section.event_id))
    shown = await capacity.read(section.id)
    assert shown.held == 0
    assert shown.sold + shown.available == 30
    await capacity.check(section.event_id)
    assert capacity.deadlocks() == 0
