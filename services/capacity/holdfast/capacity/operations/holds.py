"""Placing, confirming, releasing and reading holds, each inside a given transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.ending import Confirmation, check_etag, confirm, release
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.placing import place
from holdfast.capacity.engine.unit import close_inventory, open_inventory
from holdfast.capacity.operations.access import event_not_found, hold_not_found
from holdfast.capacity.store import holds, inventories, sales, sections
from holdfast.common import idempotency
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.holds import Hold, Sale
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.placing import PlaceRequest
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey

RECLAIM_MAX = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """A hold as it stands after a call, what the call sold, and the version and time of that."""

    hold: Hold
    version: int
    at: datetime
    sale: Sale | None = None
    replayed: bool = False
    expired: int = 0


def _as_it_stands(inventory: Inventory, hold: Hold) -> Hold:
    return hold.seen(inventory.at, inventory.voids)


async def find_replay(transaction: Transaction, request: PlaceRequest) -> Outcome | None:
    """Return the hold that the same request placed before; IDEMPOTENCY_KEY_REUSED when its content was another."""
    hold = await holds.by_request(
        transaction, hold_id=request.hold_id, placed_by=request.placed_by, request_id=request.request_id
    )
    if hold is None:
        return None
    if hold.request_hash != request.request_hash:
        raise DomainError(
            Reason.IDEMPOTENCY_KEY_REUSED,
            "this request_id was used with other content",
            metadata={"request_id": request.request_id},
        )
    stored = await inventories.read(transaction, hold.event_id)
    at = await inventories.clock(transaction, at_least=None if stored is None else stored.last_change_time)
    voids = await inventories.open_voids(transaction, hold.event_id)
    return Outcome(hold=hold.seen(at, voids), version=0 if stored is None else stored.version, at=at, replayed=True)


async def place_hold(transaction: Transaction, event_id: str, request: PlaceRequest) -> Outcome:
    """Place a hold. The event's lock makes concurrent duplicates of a request wait and find the first one's hold."""
    inventory = await open_inventory(transaction, event_id, only=[line.section_id for line in request.lines])
    if inventory is None:
        raise event_not_found(event_id)
    replay = await find_replay(transaction, request)
    if replay is not None:
        return replay
    section_ids = list(inventory.sections)
    inventory.expired = await _with_their_sections(
        transaction,
        inventory,
        await holds.expired(transaction, event_id, inventory.at, section_ids=section_ids, limit=RECLAIM_MAX),
    )
    inventory.next_expire_time = await holds.next_expire_time(transaction, event_id)
    tiers = {line.lock.price.price_tier_id for line in request.lines if line.lock is not None}
    claimed = await holds.claimed(
        transaction,
        event_id=event_id,
        customer_id=request.customer_id,
        price_tier_ids=sorted(tiers),
        at=inventory.at,
    )
    hold = place(inventory, request, claimed=claimed)
    expired = len(inventory.changed_holds)
    version = await close_inventory(transaction, inventory)
    return Outcome(hold=hold, version=version, at=inventory.at, expired=expired)


async def _with_their_sections(transaction: Transaction, inventory: Inventory, expired: Sequence[Hold]) -> list[Hold]:
    """Read the other sections of expired holds, too: ending a hold frees all of its places."""
    missing = {line.section_id for hold in expired for line in hold.lines} - inventory.sections.keys()
    if missing:
        inventory.sections |= await sections.of_event(transaction, inventory.event_id, only=sorted(missing))
    return list(expired)


async def confirm_hold(
    transaction: Transaction, hold_id: str, request: Confirmation, *, viewer: Viewer, key: RequestKey | None
) -> Outcome:
    """Sell a hold's places; a hold that was confirmed answers its sale again."""
    inventory, hold = await _open(transaction, hold_id, viewer)
    replayed = await idempotency.replayed(transaction, key)
    if hold.state is HoldState.CONFIRMED:
        if replayed is None:
            check_etag(hold, request.etag)
        sale = await sales.of_hold(transaction, hold_id)
        return Outcome(hold=hold, version=inventory.version, at=inventory.at, sale=sale, replayed=replayed is not None)
    confirmed, sale = confirm(inventory, hold, request)
    await idempotency.record(transaction, key, hold_id)
    version = await close_inventory(transaction, inventory)
    return Outcome(hold=confirmed, version=version, at=inventory.at, sale=sale)


async def release_hold(
    transaction: Transaction, hold_id: str, *, etag: str, viewer: Viewer, key: RequestKey | None
) -> Outcome:
    """Give a hold's places back; one that ended otherwise than by a sale is answered as it is."""
    inventory, hold = await _open(transaction, hold_id, viewer)
    replayed = await idempotency.replayed(transaction, key)
    if replayed is not None:
        seen = _as_it_stands(inventory, hold)
        return Outcome(hold=seen, version=inventory.version, at=inventory.at, replayed=True)
    released = release(inventory, hold, etag=etag, manages=viewer.manages)
    if inventory.dirty:
        await idempotency.record(transaction, key, hold_id)
    version = await close_inventory(transaction, inventory)
    return Outcome(hold=released, version=version, at=inventory.at)


async def _open(transaction: Transaction, hold_id: str, viewer: Viewer) -> tuple[Inventory, Hold]:
    """Lock the event of a hold and read both; HOLD_NOT_FOUND also when it is not the caller's."""
    event_id = await holds.find_event(transaction, hold_id)
    inventory = None if event_id is None else await open_inventory(transaction, event_id)
    hold = None if inventory is None else await holds.get(transaction, hold_id)
    if inventory is None or hold is None or not viewer.acts(hold):
        raise hold_not_found(hold_id)
    return inventory, hold


async def get_hold(transaction: Transaction, hold_id: str, *, viewer: Viewer) -> Outcome:
    """Read a hold as it stands now."""
    hold = await holds.get(transaction, hold_id)
    if hold is None or not viewer.sees(hold):
        raise hold_not_found(hold_id)
    stored = await inventories.read(transaction, hold.event_id)
    at = await inventories.clock(transaction, at_least=None if stored is None else stored.last_change_time)
    voids = await inventories.open_voids(transaction, hold.event_id)
    return Outcome(hold=hold.seen(at, voids), version=0 if stored is None else stored.version, at=at)
