"""Creating and revising the terms of a price tier, and the rules that terms must keep.

Every refusal names the field, as a path inside requests, where the resource is always `price_tier`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypedDict

from holdfast.common.errors import DomainError, FieldViolation, Reason
from holdfast.common.money import Money
from holdfast.pricing.domain.price_tiers import PriceTerms
from holdfast.pricing.domain.rates import BASIS_POINTS
from holdfast.pricing.domain.times import instant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

PRICE_MINOR_MAX: Final = 100_000_000_000
"""Highest price or fee of one ticket, in minor units: a line of 1,000 tickets with fees and tax still has an amount
of at most 15 digits, as the contract's Money allows."""

MONEY_FIELDS: Final = (
    "base_price",
    "service_fee",
    "facility_fee",
    "min_price",
    "max_price",
    "current_price",
    "early_bird_price",
    "last_minute_price",
)


class TermsChange(TypedDict, total=False):
    """New values of terms: a field that is absent stays, one that is None is cleared to its default."""

    schedule_id: str | None
    section_id: str | None
    name: str | None
    description: str | None
    tier: str | None
    base_price: Money | None
    service_fee: Money | None
    facility_fee: Money | None
    tax_rate_basis_points: int | None
    tax_inclusive: bool | None
    is_dynamic: bool | None
    min_price: Money | None
    max_price: Money | None
    current_price: Money | None
    early_bird_price: Money | None
    early_bird_end_time: datetime | None
    last_minute_price: Money | None
    last_minute_start_time: datetime | None
    group_size_min: int | None
    group_discount_basis_points: int | None
    sales_start_time: datetime | None
    sales_end_time: datetime | None
    max_per_order: int | None
    max_per_customer: int | None
    active: bool | None
    visible: bool | None
    display_order: int | None


_DEFAULTS: Final[dict[str, object]] = {
    "service_fee": 0,
    "facility_fee": 0,
    "tax_rate_basis_points": 0,
    "tax_inclusive": False,
    "is_dynamic": False,
    "active": True,
    "visible": True,
    "display_order": 0,
}
"""What clearing a field sets it to; fields that are neither here nor required become absent."""

_REQUIRED: Final = ("name", "base_price")
_PATHS: Final = {
    "tax_rate_basis_points": "tax_rate",
    "group_discount_basis_points": "group_discount_percent",
}


def create_terms(change: TermsChange) -> PriceTerms:
    """Make the terms of a new tier; its currency is that of `base_price`.

    Raises VALIDATION_FAILED, UNKNOWN_CURRENCY (an amount in another currency), INVALID_DATE_RANGE.
    """
    base_price = change.get("base_price")
    if base_price is None:
        _refuse([_violation("base_price", "is required")])
    blank = PriceTerms(name="", currency_code=base_price.currency_code, base_price=0)
    given: TermsChange = {"name": None}
    given.update(change)
    return revise_terms(blank, given)


def revise_terms(terms: PriceTerms, change: TermsChange) -> PriceTerms:
    """Apply a change to terms and check the result. The currency stays what it is. Raises as `create_terms`."""
    values: dict[str, Any] = {}
    violations: list[FieldViolation] = []
    for field, value in change.items():
        if isinstance(value, Money):
            _check_currency(terms, field, value)
            values[field] = value.minor
        elif value is None and field in _REQUIRED:
            violations.append(_violation(field, "is required"))
        else:
            values[field] = _DEFAULTS.get(field) if value is None else value
    revised = replace(terms, **values)
    if revised.is_dynamic:
        if revised.current_price is None:
            revised = replace(revised, current_price=revised.base_price)
    elif revised.current_price is not None:
        if change.get("current_price") is not None:
            violations.append(_violation("current_price", "needs is_dynamic: only a dynamic tier has one"))
        revised = replace(revised, current_price=None)
    violations += _value_violations(revised)
    if violations:
        _refuse(violations)
    _check_dates(revised)
    return revised


