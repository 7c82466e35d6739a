from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.common.errors import Reason
from holdfast.pricing.domain.price_locks import LockLine, PriceLock, PriceRefusal, lock_price
from tests.unit.pricing.factories import NOW, price_tier, usd

if TYPE_CHECKING:
    from collections.abc import Hashable

    from holdfast.pricing.domain.price_tiers import PriceTier

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
TIER = price_tier()
SECTION, OTHER_SECTION = "0195d3e0-0000-7000-8000-00000000000a", "0195d3e0-0000-7000-8000-00000000000b"
SCHEDULE, OTHER_SCHEDULE = "0195d3e0-0000-7000-8000-00000000000c", "0195d3e0-0000-7000-8000-00000000000d"


def line(**changed: Any) -> LockLine:
    values: dict[str, Any] = {
        "price_tier_id": TIER.id,
        "organization_id": TIER.organization_id,
        "event_id": TIER.event_id,
        "section_id": SECTION,
        "schedule_id": SCHEDULE,
        "quantity": 2,
    }
    return LockLine(**{**values, **changed})


def refusal(outcome: PriceLock | PriceRefusal) -> PriceRefusal:
    assert isinstance(outcome, PriceRefusal)
    return outcome


def test_a_lock_is_good_for_thirty_seconds() -> None:
    outcome = lock_price(line(), TIER, now=NOW)
    assert isinstance(outcome, PriceLock)
    assert (outcome.lock_time, outcome.expire_time) == (NOW, NOW + 30 * SECOND)
    assert outcome.breakdown().total == 20000
    assert outcome.price_tier.version == 3


@pytest.mark.parametrize("change", [{"section_id": SECTION}, {"schedule_id": SCHEDULE}, {}])
def test_a_tier_applies_to_its_own_section_and_date(change: dict[str, Any]) -> None:
    assert isinstance(lock_price(line(), price_tier(**change), now=NOW), PriceLock)


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"section_id": OTHER_SECTION}, {}),
        ({"schedule_id": OTHER_SCHEDULE}, {}),
        ({"schedule_id": SCHEDULE}, {"schedule_id": None}),
        ({"active": False}, {}),
        ({}, {"event_id": "0195d3e0-0000-7000-8000-0000000000ff"}),
    ],
    ids=["another section", "another date", "a date where the line has none", "inactive", "another event"],
)
def test_a_tier_that_does_not_apply_is_refused(change: dict[str, Any], asked: dict[str, Any]) -> None:
    outcome = refusal(lock_price(line(**asked), price_tier(**change), now=NOW))
    assert outcome.reason is Reason.PRICE_TIER_NOT_APPLICABLE
    assert outcome.metadata == {"price_tier_id": TIER.id, "section_id": SECTION}


def test_an_unknown_tier_is_not_found() -> None:
    outcome = refusal(lock_price(line(), None, now=NOW))
    assert (outcome.reason, outcome.metadata) == (Reason.PRICE_TIER_NOT_FOUND, {"price_tier_id": TIER.id})


def test_the_sales_window_is_inclusive_at_both_ends() -> None:
    tier = price_tier(sales_start_time=NOW, sales_end_time=NOW + HOUR)
    assert isinstance(lock_price(line(), tier, now=NOW), PriceLock)
    assert isinstance(lock_price(line(), tier, now=NOW + HOUR), PriceLock)


def test_outside_the_sales_window_the_refusal_says_when_it_opens() -> None:
    tier = price_tier(sales_start_time=NOW, sales_end_time=NOW + HOUR)
    window = {
        "price_tier_id": TIER.id,
        "sales_start_time": "2026-05-01T12:00:00Z",
        "sales_end_time": "2026-05-01T13:00:00Z",
    }
    early = refusal(lock_price(line(), tier, now=NOW - SECOND))
    late = refusal(lock_price(line(), tier, now=NOW + HOUR + SECOND))
    assert early.reason is late.reason is Reason.SALES_WINDOW_CLOSED
    assert early.metadata == {**window, "next_change_time": "2026-05-01T12:00:00Z"}
    assert late.metadata == window


def test_locks_share_a_price_only_while_the_same_version_and_price_are_in_force() -> None:
    tier = price_tier(early_bird_price=usd("80.00"), early_bird_end_time=NOW + HOUR)
    other_version = replace(tier, version=4)

    def price_of(of: PriceTier, *, quantity: int = 2, now: datetime = NOW) -> Hashable:
        outcome = lock_price(line(quantity=quantity), of, now=now)
        assert isinstance(outcome, PriceLock)
        return outcome.same_price()

    assert price_of(tier) == price_of(tier, now=NOW + SECOND)
    assert price_of(tier) != price_of(tier, now=NOW + HOUR)
    assert price_of(tier) != price_of(tier, quantity=3)
    assert price_of(tier) != price_of(other_version)
