"""Creating, changing and reading price tiers, inside a given transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.common import idempotency, outbox
from holdfast.common.errors import DomainError, Reason
from holdfast.pricing import messages
from holdfast.pricing.domain.price_tiers import PriceTerms, PriceTier
from holdfast.pricing.domain.terms import TermsChange, revise_terms
from holdfast.pricing.store import clock, price_tiers
from holdfast.pricing.store.tables import SCHEMA

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.pricing.store.price_tiers import Listing, PageCursor


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, and the key by which a repetition of the request is recognized."""

    subject: str
    key: RequestKey | None


@dataclass(frozen=True, slots=True)
class Written:
    """A tier after a write; `replayed` when an earlier request with the same key made it so."""

    price_tier: PriceTier
    replayed: bool


@dataclass(frozen=True, slots=True)
class PriceTierPage:
    """A page of an event's tiers; `more` tells that there are others after it."""

    price_tiers: list[PriceTier]
    more: bool
    total: int | None
    read_time: datetime


async def find_replayed(transaction: Transaction, key: RequestKey | None) -> PriceTier | None:
    """Give the tier that this request wrote before, None when it is new. Raises IDEMPOTENCY_KEY_REUSED."""
    price_tier_id = await idempotency.replayed(transaction, key)
    return None if price_tier_id is None else (await _read(transaction, price_tier_id))[0]


async def create_price_tier(
    transaction: Transaction, *, price_tier_id: str, event_id: str, terms: PriceTerms, author: Author
) -> Written:
    """Add a tier to an event whose parts are known to belong together. Raises NAME_TAKEN, IDEMPOTENCY_KEY_REUSED."""
    earlier = await find_replayed(transaction, author.key)
    if earlier is not None:
        return Written(earlier, replayed=True)
    now = await clock.read_time(transaction)
    tier = PriceTier(
        id=price_tier_id,
        organization_id=transaction.require_organization(),
        event_id=event_id,
        terms=terms,
        version=1,
        create_time=now,
        update_time=now,
    )
    await price_tiers.add(transaction, [tier], actor=author.subject)
    await _publish(transaction, tier, author.key)
    return Written(tier, replayed=False)


async def update_price_tier(
    transaction: Transaction, *, price_tier_id: str, change: TermsChange, etag: str, author: Author
) -> Written:
    """Change a tier; a change that changes something is a new version, one that does not leaves it as it is.

    An `etag` that is not empty must be the tier's. Raises PRICE_TIER_NOT_FOUND, ETAG_MISMATCH, NAME_TAKEN,
    IDEMPOTENCY_KEY_REUSED, and what `revise_terms` raises.
    """
    earlier = await find_replayed(transaction, author.key)
    if earlier is not None:
        return Written(earlier, replayed=True)
    tier = await price_tiers.lock(transaction, price_tier_id)
    if tier is None:
        raise not_found(price_tier_id)
    if etag and etag != tier.etag:
        raise DomainError(
            Reason.ETAG_MISMATCH, "the price tier changed since it was read", metadata={"etag": tier.etag}
        )
    terms = revise_terms(tier.terms, change)
    if terms == tier.terms:
        await idempotency.record(transaction, author.key, tier.id)
        return Written(tier, replayed=False)
    now = max(await clock.read_time(transaction), tier.update_time)
    changed = replace(tier, terms=terms, version=tier.version + 1, update_time=now)
    await price_tiers.change(transaction, changed, actor=author.subject)
    await _publish(transaction, changed, author.key)
    return Written(changed, replayed=False)


async def get_price_tier(
    transaction: Transaction, price_tier_id: str, *, only_visible: bool
) -> tuple[PriceTier, datetime]:
    """Read a tier and the time of the reading. Raises PRICE_TIER_NOT_FOUND, also for a tier that is not visible."""
    tier, read_time = await _read(transaction, price_tier_id)
    if only_visible and not tier.terms.visible:
        raise not_found(price_tier_id)
    return tier, read_time


async def list_price_tiers(
    transaction: Transaction, listing: Listing, *, after: PageCursor | None, limit: int, with_total: bool
) -> PriceTierPage:
    """Read a page of an event's tiers by display order, then creation."""
    read_time = await clock.read_time(transaction)
    rows = await price_tiers.page(transaction, listing, after=after, limit=limit + 1)
    total = await price_tiers.count(transaction, listing) if with_total else None
    return PriceTierPage(price_tiers=rows[:limit], more=len(rows) > limit, total=total, read_time=read_time)


def not_found(price_tier_id: str) -> DomainError:
    """Give the error of a tier that the organization does not have, or that the caller may not see."""
    return DomainError(
        Reason.PRICE_TIER_NOT_FOUND, "there is no such price tier", metadata={"price_tier_id": price_tier_id}
    )


async def _read(transaction: Transaction, price_tier_id: str) -> tuple[PriceTier, datetime]:
    found = await price_tiers.find(transaction, price_tier_id)
    if found is None:
        raise not_found(price_tier_id)
    return found


async def _publish(transaction: Transaction, tier: PriceTier, key: RequestKey | None) -> None:
    await outbox.append(transaction, messages.price_tier_changed(tier), schema=SCHEMA)
    await idempotency.record(transaction, key, tier.id)
