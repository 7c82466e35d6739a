"""Holds that arrive together: each is judged, placed and refused as if it had come alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from holdfast.common.errors import Reason
from holdfast.common.ids import new_id
from holdfast.common.status import from_rpc_error
from tests.integration.capacity.batching import batch, error_in, item, opened, told
from tests.integration.capacity.conftest import refused, running

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.local.nats import EmbeddedNats
    from tests.integration.capacity.conftest import Capacity
    from tests.support.postgres import TestDatabase


async def test_good_and_bad_items_of_several_events_each_get_their_own_outcome(capacity: Capacity) -> None:
    one, other = await capacity.on_sale(10), await capacity.on_sale(1)
    outcomes = await batch(
        capacity,
        item(capacity, section_id=one.id, quantity=2),
        item(capacity, section_id=new_id(), quantity=1),
        item(capacity, section_id=other.id, quantity=5),
        item(capacity, section_id=one.id, quantity=0),
        item(capacity, section_id=other.id, quantity=1),
    )
    assert [outcome.WhichOneof("outcome") for outcome in outcomes] == [
        "place_hold",
        "refusal",
        "refusal",
        "refusal",
        "place_hold",
    ]
    assert [error_in(outcomes[index]).reason for index in (1, 2, 3)] == [
        Reason.SECTION_NOT_FOUND,
        Reason.INSUFFICIENT_CAPACITY,
        Reason.VALIDATION_FAILED,
    ]
    placed = outcomes[0].place_hold
    assert await capacity.hold(placed.hold.id) == placed.hold
    assert (placed.hold.event_id, placed.hold.customer_id) == (one.event_id, "user:buyer")
    assert placed.inventory_version > 0
    assert placed.HasField("server_time")
    assert (await capacity.read(one.id)).held == 2
    assert (await capacity.read(other.id)).held == 1
    await capacity.check(one.event_id)
    await capacity.check(other.event_id)


async def test_every_refusal_is_what_a_call_of_its_own_answers(capacity: Capacity) -> None:
    section, small = await capacity.on_sale(100), await capacity.on_sale(1)
    closed = await capacity.on_sale(10)
    await capacity.change_event(closed.event_id, state="CANCELLED")
    tier = capacity.tier(section_id=new_id())
    await capacity.place(section.id, request_id="taken")
    cases: list[dict[str, Any]] = [
        {"section_id": new_id(), "quantity": 1},
        {"section_id": small.id, "quantity": 3},
        {"section_id": closed.id, "quantity": 1},
        {"section_id": "no id", "quantity": -1, "customer_id": "c" * 129},
        {},
        {"section_id": section.id, "quantity": 1, "order_reference": "nul\x00"},
        {"section_id": section.id, "seats": {"labels": ["A-1"]}},
        {"lines": [{"section_id": section.id, "quantity": 1, "block_id": new_id()}]},
        {"lines": [{"section_id": section.id, "quantity": 1}, {"section_id": small.id, "quantity": 1}]},
        {"section_id": section.id, "quantity": 1, "customer_id": "user:somebody"},
        {"section_id": section.id, "quantity": 2, "request_id": "taken"},
        {"section_id": section.id, "quantity": 1, "hold_ttl_seconds": 80_000},
        {"section_id": section.id, "quantity": 1, "price_tier_id": tier},
        {"section_id": section.id, "quantity": 1, "price_tier_id": new_id()},
        {"section_id": section.id, "quantity": 1, "role": "scanner"},
        {"section_id": section.id, "quantity": 1, "role": "platform_admin", "organization_id": ""},
        {"section_id": section.id, "quantity": 1, "organization_id": new_id()},
    ]
    outcomes = await batch(capacity, *(item(capacity, **case) for case in cases))
    reasons = set()
    for case, outcome in zip(cases, outcomes, strict=True):
        alone = await refused(capacity.call("PlaceHold", **({"role": "buyer", "subject": "user:buyer"} | case)))
        assert told(error_in(outcome)) == told(alone), case
        reasons.add(alone.reason)
    assert len(reasons) >= 9


async def test_an_item_without_a_principal_that_can_be_read_is_refused(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    nobody = item(capacity, section_id=section.id, quantity=1)
    nobody.ClearField("principal")
    outcomes = await batch(
        capacity,
        nobody,
        item(capacity, subject="", section_id=section.id, quantity=1),
        item(capacity, organization_id="no id", section_id=section.id, quantity=1),
        item(capacity, section_id=section.id, quantity=1),
    )
    assert [error_in(outcome).reason for outcome in outcomes[:3]] == [Reason.PEER_UNKNOWN] * 3
    assert outcomes[3].WhichOneof("outcome") == "place_hold"


async def test_each_item_is_its_own_principals(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    ann, bob, staff = await batch(
        capacity,
        item(capacity, subject="user:ann", section_id=section.id, quantity=1),
        item(capacity, subject="user:bob", section_id=section.id, quantity=1),
        item(
            capacity,
            role="box_office",
            subject="user:till",
            section_id=section.id,
            quantity=1,
            customer_id="user:cleo",
        ),
    )
    holds = [each.place_hold.hold for each in (ann, bob, staff)]
    assert [(hold.customer_id, hold.placed_by) for hold in holds] == [
        ("user:ann", "user:ann"),
        ("user:bob", "user:bob"),
        ("user:cleo", "user:till"),
    ]


async def test_one_key_twice_in_a_batch_is_one_hold(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    first = item(capacity, section_id=section.id, quantity=2, request_id="once")
    again = item(capacity, section_id=section.id, quantity=2, request_id="once")
    outcomes = await batch(capacity, first, again, item(capacity, section_id=section.id, quantity=2))
    holds = [outcome.place_hold.hold.id for outcome in outcomes]
    assert holds[0] == holds[1] != holds[2]
    assert sorted(outcome.replayed for outcome in outcomes) == [False, False, True]
    assert not outcomes[2].replayed
    (later,) = await batch(capacity, first)
    assert later.replayed
    assert later.place_hold.hold == outcomes[0].place_hold.hold
    assert (await capacity.read(section.id)).held == 4


async def test_an_items_time_is_its_own(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    # Somebody else has the event's row: nobody gets on until the lock is given back.
    with capacity.holding(section.event_id):
        outcomes = opened(
            capacity,
            [
                item(capacity, section_id=section.id, quantity=1, request_id="short", timeout_milliseconds=1),
                item(capacity, section_id=new_id(), quantity=1),
                item(capacity, section_id=section.id, quantity=1, request_id="long"),
            ],
        )
        answers = aiter(outcomes)
        early = [outcome for _ in range(2) for outcome in (await anext(answers)).outcomes]
        assert {outcome.index for outcome in early} == {0, 1}
        short = error_in(next(outcome for outcome in early if outcome.index == 0))
        assert short.reason is Reason.DEADLINE_EXCEEDED
    rest = [outcome async for answer in answers for outcome in answer.outcomes]
    assert [(outcome.index, outcome.WhichOneof("outcome")) for outcome in rest] == [(2, "place_hold")]
    # The same key tells what became of the one whose time was over.
    (later,) = await batch(capacity, item(capacity, section_id=section.id, quantity=1, request_id="short"))
    assert later.WhichOneof("outcome") == "place_hold"


async def test_an_event_that_is_stuck_stalls_no_other(capacity: Capacity) -> None:
    stuck, free = await capacity.on_sale(10), await capacity.on_sale(10)
    with capacity.holding(stuck.event_id):
        answers = aiter(
            opened(
                capacity,
                [item(capacity, section_id=stuck.id, quantity=1), item(capacity, section_id=free.id, quantity=1)],
            )
        )
        first = await anext(answers)
        assert [(each.index, each.WhichOneof("outcome")) for each in first.outcomes] == [(1, "place_hold")]
    rest = [outcome async for answer in answers for outcome in answer.outcomes]
    assert [(each.index, each.WhichOneof("outcome")) for each in rest] == [(0, "place_hold")]


@pytest.mark.parametrize("peer", ["orders", "events", "pricing"])
async def test_only_the_gateway_sends_batches(capacity: Capacity, peer: str) -> None:
    section = await capacity.on_sale(10)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in opened(capacity, [item(capacity, section_id=section.id, quantity=1)], peer=peer):
            pass
    error = from_rpc_error(failed.value)
    assert error is not None
    assert (error.reason, dict(error.metadata)) == (Reason.CALLER_NOT_ALLOWED, {"caller": peer})
    assert (await capacity.read(section.id)).held == 0


@pytest.mark.parametrize(("count", "milliseconds"), [(0, 0), (1_001, 1_000), (1, 0), (1, 60_001)])
async def test_a_batch_out_of_bounds_is_refused_whole(capacity: Capacity, count: int, milliseconds: int) -> None:
    one = item(capacity, section_id=new_id(), quantity=1, timeout_milliseconds=milliseconds)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in opened(capacity, [one] * count):
            pass
    error = from_rpc_error(failed.value)
    assert error is not None
    assert error.reason is Reason.VALIDATION_FAILED


async def test_a_caller_that_leaves_leaves_nothing_behind(capacity: Capacity) -> None:
    section = await capacity.on_sale(10)
    with capacity.holding(section.event_id):
        call = opened(capacity, [item(capacity, section_id=section.id, quantity=1) for _ in range(3)])
        reading = asyncio.ensure_future(anext(aiter(call)))
        await capacity.until_in_flight(4)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    await capacity.until_in_flight(0)
    await capacity.check(section.event_id)


async def test_items_count_as_calls_in_flight_and_those_too_many_are_refused(
    database: TestDatabase, nats_server: EmbeddedNats, identity_dir: Path
) -> None:
    async with running(database, nats_server.url, identity_dir, mesh_settings={"rpc_in_flight_max": 4}) as capacity:
        section = await capacity.on_sale(100)
        outcomes = await batch(capacity, *(item(capacity, section_id=section.id, quantity=1) for _ in range(9)))
        kinds = [outcome.WhichOneof("outcome") for outcome in outcomes]
        assert kinds.count("place_hold") >= 3
        assert kinds.count("refusal") >= 1
        for outcome in outcomes:
            if outcome.WhichOneof("outcome") == "refusal":
                error = error_in(outcome)
                assert (error.reason, error.retry_after_seconds) == (Reason.OVERLOADED, 0.5)
        assert (await capacity.read(section.id)).held == kinds.count("place_hold")
