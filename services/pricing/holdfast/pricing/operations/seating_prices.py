"""The price tiers of sections that a seating is about to make, inside a given transaction: all of them, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.common import idempotency, outbox
from holdfast.pricing import messages
from holdfast.pricing.domain.price_tiers import PriceTerms, PriceTier
from holdfast.pricing.store import clock, price_tiers
from holdfast.pricing.store.tables import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey


async def add_seating_prices(
    transaction: Transaction, *, event_id: str, terms_of: Mapping[str, PriceTerms], actor: str, key: RequestKey
) -> bool:
    """Make tiers by their ids; tells whether that is a repetition. Raises NAME_TAKEN, IDEMPOTENCY_KEY_REUSED.

    One that was withdrawn before it came is a repetition too. The ids tell it apart when the key is forgotten already.
    """
    if await idempotency.replayed(transaction, key) is not None:
        return True
    if await price_tiers.any_known(transaction, list(terms_of)):
        return True
    now = await clock.read_time(transaction)
    tiers = [
        PriceTier(
            id=price_tier_id,
            organization_id=transaction.require_organization(),
            event_id=event_id,
            terms=terms,
            version=1,
            create_time=now,
            update_time=now,
        )
        for price_tier_id, terms in terms_of.items()
    ]
    await price_tiers.add(transaction, tiers, actor=actor)
    await _publish(transaction, tiers)
    await idempotency.record(transaction, key, tiers[0].id)
    return False


async def withdraw_seating_prices(
    transaction: Transaction, price_tier_ids: Sequence[str], *, actor: str, key: RequestKey
) -> None:
    """Delete tiers that were made with this key, and let none be made with it any more. Raises IDEMPOTENCY_KEY_REUSED.

    Their sections never were, so nothing can have been sold at them.
    """
    if await idempotency.replayed(transaction, key) is None:
        await idempotency.record(transaction, key, price_tier_ids[0])
    now = await clock.read_time(transaction)
    deleted = await price_tiers.delete(transaction, price_tier_ids, now=now, actor=actor)
    if deleted:
        await _publish(transaction, deleted)


async def _publish(transaction: Transaction, tiers: Sequence[PriceTier]) -> None:
    await outbox.append(transaction, *map(messages.price_tier_changed, tiers), schema=SCHEMA)
