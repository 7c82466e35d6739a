"""What a number of tickets costs: the one calculator, a pure function of terms, quantity and time.

Amounts are whole minor units. Two divisions are rounded, both half up:

- the unit price after a group discount, to the whole minor unit, *before* it is multiplied, so that the unit price
  that a buyer sees times the quantity is exactly the line (19.99 less 15 % is 16.9915, so 16.99 a ticket);
- the tax, once for the line.

(`per_ticket` is rounded too, but only shown: nothing is computed from it.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.common.money import Money
from holdfast.pricing.domain.rates import BASIS_POINTS, divide_half_up, percent_string
from holdfast.pricing.domain.times import instant

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.pricing.domain.price_tiers import PriceTerms


class StepKind(StrEnum):
    """What a step of the computation does; the names of the contract's `PriceStep.Kind`."""

    BASE_PRICE = "BASE_PRICE"
    CURRENT_PRICE = "CURRENT_PRICE"
    EARLY_BIRD = "EARLY_BIRD"
    LAST_MINUTE = "LAST_MINUTE"
    GROUP_DISCOUNT = "GROUP_DISCOUNT"
    SERVICE_FEE = "SERVICE_FEE"
    FACILITY_FEE = "FACILITY_FEE"
    TAX = "TAX"


PRICE_STEPS = frozenset({StepKind.BASE_PRICE, StepKind.CURRENT_PRICE, StepKind.EARLY_BIRD, StepKind.LAST_MINUTE})
"""Steps that set the price of one ticket; all others add to the line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: prices set the unit price, the others add to the line (a discount is negative)."""

    kind: StepKind
    amount: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """What a line costs, in minor units, and how that was computed.

    `base` is `unit_price` times `quantity`, `total` is `subtotal` + `tax`. Base and fees together are the subtotal, or,
    when the tier's prices include the tax, the total.
    """

    currency_code: str
    quantity: int
    unit_price: int
    base: int
    discount: int
    service_fee: int
    facility_fee: int
    subtotal: int
    tax: int
    tax_rate_basis_points: int
    tax_inclusive: bool
    total: int
    per_ticket: int
    steps: tuple[Step, ...]


def calculate(terms: PriceTerms, *, quantity: int, now: datetime) -> Breakdown:
    """Compute what `quantity` ≥ 1 tickets cost at `now`.

    The same rules for everybody: section and sales window are not looked at here.
    """
    steps = _unit_price_steps(terms, now)
    listed_price = steps[-1].amount
    unit_price = listed_price
    if _is_group(terms, quantity):
        unit_price = divide_half_up(
            listed_price * (BASIS_POINTS - (terms.group_discount_basis_points or 0)), BASIS_POINTS
        )
        steps.append(_group_step(terms, listed_price=listed_price, unit_price=unit_price, quantity=quantity))
    base = unit_price * quantity
    service_fee = terms.service_fee * quantity
    facility_fee = terms.facility_fee * quantity
    if service_fee:
        steps.append(_fee_step(terms, StepKind.SERVICE_FEE, quantity))
    if facility_fee:
        steps.append(_fee_step(terms, StepKind.FACILITY_FEE, quantity))
    gross = base + service_fee + facility_fee
    tax = _tax(terms, gross)
    if terms.tax_rate_basis_points:
        steps.append(_tax_step(terms, amount=gross, tax=tax))
    subtotal = gross - tax if terms.tax_inclusive else gross
    total = subtotal + tax
    return Breakdown(
        currency_code=terms.currency_code,
        quantity=quantity,
        unit_price=unit_price,
        base=base,
        discount=(listed_price - unit_price) * quantity,
        service_fee=service_fee,
        facility_fee=facility_fee,
        subtotal=subtotal,
        tax=tax,
        tax_rate_basis_points=terms.tax_rate_basis_points,
        tax_inclusive=terms.tax_inclusive,
        total=total,
        per_ticket=divide_half_up(total, quantity),
        steps=tuple(steps),
    )


def price_phase(terms: PriceTerms, now: datetime) -> StepKind:
    """Tell which price of one ticket is in force at `now`."""
    if terms.early_bird_end_time is not None and now < terms.early_bird_end_time:
        return StepKind.EARLY_BIRD
    if terms.last_minute_start_time is not None and now >= terms.last_minute_start_time:
        return StepKind.LAST_MINUTE
    return StepKind.CURRENT_PRICE if terms.is_dynamic else StepKind.BASE_PRICE


def _unit_price_steps(terms: PriceTerms, now: datetime) -> list[Step]:
    """Give the steps that set the price of one ticket; the last one is in force."""
    if terms.is_dynamic and terms.current_price is not None:
        steps = [Step(StepKind.CURRENT_PRICE, terms.current_price, "the current price of one ticket")]
    else:
        steps = [Step(StepKind.BASE_PRICE, terms.base_price, "the base price of one ticket")]
    phase = price_phase(terms, now)
    if phase is StepKind.EARLY_BIRD and terms.early_bird_price is not None:
        until = instant(terms.early_bird_end_time)
        steps.append(Step(phase, terms.early_bird_price, f"the early-bird price of one ticket, before {until}"))
    elif phase is StepKind.LAST_MINUTE and terms.last_minute_price is not None:
        since = instant(terms.last_minute_start_time)
        steps.append(Step(phase, terms.last_minute_price, f"the last-minute price of one ticket, from {since} on"))
    return steps


def _is_group(terms: PriceTerms, quantity: int) -> bool:
    return bool(terms.group_discount_basis_points) and quantity >= (terms.group_size_min or quantity + 1)


def _group_step(terms: PriceTerms, *, listed_price: int, unit_price: int, quantity: int) -> Step:
    percent = percent_string(terms.group_discount_basis_points or 0)
    was, becomes = _amount(terms, listed_price), _amount(terms, unit_price)
    return Step(
        StepKind.GROUP_DISCOUNT,
        -(listed_price - unit_price) * quantity,
        f"{percent} % off for {terms.group_size_min} or more: {was} becomes {becomes} a ticket",
    )


def _fee_step(terms: PriceTerms, kind: StepKind, quantity: int) -> Step:
    fee = terms.service_fee if kind is StepKind.SERVICE_FEE else terms.facility_fee
    return Step(kind, fee * quantity, f"{_amount(terms, fee)} for each of {quantity}")


def _tax(terms: PriceTerms, amount: int) -> int:
    rate = terms.tax_rate_basis_points
    if terms.tax_inclusive:
        return divide_half_up(amount * rate, BASIS_POINTS + rate)
    return divide_half_up(amount * rate, BASIS_POINTS)


def _tax_step(terms: PriceTerms, *, amount: int, tax: int) -> Step:
    relation = "contained in" if terms.tax_inclusive else "of"
    percent = percent_string(terms.tax_rate_basis_points)
    return Step(StepKind.TAX, tax, f"{percent} % {relation} {_amount(terms, amount)}, rounded half up")


def _amount(terms: PriceTerms, minor: int) -> str:
    return Money(minor, terms.currency_code).decimal_string()
