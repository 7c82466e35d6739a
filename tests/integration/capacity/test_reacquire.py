"""Payments that came late: an expired hold's places are sold after all, once, if they are still free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.capacity.domain.ending import Confirmation
from holdfast.capacity.operations.access import Viewer
from holdfast.capacity.operations.ending import ConfirmHold
from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, running, state_of
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.test_expiry import over
from tests.integration.capacity.test_seats import claims, seated, take

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.capacity.v1 import hold_pb2
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase


async def late(capacity: Capacity, section_id: str, quantity: int = 1, **fields: Any) -> hold_pb2.Hold:
    """Place a hold and let its time go by."""
    hold = await capacity.place(section_id, quantity, hold_ttl_seconds=1, **fields)
    await over(capacity, hold.id)
    return await capacity.hold(hold.id)


async def reacquire(capacity: Capacity, hold: hold_pb2.Hold, **fields: Any) -> Any:
    return await capacity.call("ConfirmHold", **{"role": "buyer", "hold_id": hold.id, "reacquire": True, **fields})


async def tidy(capacity: Capacity, section_id: str, buyer: str = "user:tidy") -> None:
    """Let somebody want all places and give them back, so that what is over is tidied up."""
    shown = await capacity.read(section_id)
    hold = await capacity.place(section_id, shown.available, buyer=buyer)
    await capacity.call("ReleaseHold", hold_id=hold.id)


async def test_a_late_payment_gets_the_places_at_the_old_price(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    tier = capacity.tier(unit_minor=1000)
    for tidied in (False, True):
        hold = await late(capacity, section.id, 2, price_tier_id=tier, order_reference="order 1")
        capacity.world.tiers[tier].unit_minor += 500
        capacity.world.tiers[tier].version += 1
        if tidied:
            await tidy(capacity, section.id)
        assert (await refused(capacity.call("ConfirmHold", role="buyer", hold_id=hold.id))).reason is (
            Reason.HOLD_EXPIRED
        )
        before = (await capacity.read(section.id)).sold
        answer = await reacquire(capacity, hold, expected_total=_total(hold), etag=hold.etag)
        new = answer.hold
        assert (state_of(new), new.replaces_hold_id, new.sale_id) == ("CONFIRMED", hold.id, answer.sale.id)
        assert new.id != hold.id
        assert (answer.sale.total, answer.sale.order_reference) == (hold.total, "order 1")
        assert list(new.lines) == list(hold.lines) == list(answer.sale.lines)
        assert await capacity.hold(new.id) == new
        assert await capacity.hold(hold.id) == hold
        assert (await capacity.read(section.id)).sold == before + 2
        change = (await capacity.journal(section.event_id))[-1]
        told = next(each for each in change.holds if each.hold_id == new.id)
        assert (told.state, told.replaces_hold_id, told.HasField("before")) == (new.state, hold.id, False)
        assert [sale.sale_id for sale in change.sales] == [answer.sale.id]
        await capacity.check(section.event_id)


def _total(hold: hold_pb2.Hold) -> dict[str, str]:
    return {"currency_code": hold.total.currency_code, "amount": hold.total.amount}


async def test_places_that_somebody_else_has_are_not_sold_twice(capacity: Capacity) -> None:
    section = await capacity.on_sale(3)
    hold = await late(capacity, section.id, 2)
    other = await capacity.place(section.id, 2, buyer="user:other")
    gone = await refused(reacquire(capacity, hold))
    assert (gone.reason, gone.metadata["hold_id"]) == (Reason.HOLD_EXPIRED, hold.id)
    assert (await capacity.read(section.id)).sold == 0
    await capacity.call("ReleaseHold", hold_id=other.id)
    assert state_of((await reacquire(capacity, hold)).hold) == "CONFIRMED"
    await capacity.check(section.event_id)


async def test_confirming_twice_answers_the_same_sale_also_from_another_replica(
    capacity: Capacity, database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    section = await capacity.on_sale(10)
    hold = await late(capacity, section.id, 3)
    async with running(database, nats_server.url, identity_dir) as replica:
        replica.organization_id = capacity.organization_id
        done = await outcomes(
            *(reacquire(each, hold, request_id=f"key-{n % 3}") for n in range(12) for each in (capacity, replica))
        )
        assert reasons(done) == {"ok": 24}
        assert len({(answer.sale.id, answer.hold.id) for answer in done}) == 1
        again = await reacquire(replica, hold, request_id="key-1")
        assert again.sale == done[0].sale
    assert (await capacity.read(section.id)).sold == 3
    rows = capacity.rows("SELECT count(*) FROM capacity.holds WHERE replaces_hold_id = %s", hold.id)
    assert rows == [(1,)]
    ((key,),) = capacity.rows("SELECT request_id FROM capacity.requests WHERE resource_id = %s", again.hold.id)
    reused = await refused(reacquire(capacity, hold, request_id=key, order_reference="other"))
    assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
    wrong = await refused(reacquire(capacity, hold, expected_total={"currency_code": "USD", "amount": "1.00"}))
    assert wrong.reason is Reason.TOTAL_MISMATCH
    await capacity.check(section.event_id)


async def test_an_attempt_after_an_unknown_commit_finds_the_sale(capacity: Capacity) -> None:
    section = await capacity.on_sale(2)
    hold = await late(capacity, section.id, 2)
    request = Confirmation(new_id(), etag=hold.etag, replacement_id=new_id())
    command = ConfirmHold(hold.id, request, Viewer("user:buyer", reads_all=False, manages=False), None)
    async with capacity.engine_of_the_service() as submit:
        first, second = [await submit(section.event_id, command) for _ in range(2)]
    assert (second.hold, second.sale, second.version) == (first.hold, first.sale, first.version)
    assert (first.hold.hold_id, first.sale.sale_id) == (request.replacement_id, request.sale_id)
    assert not second.replayed
    await capacity.check(section.event_id)


async def test_late_payments_and_new_buyers_race_for_the_last_places(capacity: Capacity) -> None:
    section = await capacity.on_sale(4)
    holds = [await capacity.place(section.id, 2, buyer=f"user:{n}", hold_ttl_seconds=1) for n in range(2)]
    for hold in holds:
        await over(capacity, hold.id)
    done = await outcomes(
        *(capacity.place(section.id, 2, buyer=f"user:new-{n}") for n in range(2)),
        *(reacquire(capacity, hold, subject=hold.customer_id) for hold in holds for _ in range(2)),
    )
    shown = await capacity.read(section.id)
    assert shown.held + shown.sold == 4
    assert {str(reason) for reason in reasons(done)} <= {"ok", Reason.HOLD_EXPIRED, Reason.INSUFFICIENT_CAPACITY}
    assert len({each.sale.id for each in done[2:] if hasattr(each, "sale")}) == shown.sold // 2
    await capacity.check(section.event_id)


async def test_more_expired_holds_than_one_commit_takes_do_not_keep_a_late_payment_out(capacity: Capacity) -> None:
    section = await capacity.on_sale(1000)
    hold = await late(capacity, section.id, 1000)
    await tidy(capacity, section.id)
    await over(capacity, (await capacity.fill(section, 1000, hold_ttl_seconds=1))[-1])
    assert state_of((await reacquire(capacity, hold)).hold) == "CONFIRMED"
    assert (await capacity.read(section.id)).sold == 1000
    await capacity.check(section.event_id)


async def test_a_hold_that_lives_or_ended_otherwise_is_not_reacquired(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    live = await capacity.place(section.id)
    sold = await reacquire(capacity, live)
    assert (sold.hold.id, sold.hold.replaces_hold_id) == (live.id, "")
    released = await capacity.place(section.id)
    await capacity.call("ReleaseHold", hold_id=released.id)
    assert (await refused(reacquire(capacity, released))).reason is Reason.HOLD_NOT_ACTIVE
    foreign = await late(capacity, section.id)
    nobody = await refused(reacquire(capacity, foreign, subject="user:somebody"))
    assert nobody.reason is Reason.HOLD_NOT_FOUND
    await capacity.change_event(section.event_id, state="CANCELLED")
    assert (await refused(reacquire(capacity, foreign))).reason is Reason.EVENT_CANCELLED
    await capacity.check(section.event_id)


async def test_the_same_seats_are_sold_or_none(capacity: Capacity) -> None:
    section = await seated(capacity, rows=1, cols=4)
    hold, lost = [
        await take(capacity, section.id, *labels, hold_ttl_seconds=1) for labels in (("A-1", "A-2"), ("A-3",))
    ]
    await over(capacity, lost.id)
    await take(capacity, section.id, "A-3", buyer="user:other")
    gone = await refused(reacquire(capacity, lost))
    assert (gone.reason, gone.metadata["hold_id"]) == (Reason.HOLD_EXPIRED, lost.id)
    sold = (await reacquire(capacity, hold)).hold
    assert [list(line.seats) for line in sold.lines] == [["A-1", "A-2"]]
    assert {seat: owner for seat, owner in claims(capacity, section.id).items() if seat < 2} == {0: sold.id, 1: sold.id}
    await capacity.check(section.event_id)


async def test_availability_follows_whatever_becomes_of_holds(capacity: Capacity) -> None:
    """What is kept in memory and fed by the journal says what the rows say, after every kind of change."""
    event_id = await capacity.event()
    floor, balcony = await capacity.section(event_id, 10), await capacity.section(event_id, 10)

    async def agree() -> None:
        told = (await capacity.call("GetAvailability", event_id=event_id)).availability
        seen = {each.section_id: (each.available, each.held, each.pending, each.sold) for each in told.sections}
        for section in (floor, balcony):
            row = await capacity.read(section.id)
            assert seen[section.id] == (row.available, row.held, row.pending, row.sold)

    await agree()
    hold, paying = [await capacity.place(floor.id, 3) for _ in range(2)]
    swap: dict[str, Any] = {
        "release_lines": [{"number": 1, "quantity": 2}],
        "add_lines": [{"section_id": balcony.id, "quantity": 4}],
    }
    await capacity.call("ChangeHold", role="buyer", hold_id=hold.id, **swap)
    await agree()
    await capacity.call("ExtendHold", role="buyer", hold_id=hold.id, hold_ttl_seconds=1800)
    await capacity.call("BeginPayment", role="buyer", hold_id=paying.id)
    await agree()
    gone = await late(capacity, balcony.id, 2)
    await agree()
    await reacquire(capacity, gone)
    await agree()
    await capacity.call("ConfirmHold", role="buyer", hold_id=paying.id)
    await capacity.call("ReleaseHold", role="buyer", hold_id=hold.id)
    await agree()
    await capacity.check(event_id)
