"""What LockPrices reads and keeps: versions of tiers, and nothing of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from psycopg import sql

from holdfast.api.common.v1 import error_reason_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from tests.integration.pricing.conftest import running, usd
from tests.integration.pricing.test_prices import from_now, line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.pricing.conftest import Pricing

Refused = error_reason_pb2.Error.Reason


async def test_an_earlier_version_is_locked_as_it_was_whatever_became_of_the_tier(pricing: Pricing) -> None:
    tier = await pricing.create(
        pricing.event(), name="First", max_per_order=4, max_per_customer=4, sales_end_time=from_now(days=1)
    )
    (first,) = await pricing.lock(line(tier, quantity=4))
    await pricing.update(tier.id, name="Second", base_price=usd("150.00"), sales_end_time=from_now(hours=-1))
    await pricing.update(tier.id, active=False)
    locked = first.lock.price
    left = line(tier, quantity=3, price_tier_version=1, price_lock_time=locked.lock_time)
    (again,) = await pricing.lock(left)
    price = again.lock.price
    assert (price.price_tier_version, price.price_tier_name, price.breakdown.total.amount) == (1, "First", "300.00")
    assert price.lock_time == locked.lock_time
    assert again.lock.expire_time.ToDatetime() >= first.lock.expire_time.ToDatetime()
    assert not again.lock.HasField("sales_end_time")
    assert (again.lock.max_per_order, again.lock.max_per_customer) == (0, 0)
    (now,) = await pricing.lock(line(tier))
    assert now.refusal.reason == Refused.PRICE_TIER_NOT_APPLICABLE


async def test_an_early_bird_that_was_locked_stays_one(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event(), early_bird_price=usd("80.00"), early_bird_end_time=from_now(hours=-1))
    before = Timestamp(seconds=tier.early_bird_end_time.seconds - 1)
    now, left = await pricing.lock(line(tier), line(tier, price_tier_version=1, price_lock_time=before))
    assert now.lock.price.breakdown.total.amount == "100.00"
    assert left.lock.price.breakdown.total.amount == "80.00"
    assert left.lock.price.lock_time == before


async def test_a_version_that_never_was_or_is_of_another_organization_is_not_found(pricing: Pricing) -> None:
    tier = await pricing.create(pricing.event())
    (first,) = await pricing.lock(line(tier))
    locked = {"price_tier_version": 1, "price_lock_time": first.lock.price.lock_time}
    asked = [
        line(tier, **{**locked, "price_tier_version": 2}),
        line(tier, **locked, price_tier_id=new_id()),
        line(tier, **locked, organization_id=new_id()),
    ]
    outcomes = await pricing.lock(*asked, line(tier, **locked))
    assert [outcome.refusal.reason for outcome in outcomes[:3]] == [Refused.PRICE_TIER_NOT_FOUND] * 3
    assert outcomes[0].refusal.metadata == {"price_tier_id": tier.id, "price_tier_version": "2"}
    assert outcomes[3].HasField("lock")


@pytest.mark.parametrize("given", [{"price_tier_version": 1}, {"price_lock_time": {"seconds": 1}}])
async def test_version_and_time_of_an_earlier_lock_come_together(pricing: Pricing, given: dict[str, Any]) -> None:
    tier = await pricing.create(pricing.event())
    with pytest.raises(DomainError) as refusal:
        await pricing.lock(line(tier, **given))
    assert refusal.value.reason is Reason.VALIDATION_FAILED
    assert [violation.field for violation in refusal.value.violations] == ["lines[0]"]


async def test_locking_without_coupons_writes_nothing(pricing: Pricing, identity_dir: Path) -> None:
    """It works where PostgreSQL lets nobody write, and nothing else does."""
    tier = await pricing.create(pricing.event())
    (first,) = await pricing.lock(line(tier))
    locked = {"price_tier_version": 1, "price_lock_time": first.lock.price.lock_time}
    login, database = sql.Identifier("holdfast_pricing_service"), sql.Identifier(pricing.database.name)
    with psycopg.connect(pricing.database.dsn("admin"), autocommit=True) as admin:
        setting = sql.SQL("ALTER ROLE {} IN DATABASE {} {} default_transaction_read_only {}")
        admin.execute(setting.format(login, database, sql.SQL("SET"), sql.SQL("= on")))
        try:
            async with running(pricing.database, pricing.nats_url, identity_dir) as reader:
                reader.organization_id = pricing.organization_id
                event_id = reader.event()
                outcomes = await reader.lock(line(tier), line(tier, quantity=3, **locked), line(tier, quantity=2))
                with pytest.raises(DomainError) as refusal:
                    await reader.create(event_id)
        finally:
            admin.execute(setting.format(login, database, sql.SQL("RESET"), sql.SQL("")))
    assert [outcome.lock.price.breakdown.total.amount for outcome in outcomes] == ["100.00", "300.00", "200.00"]
    assert refusal.value.reason is Reason.DEPENDENCY_UNAVAILABLE
