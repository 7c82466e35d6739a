from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format

from holdfast.api.common.v1 import error_reason_pb2
from holdfast.api.pricing.v1 import locked_price_pb2, quote_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.pricing.conftest import usd
from tests.unit.pricing.factories import WORKED_PRICES, worked_tier

if TYPE_CHECKING:
    from holdfast.api.pricing.v1 import price_tier_pb2
    from tests.integration.pricing.conftest import Pricing

CALCULATE = quote_service_pb2.CalculatePriceRequest
LINE = quote_service_pb2.LockPriceLine
Refused = error_reason_pb2.Error.Reason


def line(tier: price_tier_pb2.PriceTier, **changed: Any) -> quote_service_pb2.LockPriceLine:
    given = {
        "price_tier_id": tier.id,
        "organization_id": tier.organization_id,
        "event_id": tier.event_id,
        "section_id": tier.section_id or new_id(),
        "quantity": 1,
    }
    return LINE(**{**given, **changed})


def from_now(**offset: float) -> str:
    return (datetime.now(UTC) + timedelta(**offset)).isoformat()


@pytest.mark.parametrize("case", WORKED_PRICES, ids=lambda case: case["name"])
async def test_worked_prices_over_the_rpcs(pricing: Pricing, case: dict[str, Any]) -> None:
    tier = await pricing.create(
        pricing.event(), **json_format.MessageToDict(worked_tier(case), preserving_proto_field_name=True)
    )
    quantity = case["quantity"]
    answer = await pricing.call("CalculatePrice", CALCULATE(price_tier_id=tier.id, quantity=quantity), role="buyer")
    price = answer.price
    assert {name: getattr(price, name).amount for name in case["price"]} == case["price"]
    assert {getattr(price, name).currency_code for name in case["price"]} == {case["currency_code"]}
    if "steps" in case:
        kind_of = locked_price_pb2.PriceStep.Kind.Name
        assert [f"{kind_of(step.kind)} {step.amount.amount}" for step in price.steps] == case["steps"]
    assert (price.quantity, price.tax_rate, answer.price_tier_version) == (quantity, tier.tax_rate, 1)
    (outcome,) = await pricing.lock(line(tier, quantity=quantity))
    assert outcome.lock.price.breakdown == price


async def test_windows_follow_the_database_clock(pricing: Pricing) -> None:
    early = await pricing.create(pricing.event(), early_bird_price=usd("80.00"), early_bird_end_time=from_now(hours=1))
    late = await pricing.create(
        pricing.event(), last_minute_price=usd("120.00"), last_minute_start_time=from_now(hours=-1)
    )
    for tier, unit_price in ((early, "80.00"), (late, "120.00")):
        answer = await pricing.call("CalculatePrice", CALCULATE(price_tier_id=tier.id, quantity=1))
        assert answer.price.unit_price.amount == unit_price


@pytest.mark.parametrize("quantity", [0, -1, 1001])
async def test_a_quantity_out_of_range_is_refused(pricing: Pricing, quantity: int) -> None:
    tier = await pricing.create(pricing.event())
    with pytest.raises(DomainError) as refusal:
        await pricing.call("CalculatePrice", CALCULATE(price_tier_id=tier.id, quantity=quantity))
    assert refusal.value.reason is Reason.VALIDATION_FAILED
    assert [violation.field for violation in refusal.value.violations] == ["quantity"]


async def test_the_price_of_a_hidden_or_foreign_tier_is_not_told(pricing: Pricing) -> None:
    hidden = await pricing.create(pricing.event(), visible=False)
    request = CALCULATE(price_tier_id=hidden.id, quantity=1)
    for caller in ({"role": "buyer"}, {"organization_id": new_id()}):
        with pytest.raises(DomainError) as refusal:
            await pricing.call("CalculatePrice", request, **caller)
        assert refusal.value.reason is Reason.PRICE_TIER_NOT_FOUND
    assert (await pricing.call("CalculatePrice", request)).price.total.amount == "100.00"


async def test_a_lock_says_price_version_limits_and_window(pricing: Pricing) -> None:
    end = from_now(days=1)
    tier = await pricing.create(
        pricing.event(), name="VIP", max_per_order=4, max_per_customer=6, sales_end_time=end, visible=False
    )
    (outcome,) = await pricing.lock(line(tier, quantity=2))
    lock = outcome.lock
    assert (lock.price.price_tier_id, lock.price.price_tier_version, lock.price.price_tier_name) == (tier.id, 1, "VIP")
    assert (lock.max_per_order, lock.max_per_customer) == (4, 6)
    assert not lock.HasField("sales_start_time")
    assert lock.sales_end_time == tier.sales_end_time
    assert lock.price.breakdown.total.amount == "200.00"
    assert lock.expire_time.ToDatetime() - lock.price.lock_time.ToDatetime() == timedelta(seconds=30)


