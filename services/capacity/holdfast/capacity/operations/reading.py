"""Reading sections' places and lists of holds, each inside a given transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.store import blocks, holds, inventories, sales, sections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.holds import Hold, HoldState
    from holdfast.capacity.store.holds import Cursor
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class HoldFilter:
    """Which holds a list shows; None and () do not limit."""

    event_id: str | None = None
    customer_id: str | None = None
    states: tuple[HoldState, ...] = ()
    order_reference: str | None = None
    belonging_to: str | None = None


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Holds as they stand at a time."""

    holds: tuple[Hold, ...]
    at: datetime
    total: int | None


async def places_of_sections(transaction: Transaction, section_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Return the event and date of sections; those that do not exist are left out."""
    return await sections.places(transaction, section_ids)


async def event_of_hold(transaction: Transaction, hold_id: str) -> str | None:
    """Return the event of a hold; None when there is no such hold."""
    return (await holds.events_of(transaction, [hold_id])).get(hold_id)


async def event_of_block(transaction: Transaction, block_id: str) -> str | None:
    """Return the event of a block; None when there is no such block."""
    return await blocks.event_of(transaction, block_id)


async def event_of_sale(transaction: Transaction, sale_id: str) -> str | None:
    """Return the event of a sale; None when there is no such sale."""
    return await sales.event_of(transaction, sale_id)


async def list_holds(
    transaction: Transaction, wanted: HoldFilter, *, limit: int, after: Cursor | None, with_total: bool
) -> HoldPage:
    """Read a page of holds, newest first, each as it stands now."""
    at = await inventories.clock(transaction)
    filters = holds.filters(
        transaction,
        at,
        event_id=wanted.event_id,
        customer_id=wanted.customer_id,
        states=wanted.states,
        order_reference=wanted.order_reference,
        belonging_to=wanted.belonging_to,
    )
    found = await holds.page(transaction, filters=filters, limit=limit, after=after)
    voids = await inventories.open_voids(transaction, sorted({hold.event_id for hold in found}))
    return HoldPage(
        holds=tuple(hold.seen(at, voids.get(hold.event_id, ())) for hold in found),
        at=at,
        total=await holds.count(transaction, filters) if with_total else None,
    )
