"""Computing and locking prices, inside a given transaction. Nothing is written: the answer is the lock."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from holdfast.pricing.domain.calculator import Breakdown, calculate
from holdfast.pricing.domain.price_locks import LockLine, PriceLock, PriceRefusal, lock_price
from holdfast.pricing.operations.price_tiers import get_price_tier
from holdfast.pricing.store import tier_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.pricing.domain.price_tiers import PriceTier, TierVersion
    from holdfast.pricing.store.tier_versions import VersionKey

VERSIONS_KEPT_MAX: Final = 10_000


class TierVersions:
    """The versions of tiers that a process used last, at most `limit`, oldest out first. None can become stale."""

    def __init__(self, limit: int = VERSIONS_KEPT_MAX) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, VersionKey], TierVersion] = OrderedDict()

    def of(self, organization_id: str, keys: Iterable[VersionKey]) -> dict[VersionKey, TierVersion]:
        """Give those of an organization's versions that are kept."""
        found = {}
        for key in keys:
            tier = self._kept.get((organization_id, key))
            if tier is not None:
                self._kept.move_to_end((organization_id, key))
                found[key] = tier
        return found

    def keep(self, tiers: Iterable[TierVersion]) -> None:
        """Take over what was read."""
        for tier in tiers:
            self._kept[tier.organization_id, (tier.price_tier_id, tier.version)] = tier
        while len(self._kept) > self._limit:
            self._kept.popitem(last=False)


async def calculate_price(
    transaction: Transaction, price_tier_id: str, *, quantity: int, only_visible: bool
) -> tuple[PriceTier, Breakdown, datetime]:
    """Compute what tickets of a tier cost now. Raises PRICE_TIER_NOT_FOUND."""
    tier, now = await get_price_tier(transaction, price_tier_id, only_visible=only_visible)
    return tier, calculate(tier.terms, quantity=quantity, now=now), now


async def lock_prices(
    transaction: Transaction, lines: Sequence[LockLine], *, known: TierVersions
) -> list[PriceLock | PriceRefusal]:
    """Decide lines of the transaction's organization, in their order, at one instant.

    Which versions are in force is read every time: a price that was changed anywhere before this call is the price that
    is locked. What a version says never changes, so it is read only if it is not `known`.
    """
    now, in_force = await tier_versions.in_force(
        transaction, {line.price_tier_id for line in lines if not line.earlier}
    )
    keys = [
        (line.price_tier_id, line.earlier.version if line.earlier else in_force.get(line.price_tier_id, 0))
        for line in lines
    ]
    tiers = await _versions(transaction, {key for key in keys if key[1]}, known=known)
    return [lock_price(line, tiers.get(key), now=now) for line, key in zip(lines, keys, strict=True)]


async def _versions(
    transaction: Transaction, keys: set[VersionKey], *, known: TierVersions
) -> dict[VersionKey, TierVersion]:
    organization_id = transaction.require_organization()
    found = known.of(organization_id, keys)
    unknown = keys - found.keys()
    if unknown:
        read = await tier_versions.read(transaction, unknown)
        known.keep(read.values())
        found |= read
    return found