async def test_a_changed_price_is_locked_by_the_next_call(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    for price in range(101, 111):
        await pricing.update(tier.id, base_price=usd(f"{price}.00"))
        (outcome,) = await pricing.lock(line(tier))
        assert outcome.lock.price.breakdown.total.amount == f"{price}.00"
        assert outcome.lock.price.price_tier_version == price - 99


async def test_each_line_of_a_batch_has_its_own_outcome_in_order(pricing: Pricing) -> None:
    event_id = pricing.event()
    section_id, schedule_id = pricing.world.add_section(event_id), pricing.world.add_schedule(event_id)
    anywhere = await pricing.create(event_id, name="Anywhere")
    of_section = await pricing.create(event_id, name="Section", section_id=section_id)
    of_date = await pricing.create(event_id, name="Date", schedule_id=schedule_id)
    inactive = await pricing.create(event_id, name="Inactive", active=False)
    not_yet = await pricing.create(event_id, name="Not yet", sales_start_time=from_now(hours=1))
    over = await pricing.create(event_id, name="Over", sales_end_time=from_now(hours=-1))
    unknown = new_id()
    not_applicable, closed = Refused.PRICE_TIER_NOT_APPLICABLE, Refused.SALES_WINDOW_CLOSED
    expected: list[tuple[quote_service_pb2.LockPriceLine, Any]] = [
        (line(anywhere, quantity=2), "200.00"),
        (line(anywhere, price_tier_id=unknown), Refused.PRICE_TIER_NOT_FOUND),
        (line(of_section), "100.00"),
        (line(of_section, section_id=new_id()), not_applicable),
        (line(of_date, schedule_id=schedule_id), "100.00"),
        (line(of_date, schedule_id=new_id()), not_applicable),
        (line(of_date), not_applicable),
        (line(anywhere, event_id=new_id()), not_applicable),
        (line(inactive), not_applicable),
        (line(not_yet), closed),
        (line(over), closed),
        (line(anywhere, price_tier_id=anywhere.id.upper()), "100.00"),
        (line(anywhere, organization_id=new_id()), Refused.PRICE_TIER_NOT_FOUND),
    ]
    outcomes = await pricing.lock(*(asked for asked, _ in expected))
    told = [
        outcome.lock.price.breakdown.total.amount if outcome.HasField("lock") else outcome.refusal.reason
        for outcome in outcomes
    ]
    assert told == [outcome for _, outcome in expected]
    assert outcomes[1].refusal.metadata == {"price_tier_id": unknown}
    assert set(outcomes[9].refusal.metadata) == {"price_tier_id", "sales_start_time", "next_change_time"}
    assert set(outcomes[10].refusal.metadata) == {"price_tier_id", "sales_end_time"}
    assert outcomes[3].refusal.metadata == {
        "price_tier_id": of_section.id,
        "section_id": expected[3][0].section_id,
    }


async def test_a_batch_may_span_organizations_and_none_sees_anothers_tiers(pricing: Pricing) -> None:
    mine = await pricing.create(pricing.event())
    own = pricing.organization_id
    tiers = [mine]
    try:
        for _ in range(9):
            pricing.organization_id = new_id()
            tiers.append(await pricing.create(pricing.event(), base_price=usd("7.00")))
    finally:
        pricing.organization_id = own
    lines = [line(tier) for tier in tiers]
    crossed = [line(tier, organization_id=own) for tier in tiers[1:]]
    outcomes = await pricing.lock(*lines, *crossed)
    totals = [outcome.lock.price.breakdown.total.amount for outcome in outcomes[:10]]
    assert totals == ["100.00", *["7.00"] * 9]
    assert {outcome.refusal.reason for outcome in outcomes[10:]} == {Refused.PRICE_TIER_NOT_FOUND}


async def test_the_largest_batch_is_answered_whole(pricing: Pricing) -> None:
    tier = await pricing.create(
        pricing.event(),
        name="\N{EURO SIGN}" * 100,
        base_price=usd("100000000.00"),
        service_fee=usd("10000000.00"),
        facility_fee=usd("5000000.00"),
        tax_rate="0.0875",
        group_size_min=2,
        group_discount_percent="12.5",
        early_bird_price=usd("90000000.00"),
        early_bird_end_time=from_now(days=1),
    )
    lines = [line(tier, quantity=993 + number % 8) for number in range(10_000)]
    outcomes = await pricing.lock(*lines)
    quantities = [outcome.lock.price.breakdown.quantity for outcome in outcomes]
    assert quantities == [asked.quantity for asked in lines]


@pytest.mark.parametrize(
    "changed",
    [
        {"quantity": 0},
        {"quantity": 1001},
        {"price_tier_id": "x"},
        {"organization_id": ""},
        {"section_id": ""},
        {"schedule_id": "y"},
    ],
)
async def test_a_malformed_line_is_named(pricing: Pricing, changed: dict[str, Any]) -> None:
    tier = await pricing.create(pricing.event())
    with pytest.raises(DomainError) as refusal:
        await pricing.lock(line(tier), line(tier, **changed))
    assert refusal.value.reason is Reason.VALIDATION_FAILED
    assert [violation.field for violation in refusal.value.violations] == [f"lines[1].{next(iter(changed))}"]


async def test_only_capacity_may_lock_prices(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    request = quote_service_pb2.LockPricesRequest(lines=[line(tier)])
    for peer in ("gateway", "orders"):
        with pytest.raises(DomainError) as refusal:
            await pricing.call("LockPrices", request, role="owner", peer=peer)
        assert refusal.value.reason is Reason.CALLER_NOT_ALLOWED