def _check_currency(terms: PriceTerms, field: str, amount: Money) -> None:
    if amount.currency_code != terms.currency_code:
        violation = _violation(field, f"must be in {terms.currency_code}, the currency of the tier")
        raise DomainError(
            Reason.UNKNOWN_CURRENCY,
            f"{violation.field}: {violation.message}",
            metadata={"currency_code": amount.currency_code},
            violations=(violation,),
        )


def _value_violations(terms: PriceTerms) -> Iterator[FieldViolation]:
    if not terms.name.strip():
        yield _violation("name", "must not be blank")
    for field in MONEY_FIELDS:
        minor = getattr(terms, field)
        if minor is not None and not 0 <= minor <= PRICE_MINOR_MAX:
            limit = Money(PRICE_MINOR_MAX, terms.currency_code)
            yield _violation(field, f"must be from 0 to {limit.decimal_string()}")
    for field in _PATHS:
        basis_points = getattr(terms, field)
        if basis_points is not None and not 0 <= basis_points <= BASIS_POINTS:
            yield _violation(field, "must be from 0 to the whole")
    yield from _dynamic_violations(terms)
    yield from _pair_violations(terms)
    if terms.early_bird_price is not None and terms.early_bird_price >= terms.base_price:
        yield _violation("early_bird_price", "must be below base_price")


def _dynamic_violations(terms: PriceTerms) -> Iterator[FieldViolation]:
    low, high = terms.min_price, terms.max_price
    if low is not None and high is not None and low >= high:
        yield _violation("min_price", "must be below max_price")
    if not terms.is_dynamic:
        return
    for field in ("min_price", "max_price"):
        if getattr(terms, field) is None:
            yield _violation(field, "is required of a dynamic tier")
    if low is None or high is None or low >= high:
        return
    for field in ("base_price", "current_price"):
        if not low <= getattr(terms, field) <= high:
            yield _violation(field, "must be within min_price and max_price")


def _pair_violations(terms: PriceTerms) -> Iterator[FieldViolation]:
    for one, other in (
        ("early_bird_price", "early_bird_end_time"),
        ("last_minute_price", "last_minute_start_time"),
        ("group_size_min", "group_discount_basis_points"),
    ):
        for missing, given in ((one, other), (other, one)):
            if getattr(terms, missing) is None and getattr(terms, given) is not None:
                yield _violation(missing, f"is required with {_PATHS.get(given, given)}")


def _check_dates(terms: PriceTerms) -> None:
    start, end = terms.sales_start_time, terms.sales_end_time
    if start is not None and end is not None and end <= start:
        _refuse_dates("sales_end_time", "must be after sales_start_time", rule="sales_end_time > sales_start_time")
    early, late = terms.early_bird_end_time, terms.last_minute_start_time
    if early is not None and late is not None and late < early:
        _refuse_dates(
            "last_minute_start_time",
            f"must not be before early_bird_end_time, {instant(early)}: one price is in force at a time",
            rule="last_minute_start_time >= early_bird_end_time",
        )


def _violation(field: str, message: str) -> FieldViolation:
    return FieldViolation(field=f"price_tier.{_PATHS.get(field, field)}", message=message)


def _refuse(violations: list[FieldViolation]) -> NoReturn:
    first = {violation.field: violation for violation in reversed(violations)}
    violations = [violation for violation in violations if first[violation.field] is violation]
    message = "; ".join(f"{violation.field} {violation.message}" for violation in violations)
    raise DomainError(Reason.VALIDATION_FAILED, message, violations=violations)


def _refuse_dates(field: str, message: str, *, rule: str) -> NoReturn:
    violation = _violation(field, message)
    raise DomainError(
        Reason.INVALID_DATE_RANGE,
        f"{violation.field} {message}",
        metadata={"rule": rule},
        violations=(violation,),
    )
