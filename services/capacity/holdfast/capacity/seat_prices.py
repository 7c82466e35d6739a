"""What the seats of a section cost now: asked of pricing with little patience; seats are shown without it too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.capacity import convert
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.api.pricing.v1 import price_tier_pb2
    from holdfast.capacity.domain.sections import Section
    from holdfast.capacity.outside import Outside
    from holdfast.common.money import Money

PATIENCE_SECONDS: Final = 0.05
TIERS_MAX: Final = 200
"""Price tiers of an event that are looked at, the first ones by `display_order`."""
_NOT_FOR_SALE: Final = frozenset(
    {Reason.PRICE_TIER_NOT_FOUND, Reason.PRICE_TIER_NOT_APPLICABLE, Reason.SALES_WINDOW_CLOSED}
)


async def cheapest_price(outside: Outside, organization_id: str, section: Section) -> Money | None:
    """Give what one ticket costs at the cheapest visible tier of a section, without fees and tax; None without a tier.

    Of tiers of several currencies only those in the first one's are compared. DEPENDENCY_UNAVAILABLE when pricing
    does not answer in time.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            tiers = await outside.price_tiers(
                organization_id, section.event_id, limit=TIERS_MAX, deadline_seconds=PATIENCE_SECONDS
            )
            prices = await asyncio.gather(
                *(_price(outside, organization_id, section, tier) for tier in tiers if _applies(tier, section))
            )
    except TimeoutError:
        raise DomainError(
            Reason.DEPENDENCY_UNAVAILABLE, "pricing did not answer in time", metadata={"dependency": "pricing"}
        ) from None
    found = [price for price in prices if price is not None]
    return min(
        (price for price in found if price.currency_code == found[0].currency_code),
        key=lambda price: price.minor,
        default=None,
    )


def _applies(tier: price_tier_pb2.PriceTier, section: Section) -> bool:
    of_date = section.schedule_id is None or tier.schedule_id in ("", section.schedule_id)
    return tier.visible and tier.section_id in ("", section.section_id) and of_date


async def _price(
    outside: Outside, organization_id: str, section: Section, tier: price_tier_pb2.PriceTier
) -> Money | None:
    line = quote_service_pb2.LockPriceLine(
        price_tier_id=tier.id,
        organization_id=organization_id,
        event_id=section.event_id,
        section_id=section.section_id,
        schedule_id=section.schedule_id or tier.schedule_id,
        quantity=1,
    )
    try:
        (lock,) = await outside.lock_prices(organization_id, [line])
    except DomainError as error:
        if error.reason in _NOT_FOR_SALE:
            return None
        raise
    return convert.unit_price(lock.price.body)
