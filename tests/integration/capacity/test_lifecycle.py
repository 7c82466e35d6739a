"""Extending holds, paying for them, and what wins when several are asked at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.capacity.domain.deadlines import Payment
from holdfast.capacity.operations.access import Viewer
from holdfast.capacity.operations.deadlines import BeginPayment, ExtendHold
from holdfast.common.errors import DomainError, Reason
from holdfast.common.idempotency import RequestKey
from holdfast.common.ids import new_id
from tests.integration.capacity.conftest import refused, state_of
from tests.integration.capacity.racing import outcomes, reasons
from tests.integration.capacity.test_expiry import over

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from holdfast.api.capacity.v1 import hold_pb2
    from tests.integration.capacity.conftest import Capacity

CALLS: dict[str, dict[str, Any]] = {
    "ConfirmHold": {},
    "ReleaseHold": {},
    "ExtendHold": {"hold_ttl_seconds": 1200},
    "BeginPayment": {},
}
TERMINAL = {"CONFIRMED", "RELEASED", "EXPIRED", "VOIDED"}


def at(moment: Timestamp) -> datetime:
    return moment.ToDatetime(tzinfo=UTC)


async def buyer(capacity: Capacity, rpc: str, hold: hold_pb2.Hold, **fields: Any) -> Any:
    return await capacity.call(rpc, role="buyer", hold_id=hold.id, **{**CALLS.get(rpc, {}), **fields})


async def test_a_hold_lasts_longer_from_now_on_and_never_shorter(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 2, hold_ttl_seconds=60)
    answer = await buyer(capacity, "ExtendHold", hold, hold_ttl_seconds=900, etag=hold.etag)
    assert at(answer.hold.expire_time) == at(answer.server_time) + timedelta(seconds=900)
    assert answer.hold.etag != hold.etag
    assert await capacity.hold(hold.id) == answer.hold
    shorter = await buyer(capacity, "ExtendHold", hold, hold_ttl_seconds=60)
    assert shorter.hold == answer.hold
    assert shorter.inventory_version == answer.inventory_version
    stale = await refused(buyer(capacity, "ExtendHold", hold, hold_ttl_seconds=1000, etag=hold.etag))
    assert (stale.reason, stale.metadata["etag"]) == (Reason.ETAG_MISMATCH, answer.hold.etag)
    (told,) = (await capacity.journal(section.event_id))[-1].holds
    assert (told.expire_time, told.before.expire_time) == (answer.hold.expire_time, hold.expire_time)
    assert list(told.before.places) == []
    await capacity.check(section.event_id)


async def test_a_hold_is_not_extended_beyond_what_the_organization_allows(capacity: Capacity) -> None:
    section = await capacity.section(await capacity.event(hold_ttl_seconds_max=600), 10)
    hold = await capacity.place(section.id, hold_ttl_seconds=60)
    limit = await refused(buyer(capacity, "ExtendHold", hold, hold_ttl_seconds=601))
    assert limit.reason is Reason.HOLD_LIFETIME_EXCEEDED
    latest = at(hold.create_time) + timedelta(seconds=600)
    assert limit.metadata == {
        "hold_id": hold.id,
        "expire_time_max": latest.isoformat().replace("+00:00", "Z"),
    }
    answer = await buyer(capacity, "ExtendHold", hold, hold_ttl_seconds=500)
    assert at(hold.expire_time) < at(answer.hold.expire_time) <= latest


async def test_only_the_customer_and_who_placed_it_extend(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    answer = await capacity.call(
        "PlaceHold",
        role="box_office",
        subject="user:desk",
        section_id=section.id,
        quantity=1,
        customer_id="user:guest",
    )
    hold = answer.hold
    for role, subject in (("buyer", "user:somebody"), ("owner", "user:owner"), ("service", "service:orders")):
        nobody = await refused(
            capacity.call("ExtendHold", role=role, subject=subject, hold_id=hold.id, hold_ttl_seconds=1200)
        )
        assert (nobody.reason, nobody.metadata) == (Reason.HOLD_NOT_FOUND, {"hold_id": hold.id})
    for role, subject, seconds in (("box_office", "user:desk", 1200), ("buyer", "user:guest", 1300)):
        longer = await capacity.call(
            "ExtendHold", role=role, subject=subject, hold_id=hold.id, hold_ttl_seconds=seconds
        )
        assert at(longer.hold.expire_time) == at(longer.server_time) + timedelta(seconds=seconds)


async def test_what_is_over_is_neither_extended_nor_paid_for(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, hold_ttl_seconds=1)
    await over(capacity, hold.id)
    for rpc in ("ExtendHold", "BeginPayment", "ConfirmHold"):
        late = await refused(buyer(capacity, rpc, hold))
        assert (late.reason, late.metadata["hold_id"]) == (Reason.HOLD_EXPIRED, hold.id)
    assert state_of(await capacity.hold(hold.id)) == "EXPIRED"
    assert (await capacity.read(section.id)).available == 10


async def test_while_payment_runs_places_are_pending_until_the_deadline(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    tier = capacity.tier(unit_minor=1000)
    hold = await capacity.place(section.id, 3, price_tier_id=tier)
    total = {"currency_code": "USD", "amount": "31.00"}
    wrong = await refused(buyer(capacity, "BeginPayment", hold, expected_total=total))
    assert wrong.reason is Reason.TOTAL_MISMATCH
    answer = await buyer(
        capacity,
        "BeginPayment",
        hold,
        expected_total={**total, "amount": "30.00"},
        order_reference="order 7",
        etag=hold.etag,
    )
    paying = answer.hold
    assert (state_of(paying), paying.order_reference, paying.total.amount) == ("PENDING", "order 7", "30.00")
    assert at(paying.payment_time) == at(answer.server_time)
    assert at(paying.expire_time) == at(answer.server_time) + timedelta(seconds=1800)
    shown = await capacity.read(section.id)
    assert (shown.held, shown.pending, shown.available) == (0, 3, 7)
    again = await buyer(capacity, "BeginPayment", hold, payment_ttl_seconds=86_400)
    assert again.hold == paying
    for rpc in ("ExtendHold", "ReleaseHold"):
        bound = await refused(buyer(capacity, rpc, hold))
        assert (bound.reason, bound.metadata["state"]) == (Reason.HOLD_NOT_ACTIVE, "PENDING")
    listed = await capacity.call("ListHolds", event_id=section.event_id, states=["PENDING"])
    assert list(listed.holds) == [paying]
    (told,) = (await capacity.journal(section.event_id))[-1].holds
    assert (told.state, told.before.state) == (paying.state, hold.state)
    await capacity.check(section.event_id)
    sold = await buyer(capacity, "ConfirmHold", hold)
    assert (state_of(sold.hold), sold.sale.order_reference) == ("CONFIRMED", "order 7")
    shown = await capacity.read(section.id)
    assert (shown.pending, shown.sold) == (0, 3)
    await capacity.check(section.event_id)


@pytest.mark.parametrize(("role", "subject"), [("box_office", "user:desk"), ("service", "service:orders")])
async def test_the_box_office_and_services_release_while_payment_runs(
    capacity: Capacity, role: str, subject: str
) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 3)
    await buyer(capacity, "BeginPayment", hold)
    answer = await capacity.call("ReleaseHold", role=role, subject=subject, hold_id=hold.id)
    assert state_of(answer.hold) == "RELEASED"
    assert (await capacity.read(section.id)).available == 10
    await capacity.check(section.event_id)


async def test_a_payment_that_takes_too_long_frees_the_places(capacity: Capacity) -> None:
    section = await capacity.on_sale(3)
    hold = await capacity.place(section.id, 3, hold_ttl_seconds=1)
    await buyer(capacity, "BeginPayment", hold, payment_ttl_seconds=1)
    await over(capacity, hold.id)
    assert state_of(await capacity.hold(hold.id)) == "EXPIRED"
    shown = await capacity.read(section.id)
    assert (shown.available, shown.pending) == (3, 0)
    assert (await refused(buyer(capacity, "ConfirmHold", hold))).reason is Reason.HOLD_EXPIRED
    assert state_of(await capacity.place(section.id, 3)) == "ACTIVE"
    await capacity.check(section.event_id)


@pytest.mark.parametrize("rpc", ["ExtendHold", "BeginPayment"])
async def test_a_repetition_answers_the_hold_as_it_is(capacity: Capacity, rpc: str) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id)
    body: dict[str, Any] = {"role": "buyer", "hold_id": hold.id, "etag": hold.etag, **CALLS[rpc], "request_id": rpc}
    done = await outcomes(*(capacity.call_with_metadata(rpc, **body) for _ in range(20)))
    assert reasons(done) == {"ok": 20}
    assert len({answer.hold.SerializeToString(deterministic=True) for answer, _ in done}) == 1
    assert sum(metadata.get("holdfast-replayed") == "true" for _, metadata in done) == 19
    await capacity.call("ReleaseHold", hold_id=hold.id)
    later, metadata = await capacity.call_with_metadata(rpc, **body)
    assert (state_of(later.hold), metadata["holdfast-replayed"]) == ("RELEASED", "true")
    other = {"hold_ttl_seconds": 1300} if rpc == "ExtendHold" else {"payment_ttl_seconds": 60}
    reused = await refused(capacity.call(rpc, **{**body, **other}))
    assert reused.reason is Reason.IDEMPOTENCY_KEY_REUSED
    await capacity.check(section.event_id)


async def test_an_attempt_after_an_unknown_commit_finds_what_the_one_before_did(capacity: Capacity) -> None:
    """The same command decided twice is what the engine does when the answer to COMMIT is lost."""
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id)
    viewer = Viewer("user:buyer", reads_all=False, manages=False)

    def key(rpc: str) -> RequestKey:
        return RequestKey(caller="user:buyer", rpc=rpc, request_id=f"once {new_id()}", fingerprint=b"")

    extending = ExtendHold(hold.id, 1200, hold.etag, viewer, key("ExtendHold"))
    async with capacity.engine_of_the_service() as submit:
        first, second = [await submit(section.event_id, extending) for _ in range(2)]
        assert (second.hold, second.version) == (first.hold, first.version)
        paying = BeginPayment(hold.id, Payment(etag=first.hold.etag), viewer, key("BeginPayment"))
        third, fourth = [await submit(section.event_id, paying) for _ in range(2)]
        assert (fourth.hold, fourth.version) == (third.hold, third.version)
    assert (await capacity.read(section.id)).pending == 1
    await capacity.check(section.event_id)


async def test_of_what_is_asked_at_once_exactly_one_ends_the_hold(capacity: Capacity) -> None:
    """Confirm, release, extend and begin payment, while the hold's time runs out."""
    section = await capacity.on_sale(100)
    ended: set[str] = set()
    for turn in range(12):
        # Every third hold is over about when the calls arrive.
        hold = await capacity.place(section.id, 2, hold_ttl_seconds=1 if turn % 3 == 0 else 900)
        if turn % 3 == 0:
            await asyncio.sleep(max(0.0, (at(hold.expire_time) - at(hold.create_time)).total_seconds() - 0.02))
        names = list(CALLS)[turn % 4 :] + list(CALLS)[: turn % 4]
        done = dict(zip(names, await outcomes(*(buyer(capacity, name, hold) for name in names)), strict=True))
        now = await capacity.hold(hold.id)
        won = {name for name, answer in done.items() if not isinstance(answer, DomainError)}
        assert len(won & {"ConfirmHold", "ReleaseHold"}) <= 1 or state_of(now) == "EXPIRED"
        if state_of(now) == "CONFIRMED":
            assert "ConfirmHold" in won
            assert "ReleaseHold" not in won
        elif state_of(now) == "RELEASED":
            assert "ReleaseHold" in won
            assert "ConfirmHold" not in won
        else:
            assert "ConfirmHold" not in won
        ended.add(state_of(now))
        assert state_of(now) in TERMINAL
        for name in names:  # terminal states stay
            await outcomes(buyer(capacity, name, hold))
        assert await capacity.hold(hold.id) == now
        await capacity.check(section.event_id)
    assert {"CONFIRMED", "RELEASED"} <= ended


