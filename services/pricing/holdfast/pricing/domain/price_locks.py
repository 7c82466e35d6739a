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

    from holdfast.pricing.domain.price_tiers import PriceTerms, TierVersion

PRICE_LOCK_TTL: Final = timedelta(seconds=30)
"""How long a lock is good for a hold that is still to be placed."""


@dataclass(frozen=True, slots=True)
class EarlierLock:
    """What a line's earlier lock was made of: a version of the tier, and the moment whose price it was."""

    version: int
    lock_time: datetime


@dataclass(frozen=True, slots=True)
class LockLine:
    """A line whose price shall be locked: so many places of a section, for a date or for all.

    With `earlier`, what is left of a line that was locked before.
    """

    price_tier_id: str
    organization_id: str
    event_id: str
    section_id: str
    schedule_id: str | None
    quantity: int
    earlier: EarlierLock | None = None


@dataclass(frozen=True, slots=True)
class PriceLock:
    """A price good for a hold that is placed not after `expire_time`, computed as of `lock_time`.

    `again` when it is of a line that was locked before: the tier's window and limits are then not asked again.
    """

    tier: TierVersion
    quantity: int
    lock_time: datetime
    expire_time: datetime
    again: bool = False

    def breakdown(self) -> Breakdown:
        """Compute the price, as it is at `lock_time`."""
        return calculate(self.tier.terms, quantity=self.quantity, now=self.lock_time)

    def same_lock(self) -> Hashable:
        """Give what is equal for two locks of one organization exactly when they say the same."""
        tier = self.tier
        return tier.price_tier_id, tier.version, self.quantity, self.lock_time, self.expire_time, self.again

    def same_price(self) -> Hashable:
        """Give what is equal for two locks exactly when their prices are computed from the same.

        A version of a tier never changes, and time matters only by which of its prices is in force.
        """
        tier = self.tier
        phase = price_phase(tier.terms, self.lock_time)
        return tier.organization_id, tier.price_tier_id, tier.version, self.quantity, phase


@dataclass(frozen=True, slots=True)
class PriceRefusal:
    """Why a line gets no price: PRICE_TIER_NOT_FOUND, PRICE_TIER_NOT_APPLICABLE or SALES_WINDOW_CLOSED."""

    reason: Reason
    metadata: Mapping[str, str]


def lock_price(line: LockLine, tier: TierVersion | None, *, now: datetime) -> PriceLock | PriceRefusal:
    """Decide one line at `now`.

    `tier` is the tier that the line names, in the version that it names or else in force; None if its organization has
    no such. What is left of a line that was locked before keeps the price in force then, whatever became of the tier.
    """
    earlier = line.earlier
    if tier is None:
        metadata = {"price_tier_id": line.price_tier_id}
        if earlier is not None:
            metadata["price_tier_version"] = str(earlier.version)
        return PriceRefusal(Reason.PRICE_TIER_NOT_FOUND, metadata)
    terms = tier.terms
    if (
        not (terms.active or earlier)
        or tier.event_id != line.event_id
        or terms.section_id not in (None, line.section_id)
        or terms.schedule_id not in (None, line.schedule_id)
    ):
        return PriceRefusal(
            Reason.PRICE_TIER_NOT_APPLICABLE,
            {"price_tier_id": line.price_tier_id, "section_id": line.section_id},
        )
    expire_time = now + PRICE_LOCK_TTL
    if earlier is not None:
        return PriceLock(tier, line.quantity, min(earlier.lock_time, now), expire_time, again=True)
    if not _on_sale(terms, now):
        return PriceRefusal(Reason.SALES_WINDOW_CLOSED, _window(line, terms, now))
    return PriceLock(tier, line.quantity, now, expire_time)


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
