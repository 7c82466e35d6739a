from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.common.money import Money
from holdfast.pricing import convert
from holdfast.pricing.domain.calculator import PRICE_STEPS, Breakdown, StepKind, calculate
from holdfast.pricing.domain.terms import create_terms
from tests.unit.pricing.factories import NOW, WORKED_PRICES, terms, usd, worked_tier

if TYPE_CHECKING:
    from holdfast.pricing.domain.price_tiers import PriceTerms

SECOND = timedelta(seconds=1)


def shown(price: Breakdown, field: str) -> str:
    return Money(getattr(price, field), price.currency_code).decimal_string()


@pytest.mark.parametrize("case", WORKED_PRICES, ids=lambda case: case["name"])
def test_worked_prices(case: dict[str, Any]) -> None:
    tier = create_terms(convert.terms_change(worked_tier(case)))
    price = calculate(tier, quantity=case["quantity"], now=NOW)
    assert {field: shown(price, field) for field in case["price"]} == case["price"]
    if "steps" in case:
        steps = [f"{step.kind} {Money(step.amount, price.currency_code).decimal_string()}" for step in price.steps]
        assert steps == case["steps"]


def test_early_bird_ends_at_its_instant() -> None:
    tier = terms(early_bird_price=usd("80.00"), early_bird_end_time=NOW)
    before = calculate(tier, quantity=1, now=NOW - SECOND)
    at = calculate(tier, quantity=1, now=NOW)
    assert (before.unit_price, at.unit_price) == (8000, 10000)
    assert [step.kind for step in before.steps] == [StepKind.BASE_PRICE, StepKind.EARLY_BIRD]
    assert before.steps[1].detail == "the early-bird price of one ticket, before 2026-05-01T12:00:00Z"


def test_last_minute_starts_at_its_instant() -> None:
    tier = terms(last_minute_price=usd("120.00"), last_minute_start_time=NOW)
    assert calculate(tier, quantity=1, now=NOW - SECOND).unit_price == 10000
    assert calculate(tier, quantity=1, now=NOW).unit_price == 12000


def test_early_bird_and_last_minute_may_meet_without_overlapping() -> None:
    tier = terms(
        early_bird_price=usd("80.00"),
        early_bird_end_time=NOW,
        last_minute_price=usd("120.00"),
        last_minute_start_time=NOW,
    )
    assert calculate(tier, quantity=1, now=NOW - SECOND).unit_price == 8000
    assert calculate(tier, quantity=1, now=NOW).unit_price == 12000


def test_early_bird_replaces_a_dynamic_price() -> None:
    tier = terms(
        is_dynamic=True,
        min_price=usd("50.00"),
        max_price=usd("150.00"),
        current_price=usd("130.00"),
        early_bird_price=usd("80.00"),
        early_bird_end_time=NOW,
    )
    price = calculate(tier, quantity=1, now=NOW - SECOND)
    assert price.unit_price == 8000
    assert [step.kind for step in price.steps] == [StepKind.CURRENT_PRICE, StepKind.EARLY_BIRD]
    assert calculate(tier, quantity=1, now=NOW).unit_price == 13000


def test_a_free_early_bird_is_free() -> None:
    tier = terms(early_bird_price=usd("0.00"), early_bird_end_time=NOW)
    assert calculate(tier, quantity=3, now=NOW - SECOND).total == 0


def test_the_group_discount_comes_off_the_price_in_force() -> None:
    tier = terms(
        early_bird_price=usd("80.00"),
        early_bird_end_time=NOW,
        group_size_min=2,
        group_discount_basis_points=1000,
    )
    assert calculate(tier, quantity=2, now=NOW - SECOND).unit_price == 7200
    assert calculate(tier, quantity=2, now=NOW).unit_price == 9000