async def test_several_commands_on_one_hold_in_one_commit_see_each_other(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id, 2)
    with capacity.holding(section.event_id):
        first = asyncio.create_task(capacity.place(section.id, buyer="user:first"))  # a batch that waits for the row
        await capacity.until_in_flight(1)
        calls = []
        for number, rpc in enumerate(("ExtendHold", "BeginPayment", "BeginPayment", "ExtendHold", "ConfirmHold")):
            calls.append(asyncio.create_task(buyer(capacity, rpc, hold)))
            await capacity.until_in_flight(2 + number)
    await first
    extended, paying, again, bound, sold = await outcomes(*calls)
    assert at(extended.hold.expire_time) > at(hold.expire_time)
    assert state_of(paying.hold) == "PENDING"
    assert again.hold == paying.hold
    assert bound.reason is Reason.HOLD_NOT_ACTIVE
    assert state_of(sold.hold) == "CONFIRMED"
    assert {each.inventory_version for each in (extended, paying, again, sold)} == {sold.inventory_version}
    (told,) = [each for each in (await capacity.journal(section.event_id))[-1].holds if each.hold_id == hold.id]
    assert (told.state, told.before.state) == (sold.hold.state, hold.state)
    shown = await capacity.read(section.id)
    assert (shown.held, shown.pending, shown.sold) == (1, 0, 2)
    await capacity.check(section.event_id)


@pytest.mark.parametrize("fields", [{"hold_ttl_seconds": 0}, {"hold_ttl_seconds": 86_401}, {}])
async def test_a_senseless_extension_is_refused(capacity: Capacity, fields: dict[str, Any]) -> None:
    refusal = await refused(capacity.call("ExtendHold", hold_id=new_id(), **fields))
    assert [each.field for each in refusal.violations] == ["hold_ttl_seconds"]
    unknown = await refused(capacity.call("ExtendHold", hold_id=new_id(), hold_ttl_seconds=60))
    assert unknown.reason is Reason.HOLD_NOT_FOUND
