"""Calls of all kinds that change holds, in one batch: each is judged and answered as if it had come alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.status import from_rpc_error
from tests.integration.capacity.batching import batch, error_in, item, opened, told
from tests.integration.capacity.conftest import refused, state_of

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import hold_service_pb2 as pb
    from tests.integration.capacity.conftest import Capacity

RPCS = {
    "confirm_hold": "ConfirmHold",
    "release_hold": "ReleaseHold",
    "extend_hold": "ExtendHold",
    "begin_payment": "BeginPayment",
}


async def alone(capacity: Capacity, mutation: str, **fields: Any) -> Any:
    """Make the same call by itself."""
    return await capacity.call(RPCS[mutation], **{"role": "buyer", "subject": "user:buyer", **fields})


def kinds(outcomes: list[pb.HoldOutcome]) -> list[str]:
    return [str(outcome.WhichOneof("outcome")) for outcome in outcomes]


async def test_all_kinds_travel_together_and_a_bad_one_harms_nobody(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    sold, freed, longer, paid = [await capacity.place(section.id, hold_ttl_seconds=60) for _ in range(4)]
    outcomes = await batch(
        capacity,
        item(capacity, mutation="confirm_hold", hold_id=sold.id, order_reference="order 1"),
        item(capacity, mutation="confirm_hold", hold_id=new_id()),
        item(capacity, mutation="release_hold", hold_id=freed.id),
        item(capacity, mutation="extend_hold", hold_id="no id", hold_ttl_seconds=-1),
        item(capacity, mutation="extend_hold", hold_id=longer.id, hold_ttl_seconds=600),
        item(capacity, mutation="begin_payment", hold_id=paid.id, payment_ttl_seconds=700),
        item(capacity, section_id=section.id, quantity=2),
        item(capacity, mutation="release_hold", hold_id=paid.id, organization_id=new_id()),
    )
    assert kinds(outcomes) == [
        "confirm_hold",
        "refusal",
        "release_hold",
        "refusal",
        "extend_hold",
        "begin_payment",
        "place_hold",
        "refusal",
    ]
    reasons = [error_in(outcomes[index]).reason for index in (1, 3, 7)]
    assert reasons == [Reason.HOLD_NOT_FOUND, Reason.VALIDATION_FAILED, Reason.HOLD_NOT_FOUND]
    confirmed = outcomes[0].confirm_hold
    assert (confirmed.sale.hold_id, confirmed.sale.order_reference) == (sold.id, "order 1")
    answered = [
        confirmed.hold,
        outcomes[2].release_hold.hold,
        outcomes[4].extend_hold.hold,
        outcomes[5].begin_payment.hold,
        outcomes[6].place_hold.hold,
    ]
    assert list(map(state_of, answered)) == ["CONFIRMED", "RELEASED", "ACTIVE", "PENDING", "ACTIVE"]
    assert [await capacity.hold(hold.id) for hold in answered] == answered
    shown = await capacity.read(section.id)
    assert (shown.sold, shown.pending, shown.held, shown.available) == (1, 1, 3, 5)
    await capacity.check(section.event_id)


async def test_every_refusal_is_what_a_call_of_its_own_answers(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    active, sold, other, keyed, paid = [await capacity.place(section.id) for _ in range(5)]
    await alone(capacity, "confirm_hold", hold_id=sold.id)
    await alone(capacity, "begin_payment", hold_id=paid.id)
    await alone(capacity, "release_hold", hold_id=keyed.id, request_id="taken")
    cases: list[dict[str, Any]] = []
    for mutation in RPCS:
        more = {"hold_ttl_seconds": 600} if mutation == "extend_hold" else {}
        good = {"mutation": mutation, "hold_id": active.id, **more}
        cases += [
            good | {"hold_id": new_id()},
            good | {"hold_id": "no id"},
            good | {"etag": "0000"},
            good | {"request_id": "nul\x00"},
            good | {"subject": "user:somebody"},
            good | {"organization_id": new_id()},
            good | {"role": "scanner"},
            good | {"role": "platform_admin", "organization_id": ""},
            good | {"request_id": "k" * 256},
        ]
    cases += [
        {"mutation": "release_hold", "hold_id": sold.id},
        {"mutation": "release_hold", "hold_id": paid.id},
        {"mutation": "release_hold", "hold_id": other.id, "request_id": "taken"},
        {"mutation": "extend_hold", "hold_id": paid.id, "hold_ttl_seconds": 600},
        {"mutation": "extend_hold", "hold_id": active.id, "hold_ttl_seconds": 80_000},
        {
            "mutation": "confirm_hold",
            "hold_id": active.id,
            "expected_total": {"currency_code": "USD", "amount": "1.00"},
        },
        {"mutation": "begin_payment", "hold_id": keyed.id},
    ]
    outcomes = await batch(capacity, *(item(capacity, **case) for case in cases))
    reasons = set()
    for case, outcome in zip(cases, outcomes, strict=True):
        unary = await refused(alone(capacity, **case))
        assert told(error_in(outcome)) == told(unary), case
        reasons.add(unary.reason)
    assert len(reasons) >= 8
    assert (await capacity.hold(active.id)) == active


async def test_a_repeated_key_is_answered_as_a_call_of_its_own_is(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    holds = {mutation: await capacity.place(section.id, 2) for mutation in RPCS}
    fields: dict[str, dict[str, Any]] = {
        mutation: {"hold_id": hold.id, "request_id": "once"} for mutation, hold in holds.items()
    }
    fields["extend_hold"]["hold_ttl_seconds"] = 1800
    items = [item(capacity, mutation=mutation, **each) for mutation, each in fields.items()]
    first = await batch(capacity, *items, *items)
    assert [outcome.replayed for outcome in first] == [False] * 4 + [True] * 4
    again = await batch(capacity, *items)
    assert [outcome.replayed for outcome in again] == [True] * 4
    for index, (mutation, each) in enumerate(fields.items()):
        unary = await alone(capacity, mutation, **each)
        answers = [getattr(outcomes[index], mutation) for outcomes in (first, again)]
        for answer in (*answers, unary):
            answer.ClearField("server_time")
            answer.ClearField("inventory_version")
        assert answers == [unary, unary]
    await capacity.check(section.event_id)


async def test_a_sale_of_which_something_came_back_is_answered_with_it(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    hold = await capacity.place(section.id, 5)
    sale = (await alone(capacity, "confirm_hold", hold_id=hold.id)).sale
    await capacity.call("ReturnSale", sale_id=sale.id, lines=[{"number": 1, "quantity": 2}])
    again, other = await batch(
        capacity,
        item(capacity, mutation="confirm_hold", hold_id=hold.id),
        item(capacity, section_id=section.id, quantity=1),
    )
    unary = await alone(capacity, "confirm_hold", hold_id=hold.id)
    assert again.confirm_hold.sale == unary.sale
    assert len(again.confirm_hold.sale.returns) == 1
    assert other.HasField("place_hold")


async def test_holds_that_the_service_has_not_seen_are_found(capacity: Capacity) -> None:
    section = await capacity.on_sale(50)
    hold_ids = await capacity.fill(section, 30)
    outcomes = await batch(
        capacity,
        *(item(capacity, mutation="confirm_hold", hold_id=hold_id) for hold_id in hold_ids),
        item(capacity, mutation="confirm_hold", hold_id=new_id()),
    )
    assert kinds(outcomes) == ["confirm_hold"] * 30 + ["refusal"]
    assert error_in(outcomes[-1]).reason is Reason.HOLD_NOT_FOUND
    assert len({outcome.confirm_hold.sale.id for outcome in outcomes[:30]}) == 30
    assert (await capacity.read(section.id)).sold == 30
    await capacity.check(section.event_id)


async def test_of_what_contradicts_itself_in_a_batch_the_first_wins(capacity: Capacity) -> None:
    section = await capacity.on_sale(20)
    one, other = await capacity.place(section.id), await capacity.place(section.id)
    outcomes = await batch(
        capacity,
        item(capacity, mutation="confirm_hold", hold_id=one.id),
        item(capacity, mutation="release_hold", hold_id=one.id),
        item(capacity, mutation="release_hold", hold_id=other.id),
        item(capacity, mutation="confirm_hold", hold_id=other.id),
    )
    assert kinds(outcomes) == ["confirm_hold", "refusal", "release_hold", "refusal"]
    assert {error_in(outcomes[index]).reason for index in (1, 3)} == {Reason.HOLD_NOT_ACTIVE}
    shown = await capacity.read(section.id)
    assert (shown.sold, shown.held) == (1, 0)
    await capacity.check(section.event_id)


async def test_an_items_time_is_its_own_and_its_key_tells_what_became_of_it(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    short, long = await capacity.place(section.id), await capacity.place(section.id)
    late = item(capacity, mutation="confirm_hold", hold_id=short.id, request_id="short", timeout_milliseconds=1)
    with capacity.holding(section.event_id):
        answers = aiter(
            opened(capacity, [late, item(capacity, mutation="confirm_hold", hold_id=long.id, request_id="long")])
        )
        first = (await anext(answers)).outcomes
        assert [(outcome.index, error_in(outcome).reason) for outcome in first] == [(0, Reason.DEADLINE_EXCEEDED)]
    rest = [outcome async for answer in answers for outcome in answer.outcomes]
    assert [(outcome.index, outcome.WhichOneof("outcome")) for outcome in rest] == [(1, "confirm_hold")]
    late.timeout_milliseconds = 10_000
    (later,) = await batch(capacity, late)
    assert state_of(later.confirm_hold.hold) == "CONFIRMED"
    assert (await capacity.read(section.id)).sold == 2


async def test_a_caller_that_leaves_leaves_no_call_behind_and_its_key_tells(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    holds = [await capacity.place(section.id) for _ in range(3)]
    items = [item(capacity, mutation="confirm_hold", hold_id=hold.id, request_id=hold.id) for hold in holds]
    with capacity.holding(section.event_id):
        call = opened(capacity, items)
        reading = asyncio.ensure_future(anext(aiter(call)))
        await capacity.until_in_flight(4)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    await capacity.until_in_flight(0)
    outcomes = await batch(capacity, *items)
    assert kinds(outcomes) == ["confirm_hold"] * 3
    assert (await capacity.read(section.id)).sold == 3
    await capacity.check(section.event_id)


async def test_a_batch_with_an_item_that_asks_for_nothing_is_refused_whole(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    hold = await capacity.place(section.id)
    empty = item(capacity, mutation="release_hold", hold_id=hold.id)
    empty.ClearField("mutation")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in opened(capacity, [item(capacity, mutation="confirm_hold", hold_id=hold.id), empty]):
            pass
    error = from_rpc_error(failed.value)
    assert error is not None
    assert (error.reason, [each.field for each in error.violations]) == (
        Reason.VALIDATION_FAILED,
        ["items[1].mutation"],
    )
    assert await capacity.hold(hold.id) == hold
