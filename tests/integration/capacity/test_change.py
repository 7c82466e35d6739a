"""Changing what holds claim: parts come back and others are taken in one commit, at the prices that were locked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdfast.capacity.domain.changing import ChangeRequest
from holdfast.capacity.domain.parts import PartRequest
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.operations.access import Viewer
from holdfast.capacity.operations.changing import ChangeHold
from holdfast.common.errors import Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, running, state_of, until
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.test_expiry import over
from tests.integration.capacity.test_seats import claims, seated, take, taken

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.api.capacity.v1 import hold_pb2
    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase

VIEWER = Viewer("user:buyer", reads_all=False, manages=False)


async def change(capacity: Capacity, hold: hold_pb2.Hold, **fields: Any) -> Any:
    return await capacity.call("ChangeHold", **{"role": "buyer", "hold_id": hold.id, **fields})


def lines(hold: hold_pb2.Hold) -> list[tuple[int, str, int, str]]:
    """Tell lines as number, section, quantity and what they cost."""
    return [
        (line.number, line.section_id, line.quantity, line.locked_price.breakdown.total.amount) for line in hold.lines
    ]


def key() -> RequestKey:
    return RequestKey(caller="user:buyer", rpc="ChangeHold", request_id=f"once {new_id()}", fingerprint=b"")


async def test_parts_come_back_and_others_are_taken_at_the_prices_that_were_locked(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, balcony = await capacity.section(event_id, 10), await capacity.section(event_id, 10)
    tier = capacity.tier(unit_minor=1000)
    hold = await capacity.place(floor.id, 4, price_tier_id=tier)
    capacity.world.tiers[tier].reprice(1500)
    answer = await change(
        capacity,
        hold,
        release_lines=[{"number": 1, "quantity": 1}],
        add_lines=[{"section_id": balcony.id, "quantity": 2, "price_tier_id": tier}],
        etag=hold.etag,
    )
    now = answer.hold
    assert lines(now) == [(1, floor.id, 3, "30.00"), (2, balcony.id, 2, "30.00")]
    assert [line.locked_price.price_tier_version for line in now.lines] == [1, 2]
    assert now.lines[0].locked_price.lock_time == hold.lines[0].locked_price.lock_time
    assert (now.total.amount, now.expire_time, state_of(now)) == ("60.00", hold.expire_time, "ACTIVE")
    assert now.etag != hold.etag
    assert await capacity.hold(hold.id) == now
    assert [(await capacity.read(each.id)).held for each in (floor, balcony)] == [3, 2]
    (told,) = (await capacity.journal(event_id))[-1].holds
    assert [(line.number, line.quantity, line.total_minor) for line in told.lines] == [(1, 3, 3000), (2, 2, 3000)]
    assert [(line.number, line.quantity, line.total_minor) for line in told.released_lines] == [(1, 1, 1000)]
    assert {(each.section_id, each.quantity) for each in told.before.places} == {(floor.id, 4)}
    await capacity.check(event_id)
    last = await change(capacity, hold, release_lines=[{"number": 1, "all": True}])
    assert lines(last.hold) == [(2, balcony.id, 2, "30.00")]
    sold = await capacity.call("ConfirmHold", role="buyer", hold_id=hold.id)
    assert (sold.sale.total.amount, [line.number for line in sold.sale.lines]) == ("30.00", [2])
    await capacity.check(event_id)


async def test_nothing_changes_if_what_is_added_cannot_be_had(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, full = await capacity.section(event_id, 10), await capacity.section(event_id, 1)
    elsewhere = await capacity.on_sale(10)
    hold = await capacity.place(floor.id, 3)
    await capacity.place(full.id, 1, buyer="user:other")
    cases: list[tuple[dict[str, Any], Reason]] = [
        ({"section_id": full.id, "quantity": 1}, Reason.INSUFFICIENT_CAPACITY),
        ({"section_id": elsewhere.id, "quantity": 1}, Reason.LINES_SPAN_EVENTS),
        ({"section_id": new_id(), "quantity": 1}, Reason.SECTION_NOT_FOUND),
        ({"section_id": floor.id, "quantity": 1, "schedule_id": new_id()}, Reason.SCHEDULE_NOT_FOUND),
        ({"section_id": floor.id, "quantity": 1, "price_tier_id": new_id()}, Reason.PRICE_TIER_NOT_FOUND),
    ]
    for line, reason in cases:
        refusal = await refused(change(capacity, hold, release_lines=[{"number": 1, "quantity": 1}], add_lines=[line]))
        assert refusal.reason is reason
    more = await refused(change(capacity, hold, release_lines=[{"number": 1, "quantity": 4}]))
    assert (more.reason, more.metadata) == (Reason.LINE_EXCEEDED, {"line": "1", "remaining": "3"})
    empty = await refused(change(capacity, hold, release_lines=[{"number": 1, "all": True}]))
    assert [each.field for each in empty.violations] == ["release_lines"]
    nothing = await refused(change(capacity, hold))
    assert nothing.reason is Reason.VALIDATION_FAILED
    stale = await refused(change(capacity, hold, release_lines=[{"number": 1, "quantity": 1}], etag="77"))
    assert stale.reason is Reason.ETAG_MISMATCH
    nobody = await refused(
        change(capacity, hold, release_lines=[{"number": 1, "quantity": 1}], subject="user:somebody")
    )
    assert nobody.reason is Reason.HOLD_NOT_FOUND
    assert await capacity.hold(hold.id) == hold
    await capacity.check(event_id)


async def test_only_an_active_hold_changes(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    part: dict[str, Any] = {"release_lines": [{"number": 1, "quantity": 1}]}
    short = await capacity.place(section.id, 3, hold_ttl_seconds=1)
    paying, sold = [await capacity.place(section.id, 3) for _ in range(2)]
    await capacity.call("BeginPayment", role="buyer", hold_id=paying.id)
    await capacity.call("ConfirmHold", role="buyer", hold_id=sold.id)
    await over(capacity, short.id)
    for hold, reason in (
        (short, Reason.HOLD_EXPIRED),
        (paying, Reason.HOLD_NOT_ACTIVE),
        (sold, Reason.HOLD_NOT_ACTIVE),
    ):
        assert (await refused(change(capacity, hold, **part))).reason is reason
    await capacity.check(section.event_id)


async def test_limits_count_the_hold_as_it_will_be(capacity: Capacity) -> None:
    event_id = await capacity.event()
    floor, balcony = (
        await capacity.section(event_id, 20, min_per_order=2, max_per_order=6),
        await capacity.section(event_id, 20),
    )
    tier = capacity.tier(max_per_customer=6, max_per_order=5)
    other = await capacity.place(balcony.id, 1, price_tier_id=tier)
    hold = await capacity.place(floor.id, 4, price_tier_id=tier)

    def swap(quantity: int, added: int) -> dict[str, Any]:
        return {
            "release_lines": [{"number": 1, "quantity": quantity}],
            "add_lines": [{"section_id": balcony.id, "quantity": added, "price_tier_id": tier}],
        }

    cases = [
        (swap(3, 1), "min_per_order"),
        (swap(1, 3), "max_per_order"),
        (swap(2, 4), "max_per_order"),
    ]
    for fields, limit in cases:
        refusal = await refused(change(capacity, hold, **fields))
        assert (refusal.reason, refusal.metadata["limit"]) == (Reason.PURCHASE_LIMIT, limit)
    now = (await change(capacity, hold, **swap(2, 3))).hold  # five in the order, one elsewhere
    assert [line.quantity for line in now.lines] == [2, 3]
    await capacity.call("ReleaseHold", role="buyer", hold_id=other.id)
    two = await capacity.place(floor.id, 2, buyer="user:buyer", price_tier_id=capacity.tier())
    assert state_of(two) == "ACTIVE"
    await capacity.check(event_id)


async def test_a_repetition_answers_the_hold_as_it_is(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    async with running(database, nats_server.url, identity_dir) as capacity:
        section = await capacity.on_sale(20)
        tier = capacity.tier()
        hold = await capacity.place(section.id, 5, price_tier_id=tier)
        body: dict[str, Any] = {
            "role": "buyer",
            "hold_id": hold.id,
            "release_lines": [{"number": 1, "quantity": 2}],
            "add_lines": [{"section_id": section.id, "quantity": 1, "price_tier_id": tier}],
            "etag": hold.etag,
            "request_id": "once",
        }
        done = await outcomes(*(capacity.call_with_metadata("ChangeHold", **body) for _ in range(20)))
        assert reasons(done) == {"ok": 20}
        assert len({answer.hold.SerializeToString(deterministic=True) for answer, _ in done}) == 1
        assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 19
        assert [line.quantity for line in done[0][0].hold.lines] == [3, 1]
        reused = await refused(capacity.call("ChangeHold", **{**body, "etag": ""}))
        assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
        _, pricing = capacity.neighbours
        await pricing.stop()
        answer, metadata = await capacity.call_with_metadata("ChangeHold", **body)
        assert (answer.hold, metadata["holdfast-replayed"]) == (done[0][0].hold, "true")
        down = await refused(change(capacity, hold, release_lines=[{"number": 1, "quantity": 1}]))
        assert (down.reason, down.metadata["dependency"]) == (Reason.DEPENDENCY_UNAVAILABLE, "pricing")
        whole = await change(capacity, hold, release_lines=[{"number": 1, "all": True}])  # needs no price
        assert [line.number for line in whole.hold.lines] == [2]
        await capacity.check(section.event_id)


async def test_changes_of_one_hold_at_once_add_up_and_each_part_is_priced_as_it_is(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    tier = capacity.tier(unit_minor=1000)
    hold = await capacity.place(section.id, 5, price_tier_id=tier)
    done = await outcomes(
        *(change(capacity, hold, release_lines=[{"number": 1, "quantity": 1}]) for _ in range(3)),
        *(change(capacity, hold, add_lines=[{"section_id": section.id, "quantity": 1}]) for _ in range(3)),
    )
    assert reasons(done) == {"ok": 6}
    now = await capacity.hold(hold.id)
    assert lines(now)[0] == (1, section.id, 2, "20.00")
    assert [line.number for line in now.lines] == [1, 2, 3, 4]
    assert (await capacity.read(section.id)).held == 5
    await capacity.check(section.event_id)


async def test_a_hold_that_changed_between_pricing_and_the_lock_is_priced_again(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    tier = capacity.tier(unit_minor=1000)
    hold = await capacity.place(section.id, 5, price_tier_id=tier)
    asked = len(capacity.world.locked)

    async def both_priced() -> bool:
        return len(capacity.world.locked) >= asked + 2

    with capacity.holding(section.event_id):
        first = asyncio.create_task(capacity.place(section.id, buyer="user:first"))
        await capacity.until_in_flight(1)
        changes = []
        for quantity in (1, 2):  # both are priced for the hold as it is now
            part = {"number": 1, "quantity": quantity}
            changes.append(asyncio.create_task(change(capacity, hold, release_lines=[part])))
            await capacity.until_in_flight(1 + quantity)
        await until(both_priced)
    await first
    done = await outcomes(*changes)
    assert min(lines(answer.hold)[0][2:] for answer in done) == (2, "20.00")
    assert lines(await capacity.hold(hold.id)) == [(1, section.id, 2, "20.00")]
    assert sorted(line.quantity for line in capacity.world.locked[asked:]) == [2, 3, 4]
    await capacity.check(section.event_id)


async def test_change_and_what_ends_a_hold_race(capacity: Capacity) -> None:
    section = await capacity.on_sale(50)
    for turn in range(9):
        hold = await capacity.place(section.id, 3)
        ends = ("ConfirmHold", "ReleaseHold", "BeginPayment")[turn % 3]
        calls = [
            change(capacity, hold, release_lines=[{"number": 1, "quantity": 1}]),
            capacity.call(ends, role="buyer", hold_id=hold.id),
        ]
        done = await outcomes(*(calls if turn % 2 else reversed(calls)))
        changed, ended = done if turn % 2 else reversed(done)
        assert state_of(ended.hold) in {"CONFIRMED", "RELEASED", "PENDING"}
        now = await capacity.hold(hold.id)
        left = 3 if isinstance(changed, Exception) else 2
        assert sum(line.quantity for line in now.lines) == left
        if left == 3:
            assert changed.reason is Reason.HOLD_NOT_ACTIVE
        await capacity.check(section.event_id)


async def test_an_attempt_after_an_unknown_commit_finds_what_the_one_before_did(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 4)
    request = ChangeRequest(
        given=(PartRequest(1, 1),), added=(LineRequest(section.id, None, 2),), prices={}, etag=hold.etag
    )
    command = ChangeHold(hold.id, "user:buyer", request, VIEWER, key())
    async with capacity.engine_of_the_service() as submit:
        first, second = [await submit(section.event_id, command) for _ in range(2)]
    assert (second.hold, second.version) == (first.hold, first.version)
    assert [line.quantity for line in second.hold.lines] == [3, 2]
    await capacity.check(section.event_id)


async def test_seats_change_hands_in_one_commit(capacity: Capacity) -> None:
    """A seat that one hold gives back is another's in the same commit, and the claims say so."""
    section = await seated(capacity, rows=1, cols=4)
    one, other = await take(capacity, section.id, "A-1", "A-2"), await take(capacity, section.id, "A-3")

    def swap(given: str, *added: str) -> dict[str, Any]:
        return {
            "release_lines": [{"number": 1, "seats": {"labels": [given]}}],
            "add_lines": [{"section_id": section.id, "seats": {"labels": added}}],
        }

    gone = await refused(change(capacity, one, **swap("A-1", "A-1", "A-3")))
    assert (gone.reason, gone.metadata["seats"]) == (Reason.SEATS_TAKEN, "A-3")
    foreign = await refused(change(capacity, one, **swap("A-3", "A-4")))
    assert (foreign.reason, foreign.metadata["seats"]) == (Reason.LINE_EXCEEDED, "A-3")
    unknown = await refused(change(capacity, one, **swap("A-1", "Z-9")))
    assert unknown.reason is Reason.SEAT_NOT_FOUND
    with capacity.holding(section.event_id):
        calls = []
        for hold, fields in ((one, swap("A-1", "A-4")), (other, swap("A-3", "A-3", "A-1"))):
            calls.append(asyncio.create_task(change(capacity, hold, **fields)))
            await capacity.until_in_flight(len(calls))
    moved, followed = await outcomes(*calls)
    assert [list(line.seats) for line in moved.hold.lines] == [["A-2"], ["A-4"]]
    assert [(line.number, list(line.seats)) for line in followed.hold.lines] == [(2, ["A-3", "A-1"])]
    assert claims(capacity, section.id) == {0: other.id, 1: one.id, 2: other.id, 3: one.id}
    assert taken(capacity, section.id) == {0, 1, 2, 3}
    part = {"number": 2, "seats": {"labels": ["A-1"]}}
    left = (await change(capacity, other, release_lines=[part])).hold
    assert [list(line.seats) for line in left.lines] == [["A-3"]]
    assert taken(capacity, section.id) == {1, 2, 3}
    (told,) = (await capacity.journal(section.event_id))[-1].seats
    assert (list(told.indexes), told.taken) == ([0], False)
    assert (await capacity.read(section.id)).held == 3
    await capacity.check(section.event_id)
