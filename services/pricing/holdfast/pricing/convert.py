"""Contract ⇄ domain, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from holdfast.api.common.v1 import error_reason_pb2
from holdfast.api.pricing.v1 import locked_price_pb2, price_tier_pb2, price_tier_service_pb2, quote_service_pb2
from holdfast.common.errors import DomainError, FieldViolation, Reason, invalid
from holdfast.common.money import Money
from holdfast.common.protobuf import from_money, to_datetime, to_money, to_timestamp
from holdfast.pricing.domain.price_locks import EarlierLock, LockLine
from holdfast.pricing.domain.rates import parse_percent, parse_rate, percent_string, rate_string
from holdfast.pricing.domain.terms import MONEY_FIELDS, TermsChange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.pricing.domain.calculator import Breakdown
    from holdfast.pricing.domain.price_locks import PriceLock, PriceRefusal
    from holdfast.pricing.domain.price_tiers import PriceTerms, PriceTier

_TIMES: Final = ("early_bird_end_time", "last_minute_start_time", "sales_start_time", "sales_end_time")
_IDS: Final = ("schedule_id", "section_id")
_TEXTS: Final = ("name", "description", "tier")
_PLAIN: Final = (
    "tax_inclusive",
    "is_dynamic",
    "group_size_min",
    "max_per_order",
    "max_per_customer",
    "active",
    "visible",
    "display_order",
)
_RATES: Final = {
    "tax_rate": ("tax_rate_basis_points", parse_rate),
    "group_discount_percent": ("group_discount_basis_points", parse_percent),
}


def terms_change(message: price_tier_pb2.PriceTier, fields: Iterable[str] | None = None) -> TermsChange:
    """Read the new values of terms: of the named fields, those that are not set as None; by default, of what is set.

    Raises VALIDATION_FAILED or UNKNOWN_CURRENCY on amounts, rates, texts and times that cannot be read.
    """
    names = [field.name for field, _ in message.ListFields()] if fields is None else fields
    change: dict[str, Any] = {}
    for name in names:
        key = _RATES[name][0] if name in _RATES else name
        change[key] = _value(message, name) if message.HasField(name) else None  # type: ignore[arg-type]  # by name
    return cast("TermsChange", change)


def seating_change(message: price_tier_service_pb2.SeatingPrice, schedule_id: str | None) -> TermsChange:
    """Read the terms of the tier of a section that a seating configuration makes."""
    change: TermsChange = {
        "name": message.name,
        "section_id": message.section_id.lower(),
        "base_price": _money(message.base_price, "price_tier.base_price"),
    }
    if schedule_id:
        change["schedule_id"] = schedule_id.lower()
    if message.tier:
        change["tier"] = message.tier
    return change


def _value(message: price_tier_pb2.PriceTier, name: str) -> object:
    value = getattr(message, name)
    path = f"price_tier.{name}"
    if name in MONEY_FIELDS:
        return _money(value, path)
    if name in _TIMES:
        return to_datetime(value, field=path)
    if name in _RATES:
        basis_points = _RATES[name][1](value)
        if basis_points is None:
            raise invalid(path, "must be a decimal number in its range")
        return basis_points
    if name in _IDS:
        return value.lower()
    if name in _TEXTS and "\0" in value:
        raise invalid(path, "must not contain NUL characters")
    return value


def _money(value: Any, path: str) -> Money:
    try:
        return from_money(value, field=path)
    except DomainError as error:
        if error.violations:
            raise
        violation = FieldViolation(field=f"{path}.currency_code", message=error.message)
        raise DomainError(
            error.reason, f"{violation.field}: {error.message}", metadata=error.metadata, violations=(violation,)
        ) from None


def price_tier(tier: PriceTier) -> price_tier_pb2.PriceTier:
    """Give a tier as the contract's PriceTier."""
    terms = tier.terms
    message = price_tier_pb2.PriceTier(
        id=tier.id,
        organization_id=tier.organization_id,
        event_id=tier.event_id,
        tax_rate=rate_string(terms.tax_rate_basis_points),
        version=tier.version,
        create_time=to_timestamp(tier.create_time),
        update_time=to_timestamp(tier.update_time),
        etag=tier.etag,
    )
    if tier.delete_time is not None:
        message.delete_time.CopyFrom(to_timestamp(tier.delete_time))
    if terms.group_discount_basis_points is not None:
        message.group_discount_percent = percent_string(terms.group_discount_basis_points)
    for name in (*_IDS, *_TEXTS, *_PLAIN):
        value = getattr(terms, name)
        if value is not None:
            setattr(message, name, value)
    for name in MONEY_FIELDS:
        minor = getattr(terms, name)
        if minor is not None:
            getattr(message, name).CopyFrom(to_money(Money(minor, terms.currency_code)))
    for name in _TIMES:
        time = getattr(terms, name)
        if time is not None:
            getattr(message, name).CopyFrom(to_timestamp(time))
    return message


