from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.common.money import Money
from holdfast.pricing.domain.terms import PRICE_MINOR_MAX, create_terms, revise_terms
from tests.unit.pricing.factories import NOW, terms, usd

HOUR = timedelta(hours=1)
DYNAMIC: dict[str, Any] = {"is_dynamic": True, "min_price": usd("50.00"), "max_price": usd("150.00")}

REFUSED: list[tuple[str, dict[str, Any], Reason, list[str]]] = [
    ("a negative price", {"base_price": usd("-0.01")}, Reason.VALIDATION_FAILED, ["base_price"]),
    ("a negative fee", {"service_fee": usd("-1.00")}, Reason.VALIDATION_FAILED, ["service_fee"]),
    (
        "a price beyond the limit",
        {"base_price": Money(PRICE_MINOR_MAX + 1, "USD")},
        Reason.VALIDATION_FAILED,
        ["base_price"],
    ),
    ("a blank name", {"name": "  "}, Reason.VALIDATION_FAILED, ["name"]),
    ("no name", {"name": None}, Reason.VALIDATION_FAILED, ["name"]),
    ("no price", {"base_price": None}, Reason.VALIDATION_FAILED, ["base_price"]),
    ("a tax above the whole", {"tax_rate_basis_points": 10_001}, Reason.VALIDATION_FAILED, ["tax_rate"]),
    (
        "more than 100 percent off",
        {"group_size_min": 10, "group_discount_basis_points": 10_001},
        Reason.VALIDATION_FAILED,
        ["group_discount_percent"],
    ),
    ("a fee in another currency", {"service_fee": Money(100, "EUR")}, Reason.UNKNOWN_CURRENCY, ["service_fee"]),
    ("dynamic without bounds", {"is_dynamic": True}, Reason.VALIDATION_FAILED, ["min_price", "max_price"]),
    (
        "bounds in the wrong order",
        {"is_dynamic": True, "min_price": usd("150.00"), "max_price": usd("150.00")},
        Reason.VALIDATION_FAILED,
        ["min_price"],
    ),
    (
        "a base outside the bounds",
        {**DYNAMIC, "base_price": usd("40.00"), "current_price": usd("60.00")},
        Reason.VALIDATION_FAILED,
        ["base_price"],
    ),
    (
        "a current price outside the bounds",
        {**DYNAMIC, "current_price": usd("150.01")},
        Reason.VALIDATION_FAILED,
        ["current_price"],
    ),
    (
        "a current price of a tier that is not dynamic",
        {"current_price": usd("90.00")},
        Reason.VALIDATION_FAILED,
        ["current_price"],
    ),
    (
        "an early-bird price that saves nothing",
        {"early_bird_price": usd("100.00"), "early_bird_end_time": NOW},
        Reason.VALIDATION_FAILED,
        ["early_bird_price"],
    ),
    (
        "an early-bird price without an end",
        {"early_bird_price": usd("80.00")},
        Reason.VALIDATION_FAILED,
        ["early_bird_end_time"],
    ),
    ("an early-bird end without a price", {"early_bird_end_time": NOW}, Reason.VALIDATION_FAILED, ["early_bird_price"]),
    (
        "a last-minute price without a start",
        {"last_minute_price": usd("80.00")},
        Reason.VALIDATION_FAILED,
        ["last_minute_start_time"],
    ),
    (
        "a last-minute start without a price",
        {"last_minute_start_time": NOW},
        Reason.VALIDATION_FAILED,
        ["last_minute_price"],
    ),
    ("a group without a discount", {"group_size_min": 10}, Reason.VALIDATION_FAILED, ["group_discount_percent"]),
    (
        "a discount without a group",
        {"group_discount_basis_points": 1500},
        Reason.VALIDATION_FAILED,
        ["group_size_min"],
    ),
    (
        "windows that overlap",
        {
            "early_bird_price": usd("80.00"),
            "early_bird_end_time": NOW,
            "last_minute_price": usd("120.00"),
            "last_minute_start_time": NOW - HOUR,
        },
        Reason.INVALID_DATE_RANGE,
        ["last_minute_start_time"],
    ),
    (
        "a sale that ends when it starts",
        {"sales_start_time": NOW, "sales_end_time": NOW},
        Reason.INVALID_DATE_RANGE,
        ["sales_end_time"],
    ),
    (
        "several faults at once",
        {"service_fee": usd("-1.00"), "group_size_min": 10},
        Reason.VALIDATION_FAILED,
        ["service_fee", "group_discount_percent"],
    ),
]


@pytest.mark.parametrize(("change", "reason", "fields"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused_terms_name_their_fields(change: dict[str, Any], reason: Reason, fields: list[str]) -> None:
    given: Any = {"name": "Standard", "base_price": usd("100.00"), **change}
    with pytest.raises(DomainError) as refusal:
        create_terms(given)
    assert refusal.value.reason is reason
    assert [violation.field for violation in refusal.value.violations] == [f"price_tier.{field}" for field in fields]


def test_defaults_are_free_fees_active_and_visible() -> None:
    made = terms()
    assert (made.service_fee, made.facility_fee, made.tax_rate_basis_points) == (0, 0, 0)
    assert (made.active, made.visible, made.is_dynamic, made.tax_inclusive) == (True, True, False, False)
    assert made.currency_code == "USD"


def test_a_dynamic_tier_starts_at_its_base_price() -> None:
    assert terms(**DYNAMIC).current_price == 10000
    assert terms(**DYNAMIC, current_price=usd("60.00")).current_price == 6000


def test_clearing_the_current_price_goes_back_to_the_base_price() -> None:
    tier = terms(**DYNAMIC, current_price=usd("60.00"))
    assert revise_terms(tier, {"current_price": None}).current_price == 10000


def test_ending_dynamic_pricing_drops_the_current_price() -> None:
    tier = terms(**DYNAMIC, current_price=usd("60.00"))
    revised = revise_terms(tier, {"is_dynamic": False})
    assert revised.current_price is None
    assert (revised.min_price, revised.max_price) == (5000, 15000)


def test_a_change_leaves_the_other_terms_alone() -> None:
    tier = terms(service_fee=usd("5.00"), display_order=4)
    revised = revise_terms(tier, {"base_price": usd("120.00")})
    assert (revised.base_price, revised.service_fee, revised.display_order) == (12000, 500, 4)


def test_clearing_sets_the_default() -> None:
    tier = terms(service_fee=usd("5.00"), active=False, display_order=4, description="Front rows", max_per_order=4)
    revised = revise_terms(
        tier, {"service_fee": None, "active": None, "display_order": None, "description": None, "max_per_order": None}
    )
    assert revised == terms()


def test_the_currency_is_fixed() -> None:
    with pytest.raises(DomainError) as refusal:
        revise_terms(terms(), {"base_price": Money(10000, "EUR")})
    assert refusal.value.reason is Reason.UNKNOWN_CURRENCY
    assert refusal.value.metadata == {"currency_code": "EUR"}


def test_a_required_field_cannot_be_cleared() -> None:
    with pytest.raises(DomainError) as refusal:
        revise_terms(terms(), {"name": None})
    assert [violation.field for violation in refusal.value.violations] == ["price_tier.name"]
