from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.common.errors import Reason
from holdfast.pricing.domain.price_locks import EarlierLock, LockLine, PriceLock, PriceRefusal, lock_price
from tests.unit.pricing.factories import NOW, tier_version, usd

if TYPE_CHECKING:
    from collections.abc import Hashable

    from holdfast.pricing.domain.price_tiers import TierVersion

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
TIER = tier_version()
SECTION, OTHER_SECTION = "0195d3e0-0000-7000-8000-00000000000a", "0195d3e0-0000-7000-8000-00000000000b"
SCHEDULE, OTHER_SCHEDULE = "0195d3e0-0000-7000-8000-00000000000c", "0195d3e0-0000-7000-8000-00000000000d"


def line(**changed: Any) -> LockLine:
    values: dict[str, Any] = {
        "price_tier_id": TIER.price_tier_id,
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
    assert outcome.tier.version == 3


@pytest.mark.parametrize("change", [{"section_id": SECTION}, {"schedule_id": SCHEDULE}, {}])
def test_a_tier_applies_to_its_own_section_and_date(change: dict[str, Any]) -> None:
    assert isinstance(lock_price(line(), tier_version(**change), now=NOW), PriceLock)


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
    outcome = refusal(lock_price(line(**asked), tier_version(**change), now=NOW))
    assert outcome.reason is Reason.PRICE_TIER_NOT_APPLICABLE
    assert outcome.metadata == {"price_tier_id": TIER.price_tier_id, "section_id": SECTION}


def test_an_unknown_tier_is_not_found() -> None:
    outcome = refusal(lock_price(line(), None, now=NOW))
    assert (outcome.reason, outcome.metadata) == (Reason.PRICE_TIER_NOT_FOUND, {"price_tier_id": TIER.price_tier_id})


def test_the_sales_window_is_inclusive_at_both_ends() -> None:
    tier = tier_version(sales_start_time=NOW, sales_end_time=NOW + HOUR)
    assert isinstance(lock_price(line(), tier, now=NOW), PriceLock)
    assert isinstance(lock_price(line(), tier, now=NOW + HOUR), PriceLock)


def test_outside_the_sales_window_the_refusal_says_when_it_opens() -> None:
    tier = tier_version(sales_start_time=NOW, sales_end_time=NOW + HOUR)
    window = {
        "price_tier_id": TIER.price_tier_id,
        "sales_start_time": "2026-05-01T12:00:00Z",
        "sales_end_time": "2026-05-01T13:00:00Z",
    }
    early = refusal(lock_price(line(), tier, now=NOW - SECOND))
    late = refusal(lock_price(line(), tier, now=NOW + HOUR + SECOND))
    assert early.reason is late.reason is Reason.SALES_WINDOW_CLOSED
    assert early.metadata == {**window, "next_change_time": "2026-05-01T12:00:00Z"}
    assert late.metadata == window


def test_locks_share_a_price_only_while_the_same_version_and_price_are_in_force() -> None:
    tier = tier_version(early_bird_price=usd("80.00"), early_bird_end_time=NOW + HOUR)
    other_version = replace(tier, version=4)

    def price_of(of: TierVersion, *, quantity: int = 2, now: datetime = NOW) -> Hashable:
        outcome = lock_price(line(quantity=quantity), of, now=now)
        assert isinstance(outcome, PriceLock)
        return outcome.same_price()

    assert price_of(tier) == price_of(tier, now=NOW + SECOND)
    assert price_of(tier) != price_of(tier, now=NOW + HOUR)
    assert price_of(tier) != price_of(tier, quantity=3)
    assert price_of(tier) != price_of(other_version)


EARLY_BIRD = tier_version(
    base_price=usd("100.00"),
    early_bird_price=usd("80.00"),
    early_bird_end_time=NOW,
    group_size_min=4,
    group_discount_basis_points=1000,
    sales_end_time=NOW,
    active=False,
    section_id=SECTION,
)


@pytest.mark.parametrize(
    ("locked", "quantity", "unit_price", "lock_time"),
    [
        (-HOUR, 4, 7200, -HOUR),
        (-HOUR, 3, 8000, -HOUR),
        (0 * HOUR, 3, 10000, 0 * HOUR),
        (2 * HOUR, 3, 10000, HOUR),
    ],
    ids=["early bird, still a group", "early bird, no group any more", "after the early bird", "a clock ahead"],
)
def test_what_is_left_of_a_line_costs_what_it_cost_when_it_was_locked(
    locked: timedelta, quantity: int, unit_price: int, lock_time: timedelta
) -> None:
    earlier = EarlierLock(version=3, lock_time=NOW + locked)
    outcome = lock_price(line(quantity=quantity, earlier=earlier), EARLY_BIRD, now=NOW + HOUR)
    assert isinstance(outcome, PriceLock)
    assert outcome.breakdown().unit_price == unit_price
    assert (outcome.lock_time, outcome.expire_time) == (NOW + lock_time, NOW + HOUR + 30 * SECOND)
    assert outcome.again


def test_what_is_left_of_a_line_is_still_of_its_tier() -> None:
    earlier = EarlierLock(version=3, lock_time=NOW)
    for other in ({"section_id": OTHER_SECTION}, {"event_id": OTHER_SECTION}):
        outcome = refusal(lock_price(line(earlier=earlier, **other), EARLY_BIRD, now=NOW))
        assert outcome.reason is Reason.PRICE_TIER_NOT_APPLICABLE
    unknown = refusal(lock_price(line(earlier=earlier), None, now=NOW))
    assert (unknown.reason, unknown.metadata["price_tier_version"]) == (Reason.PRICE_TIER_NOT_FOUND, "3")
