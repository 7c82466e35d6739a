"""Whether a hold's line may have a tier's price, and which: the decision of LockPrices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import Reason
from holdfast.pricing.domain.calculator import Breakdown, calculate, price_phase
from holdfast.pricing.domain.times import instant

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from datetime import datetime

    from holdfast.pricing.domain.price_tiers import PriceTerms, PriceTier

PRICE_LOCK_TTL_SECONDS: Final = 30
"""How long a lock is good for a hold that is still to be placed."""


@dataclass(frozen=True, slots=True)
class LockLine:
    """A line whose price shall be locked: so many places of a section, for a date or for all."""

    price_tier_id: str
    organization_id: str
    event_id: str
    section_id: str
    schedule_id: str | None
    quantity: int


@dataclass(frozen=True, slots=True)
class PriceLock:
    """A price good for a hold that is placed not after `expire_time`."""

    price_tier: PriceTier
    quantity: int
    lock_time: datetime
    expire_time: datetime

    def breakdown(self) -> Breakdown:
        """Compute the price, as it is at `lock_time`."""
        return calculate(self.price_tier.terms, quantity=self.quantity, now=self.lock_time)

    def same_price(self) -> Hashable:
        """Give what is equal for two locks exactly when their prices are computed from the same.

        A version of a tier never changes, and time matters only by which of its prices is in force.
        """
        tier = self.price_tier
        phase = price_phase(tier.terms, self.lock_time)
        return tier.organization_id, tier.id, tier.version, self.quantity, phase


@dataclass(frozen=True, slots=True)
class PriceRefusal:
    """Why a line gets no price: PRICE_TIER_NOT_FOUND, PRICE_TIER_NOT_APPLICABLE or SALES_WINDOW_CLOSED."""

    reason: Reason
    metadata: Mapping[str, str]


def lock_price(line: LockLine, price_tier: PriceTier | None, *, now: datetime) -> PriceLock | PriceRefusal:
    """Decide one line at `now`. `price_tier` is the one that the line names, None if its organization has none."""
    if price_tier is None:
        return PriceRefusal(Reason.PRICE_TIER_NOT_FOUND, {"price_tier_id": line.price_tier_id})
    terms = price_tier.terms
    if (
        not terms.active
        or price_tier.event_id != line.event_id
        or terms.section_id not in (None, line.section_id)
        or terms.schedule_id not in (None, line.schedule_id)
    ):
        return PriceRefusal(
            Reason.PRICE_TIER_NOT_APPLICABLE,
            {"price_tier_id": line.price_tier_id, "section_id": line.section_id},
        )
    if not _on_sale(terms, now):
        return PriceRefusal(Reason.SALES_WINDOW_CLOSED, _window(line, terms, now))
    return PriceLock(
        price_tier=price_tier,
        quantity=line.quantity,
        lock_time=now,
        expire_time=now + timedelta(seconds=PRICE_LOCK_TTL_SECONDS),
    )


def _on_sale(terms: PriceTerms, now: datetime) -> bool:
    """Tell whether `now` is in the tier's window, which is inclusive at both ends."""
    started = terms.sales_start_time is None or now >= terms.sales_start_time
    ended = terms.sales_end_time is not None and now > terms.sales_end_time
    return started and not ended


def _window(line: LockLine, terms: PriceTerms, now: datetime) -> dict[str, str]:
    metadata = {"price_tier_id": line.price_tier_id}
    if terms.sales_start_time is not None:
        metadata["sales_start_time"] = instant(terms.sales_start_time)
        if now < terms.sales_start_time:
            metadata["next_change_time"] = instant(terms.sales_start_time)
    if terms.sales_end_time is not None:
        metadata["sales_end_time"] = instant(terms.sales_end_time)
    return metadata
