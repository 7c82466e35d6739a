"""Computing and locking prices, inside a given transaction. Nothing is written: the answer is the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.pricing.domain.calculator import Breakdown, calculate
from holdfast.pricing.domain.price_locks import LockLine, PriceLock, PriceRefusal, lock_price
from holdfast.pricing.operations.price_tiers import get_price_tier
from holdfast.pricing.store import price_tiers

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.pricing.domain.price_tiers import PriceTier


async def calculate_price(
    transaction: Transaction, price_tier_id: str, *, quantity: int, only_visible: bool
) -> tuple[PriceTier, Breakdown, datetime]:
    """Compute what tickets of a tier cost now. Raises PRICE_TIER_NOT_FOUND."""
    tier, now = await get_price_tier(transaction, price_tier_id, only_visible=only_visible)
    return tier, calculate(tier.terms, quantity=quantity, now=now), now


async def lock_prices(
    transaction: Transaction, lines: Collection[LockLine]
) -> dict[LockLine, PriceLock | PriceRefusal]:
    """Decide different lines of the transaction's organization, all at one instant and over one reading of the tiers.

    Reads the rows themselves: a price that was changed anywhere before this call is the price that is locked.
    """
    now, tiers = await price_tiers.find(transaction, [line.price_tier_id for line in lines])
    return {line: lock_price(line, tiers.get(line.price_tier_id), now=now) for line in lines}
