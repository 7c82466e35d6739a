"""The price tiers that capacity makes before the sections of a seating, and withdraws if these are refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.api.pricing.v1 import price_tier_service_pb2 as pb
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.integration.pricing.conftest import Pricing


def seating(event_id: str, *names: str, amount: str = "20.10", **fields: Any) -> pb.AddSeatingPricesRequest:
    """Ask for the tiers of some sections, as capacity does."""
    request = pb.AddSeatingPricesRequest(event_id=event_id, request_id=new_id(), **fields)
    for name in names:
        price = request.prices.add(price_tier_id=new_id(), section_id=new_id(), name=name, tier="VIP")
        price.base_price.currency_code, price.base_price.amount = "USD", amount
    return request


def withdrawal(request: pb.AddSeatingPricesRequest) -> pb.WithdrawSeatingPricesRequest:
    ids = [price.price_tier_id for price in request.prices]
    return pb.WithdrawSeatingPricesRequest(price_tier_ids=ids, request_id=request.request_id)


async def create(pricing: Pricing, request: pb.AddSeatingPricesRequest, **caller: str) -> bool:
    """Make the tiers; tells whether that was a repetition."""
    _, metadata = await pricing.call_with_metadata("AddSeatingPrices", request, peer="capacity", **caller)
    return "holdfast-replayed" in metadata


async def withdraw(pricing: Pricing, request: pb.AddSeatingPricesRequest) -> None:
    await pricing.call("WithdrawSeatingPrices", withdrawal(request), peer="capacity")


async def listed(pricing: Pricing, event_id: str) -> list[Any]:
    answer = await pricing.call("ListPriceTiers", pb.ListPriceTiersRequest(event_id=event_id), role="buyer")
    return list(answer.price_tiers)


async def refused(answer: Awaitable[Any]) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await answer
    return caught.value


async def test_tiers_are_made_once_however_often_they_are_asked_for(pricing: Pricing) -> None:
    event_id, schedule_id = pricing.event(), new_id()
    request = seating(event_id, "A-1", "A-2", schedule_id=schedule_id)
    repeated = await asyncio.gather(*(create(pricing, request) for _ in range(6)))
    assert sorted(repeated) == [False, *[True] * 5]
    tiers = await listed(pricing, event_id)
    assert [(tier.id, tier.section_id, tier.name) for tier in tiers] == [
        (price.price_tier_id, price.section_id, price.name) for price in request.prices
    ]
    assert {(tier.base_price.amount, tier.schedule_id, tier.tier, tier.active, tier.version) for tier in tiers} == {
        ("20.10", schedule_id, "VIP", True, 1)
    }
    assert pricing.rows("SELECT count(*) FROM pricing.outbox WHERE subject LIKE %s", f"%{event_id}%") == [(2,)]
    assert pricing.rows("SELECT DISTINCT v.actor FROM pricing.price_tier_versions v WHERE event_id = %s", event_id) == [
        ("user:organizer",)
    ]
    # The ids say it even when the key is forgotten.
    with_another_key = pb.AddSeatingPricesRequest.FromString(request.SerializeToString())
    with_another_key.request_id = new_id()
    assert await create(pricing, with_another_key)
    assert len(await listed(pricing, event_id)) == 2


async def test_what_is_withdrawn_is_gone_and_stays_gone(pricing: Pricing) -> None:
    event_id = pricing.event()
    request = seating(event_id, "A-1", "A-2")
    await create(pricing, request)
    for _ in range(2):
        await withdraw(pricing, request)
    assert await create(pricing, request)
    assert await listed(pricing, event_id) == []
    told = pricing.rows("SELECT version FROM pricing.outbox WHERE subject LIKE %s ORDER BY 1", f"%{event_id}%")
    assert told == [(1,), (1,), (2,), (2,)]
    again = seating(event_id, "A-1", "A-2")
    assert not await create(pricing, again)
    assert {tier.id for tier in await listed(pricing, event_id)} == {price.price_tier_id for price in again.prices}


async def test_a_withdrawal_that_comes_first_lets_nothing_be_made(pricing: Pricing) -> None:
    event_id = pricing.event()
    request = seating(event_id, "A")
    await withdraw(pricing, request)
    assert await create(pricing, request)
    assert await listed(pricing, event_id) == []


async def test_one_name_that_is_taken_makes_none_of_them(pricing: Pricing) -> None:
    event_id, schedule_id = pricing.event(), new_id()
    await create(pricing, seating(event_id, "B"))
    refusal = await refused(create(pricing, seating(event_id, "A", "B", "C")))
    assert (refusal.reason, dict(refusal.metadata)) == (Reason.NAME_TAKEN, {"name": "B"})
    assert [tier.name for tier in await listed(pricing, event_id)] == ["B"]
    # Each date has names of its own, as sections do.
    await create(pricing, seating(event_id, "A", "B", schedule_id=schedule_id))
    await create(pricing, seating(event_id, "A", "B", schedule_id=new_id()))
    one_more = seating(event_id, "B", schedule_id=schedule_id)
    assert (await refused(create(pricing, one_more))).reason is Reason.NAME_TAKEN
    assert len(await listed(pricing, event_id)) == 5


async def test_one_wrong_price_makes_none_of_them(pricing: Pricing) -> None:
    event_id = pricing.event()
    for amount in ("0.001", "1000000000.01"):
        request = seating(event_id, "A", "B")
        request.prices[1].base_price.amount = amount
        assert (await refused(create(pricing, request))).reason is Reason.VALIDATION_FAILED
    assert await listed(pricing, event_id) == []


async def test_only_capacity_makes_them_and_each_organization_its_own(pricing: Pricing) -> None:
    event_id = pricing.event()
    request = seating(event_id, "A")
    for peer in ("gateway", "orders"):
        for rpc, asked in (("AddSeatingPrices", request), ("WithdrawSeatingPrices", withdrawal(request))):
            refusal = await refused(pricing.call(rpc, asked, role="owner", peer=peer))
            assert refusal.reason is Reason.CALLER_NOT_ALLOWED
    await create(pricing, request)
    other = new_id()
    await pricing.call("WithdrawSeatingPrices", withdrawal(request), peer="capacity", organization_id=other)
    assert [tier.name for tier in await listed(pricing, event_id)] == ["A"]
    with_other_ids = withdrawal(seating(event_id, "A"))
    with_other_ids.request_id = request.request_id
    refusal = await refused(pricing.call("WithdrawSeatingPrices", with_other_ids, peer="capacity"))
    assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED
