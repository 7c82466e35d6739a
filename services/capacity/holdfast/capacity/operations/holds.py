"""Placing, confirming, releasing and reading holds, each inside a given transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.ending import Confirmation, check_etag, check_total, confirm, release
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.placing import default_schedule, place, wanted_places
from holdfast.capacity.engine.unit import close_inventory, controls_of, open_inventory
from holdfast.capacity.operations.access import event_not_found, hold_not_found
from holdfast.capacity.operations.reclaiming import load_expired
from holdfast.capacity.store import holds, inventories, sales
from holdfast.common import idempotency
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.holds import Hold, Sale
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.placing import PlaceRequest
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class Outcome:
    """A hold as it stands after a call, what the call sold, and the version and time of that."""

    hold: Hold
    version: int
    at: datetime
    sale: Sale | None = None
    replayed: bool = False
    expired: int = 0


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
    return await _as_it_stands(transaction, hold, replayed=True)


async def _as_it_stands(transaction: Transaction, hold: Hold, *, replayed: bool = False) -> Outcome:
    stored = await inventories.read(transaction, hold.event_id)
    if stored is None:
        raise RuntimeError("a hold has an event")
    voids = await inventories.open_voids(transaction, [hold.event_id]) if stored.voided else {}
    seen = hold.seen(stored.at, voids.get(hold.event_id, ()))
    return Outcome(hold=seen, version=stored.version, at=stored.at, replayed=replayed)


async def place_hold(transaction: Transaction, event_id: str, request: PlaceRequest) -> Outcome:
    """Place a hold. The event's lock makes concurrent duplicates of a request wait and find the first one's hold.

    Raises TidyFirst when commits of their own must free places before.
    """
    wanted = wanted_places(request.lines)
    inventory = await open_inventory(transaction, event_id, only=sorted(wanted))
    if inventory is None:
        raise event_not_found(event_id)
    replay = await find_replay(transaction, request)
    if replay is not None:
        return replay
    await load_expired(transaction, inventory, wanted)
    tiers = {line.lock.price.price_tier_id for line in request.lines if line.lock is not None and line.lock.limited}
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


async def default_schedule_id(transaction: Transaction, event_id: str, *, field: str) -> str | None:
    """Find the date that an event-wide section is for when none is named; VALIDATION_FAILED on `field` if several."""
    stored = await inventories.read(transaction, event_id)
    if stored is None:
        raise event_not_found(event_id)
    schedule = default_schedule(controls_of(stored.controls), stored.at, field=field)
    return None if schedule is None else schedule.schedule_id


async def confirm_hold(
    transaction: Transaction, hold_id: str, request: Confirmation, *, viewer: Viewer, key: RequestKey | None
) -> Outcome:
    """Sell a hold's places; a hold that was confirmed answers its sale again."""
    inventory, hold = await _open(transaction, hold_id, viewer)
    replayed = await idempotency.replayed(transaction, key)
    if hold.state is HoldState.CONFIRMED:
        if replayed is None:
            check_etag(hold, request.etag)
            check_total(hold, request.expected_total)
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
        seen = hold.seen(inventory.at, inventory.voids)
        return Outcome(hold=seen, version=inventory.version, at=inventory.at, replayed=True)
    released = release(inventory, hold, etag=etag, manages=viewer.manages)
    if inventory.dirty:
        await idempotency.record(transaction, key, hold_id)
    version = await close_inventory(transaction, inventory)
    return Outcome(hold=released, version=version, at=inventory.at)


async def _open(transaction: Transaction, hold_id: str, viewer: Viewer) -> tuple[Inventory, Hold]:
    """Lock the event of a hold and read both; HOLD_NOT_FOUND also when it is not the caller's."""
    place_of = await holds.place_of(transaction, hold_id)
    if place_of is None:
        raise hold_not_found(hold_id)
    event_id, section_ids = place_of
    inventory = await open_inventory(transaction, event_id, only=section_ids)
    hold = await holds.get(transaction, hold_id)
    if inventory is None or hold is None or not viewer.acts(hold):
        raise hold_not_found(hold_id)
    return inventory, hold


async def get_hold(transaction: Transaction, hold_id: str, *, viewer: Viewer) -> Outcome:
    """Read a hold as it stands now."""
    hold = await holds.get(transaction, hold_id)
    if hold is None or not viewer.sees(hold):
        raise hold_not_found(hold_id)
    return await _as_it_stands(transaction, hold)