def price_breakdown(price: Breakdown) -> locked_price_pb2.PriceBreakdown:
    """Give a computed price as the contract's PriceBreakdown."""

    def money(minor: int) -> Any:
        return to_money(Money(minor, price.currency_code))

    return locked_price_pb2.PriceBreakdown(
        quantity=price.quantity,
        unit_price=money(price.unit_price),
        base=money(price.base),
        discount=money(price.discount),
        service_fee=money(price.service_fee),
        facility_fee=money(price.facility_fee),
        subtotal=money(price.subtotal),
        tax=money(price.tax),
        tax_rate=rate_string(price.tax_rate_basis_points),
        tax_inclusive=price.tax_inclusive,
        total=money(price.total),
        per_ticket=money(price.per_ticket),
        steps=[
            locked_price_pb2.PriceStep(
                kind=locked_price_pb2.PriceStep.Kind.Value(step.kind.value),
                amount=money(step.amount),
                detail=step.detail,
            )
            for step in price.steps
        ],
    )


def lock_line(line: quote_service_pb2.LockPriceLine) -> LockLine:
    """Read a line of LockPrices; ids in their canonical lower-case form."""
    earlier = None
    if line.HasField("price_tier_version"):
        lock_time = to_datetime(line.price_lock_time, field="price_lock_time")
        earlier = EarlierLock(version=line.price_tier_version, lock_time=lock_time)
    return LockLine(
        line.price_tier_id.lower(),
        line.organization_id.lower(),
        line.event_id.lower(),
        line.section_id.lower(),
        line.schedule_id.lower() or None,
        line.quantity,
        earlier,
    )


def price_refusal(refusal: PriceRefusal) -> quote_service_pb2.LockPriceOutcome:
    """Give why a line got no price."""
    return quote_service_pb2.LockPriceOutcome(
        refusal=quote_service_pb2.PriceRefusal(reason=_reason(refusal.reason), metadata=refusal.metadata)
    )


def price_lock(outcome: PriceLock, price: locked_price_pb2.PriceBreakdown) -> quote_service_pb2.LockPriceOutcome:
    """Give the lock of a line, with its price as `price_breakdown` gives it."""
    tier, terms = outcome.tier, outcome.tier.terms
    lock = quote_service_pb2.PriceLock(
        price=locked_price_pb2.LockedPrice(
            price_tier_id=tier.price_tier_id,
            price_tier_version=tier.version,
            price_tier_name=terms.name,
            breakdown=price,
            lock_time=to_timestamp(outcome.lock_time),
        ),
        expire_time=to_timestamp(outcome.expire_time),
    )
    if not outcome.again:
        lock.max_per_order = terms.max_per_order or 0
        lock.max_per_customer = terms.max_per_customer or 0
        _set_window(lock, terms)
    return quote_service_pb2.LockPriceOutcome(lock=lock)


def _set_window(lock: quote_service_pb2.PriceLock, terms: PriceTerms) -> None:
    if terms.sales_start_time is not None:
        lock.sales_start_time.CopyFrom(to_timestamp(terms.sales_start_time))
    if terms.sales_end_time is not None:
        lock.sales_end_time.CopyFrom(to_timestamp(terms.sales_end_time))


def _reason(reason: Reason) -> error_reason_pb2.Error.Reason.ValueType:
    return error_reason_pb2.Error.Reason.Value(reason.value)