def test_every_step_says_its_numbers() -> None:
    tier = terms(
        service_fee=usd("10.00"),
        facility_fee=usd("5.00"),
        tax_rate_basis_points=875,
        group_size_min=2,
        group_discount_basis_points=1550,
    )
    assert [step.detail for step in calculate(tier, quantity=2, now=NOW).steps] == [
        "the base price of one ticket",
        "15.5 % off for 2 or more: 100.00 becomes 84.50 a ticket",
        "10.00 for each of 2",
        "5.00 for each of 2",
        "8.75 % of 199.00, rounded half up",
    ]


PRICES = st.integers(min_value=0, max_value=10_000_000)
BASIS_POINTS = st.integers(min_value=0, max_value=10_000)


@st.composite
def any_terms(draw: st.DrawFn) -> PriceTerms:
    change: dict[str, Any] = {"base_price": Money(draw(PRICES), draw(st.sampled_from(["USD", "JPY", "BHD"])))}
    currency = change["base_price"].currency_code
    change["service_fee"] = Money(draw(PRICES), currency)
    change["facility_fee"] = Money(draw(PRICES), currency)
    change["tax_rate_basis_points"] = draw(BASIS_POINTS)
    change["tax_inclusive"] = draw(st.booleans())
    if draw(st.booleans()):
        change["group_size_min"] = draw(st.integers(min_value=2, max_value=1000))
        change["group_discount_basis_points"] = draw(BASIS_POINTS)
    if change["base_price"].minor > 0 and draw(st.booleans()):
        change["early_bird_price"] = Money(draw(st.integers(0, change["base_price"].minor - 1)), currency)
        change["early_bird_end_time"] = NOW + draw(st.sampled_from([-SECOND, SECOND]))
    return terms(**change)


QUANTITIES = st.integers(min_value=1, max_value=1000)


@given(any_terms(), QUANTITIES)
def test_the_parts_add_up_and_none_is_negative(tier: PriceTerms, quantity: int) -> None:
    price = calculate(tier, quantity=quantity, now=NOW)
    assert price.total == price.subtotal + price.tax
    assert price.base == price.unit_price * quantity
    gross = price.base + price.service_fee + price.facility_fee
    assert (price.total if tier.tax_inclusive else price.subtotal) == gross
    amounts = (price.unit_price, price.base, price.discount, price.subtotal, price.tax, price.total, price.per_ticket)
    assert min(amounts) >= 0


@given(any_terms(), QUANTITIES)
def test_the_tax_is_the_nearest_whole_unit_of_the_line_and_halves_go_up(tier: PriceTerms, quantity: int) -> None:
    price = calculate(tier, quantity=quantity, now=NOW)
    gross = price.base + price.service_fee + price.facility_fee
    whole = 10_000 + tier.tax_rate_basis_points if tier.tax_inclusive else 10_000
    exact = gross * tier.tax_rate_basis_points  # in units of 1 / whole
    assert -whole <= 2 * (exact - price.tax * whole) < whole


@given(any_terms(), QUANTITIES)
def test_a_reader_can_redo_the_computation_from_the_steps(tier: PriceTerms, quantity: int) -> None:
    price = calculate(tier, quantity=quantity, now=NOW)
    listed = [step.amount for step in price.steps if step.kind in PRICE_STEPS][-1]
    added = sum(
        step.amount
        for step in price.steps
        if step.kind not in PRICE_STEPS and not (tier.tax_inclusive and step.kind is StepKind.TAX)
    )
    assert listed * quantity + added == price.total


@given(any_terms(), QUANTITIES)
def test_the_discounted_unit_price_is_the_nearest_whole_unit(tier: PriceTerms, quantity: int) -> None:
    price = calculate(tier, quantity=quantity, now=NOW)
    listed = [step.amount for step in price.steps if step.kind in PRICE_STEPS][-1]
    applies = tier.group_size_min is not None and quantity >= tier.group_size_min
    off = (tier.group_discount_basis_points or 0) if applies else 0
    assert abs(price.unit_price * 10_000 - listed * (10_000 - off)) * 2 <= 10_000
