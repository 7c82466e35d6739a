"""Placing, confirming, releasing and reading holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.ending import Confirmation, check_etag, check_total, confirm, release
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.placing import default_schedule, place
from holdfast.capacity.engine.unit import key_reused
from holdfast.capacity.operations.access import event_not_found, hold_not_found
from holdfast.capacity.store import holds, inventories

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.domain.placing import PlaceRequest
    from holdfast.capacity.domain.sales import Sale
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
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


async def find_replay(transaction: Transaction, request: PlaceRequest) -> Outcome | None:
    """Return the hold that the same request placed before; IDEMPOTENCY_KEY_REUSED when its content was another."""
    hold = await holds.by_request(transaction, placed_by=request.placed_by, request_id=request.request_id)
    if hold is None:
        return None
    if hold.request_hash != request.request_hash:
        raise key_reused(request.request_id)
    return await _as_it_stands(transaction, hold, replayed=True)


async def _as_it_stands(transaction: Transaction, hold: Hold, *, replayed: bool = False) -> Outcome:
    stored = await inventories.read(transaction, hold.event_id)
    if stored is None:
        raise RuntimeError("a hold has an event")
    voids = await inventories.open_voids(transaction, [hold.event_id]) if stored.voided else {}
    seen = hold.seen(stored.at, voids.get(hold.event_id, ()))
    return Outcome(hold=seen, version=stored.version, at=stored.at, replayed=replayed)


@dataclass(frozen=True, slots=True)
class PlaceHold:
    """Places a hold. The event's lock makes concurrent duplicates of a request wait and find the first one's hold."""

    request: PlaceRequest

    def need(self, needs: Needs) -> None:
        """Ask for the sections and blocks of its lines, its key, and what the customer has of tiers with a limit."""
        request = self.request
        for line in request.lines:
            needs.sections.add(line.section_id)
            if line.block_id is not None:
                needs.want_of_block(line.block_id, line.quantity)
            elif not line.labels:
                needs.want(line.section_id, line.quantity)
            if line.labels:
                needs.want_seats(line.section_id, line.labels)
            if line.lock is not None and line.lock.limited:
                needs.claimed.add((request.customer_id, line.lock.price.price_tier_id))
        if request.request_id:
            needs.hold_keys.add((request.placed_by, request.request_id))
        elif needs.again:
            needs.holds.add(request.hold_id)

    def decide(self, unit: Unit) -> Outcome:
        """Place it, or answer what the same request placed before."""
        inventory, request = unit.inventory, self.request
        known = request.hold_id
        if request.request_id:
            known = unit.hold_of_key.get((request.placed_by, request.request_id), known)
        hold = inventory.holds.now.get(known)
        if hold is not None:
            if hold.request_hash != request.request_hash:
                raise key_reused(request.request_id)
            seen = hold.seen(inventory.at, inventory.voids)
            # The same id: an earlier attempt of this very call, whose commit was not known to have succeeded.
            return Outcome(seen, inventory.version, inventory.at, replayed=hold.hold_id != request.hold_id)
        hold = place(inventory, request)
        if request.request_id:
            unit.hold_of_key[request.placed_by, request.request_id] = hold.hold_id
        return Outcome(hold, inventory.next_version, inventory.at)


async def default_schedule_id(transaction: Transaction, event_id: str, *, field: str) -> str | None:
    """Find the date that an event-wide section is for when none is named; VALIDATION_FAILED on `field` if several."""
    stored = await inventories.read(transaction, event_id)
    if stored is None:
        raise event_not_found(event_id)
    schedule = default_schedule(convert.stored_controls(stored.controls), stored.at, field=field)
    return None if schedule is None else schedule.schedule_id


@dataclass(frozen=True, slots=True)
class ConfirmHold:
    """Sells a hold's places; a hold that was confirmed answers its sale again."""

    hold_id: str
    request: Confirmation
    viewer: Viewer
    key: RequestKey | None

    def need(self, needs: Needs) -> None:
        """Ask for the hold, its sale, its sections."""
        needs.holds.add(self.hold_id)
        if self.key is not None:
            needs.keys.add(self.key)

    def decide(self, unit: Unit) -> Outcome:
        """Sell, or answer the sale that there is."""
        inventory = unit.inventory
        hold = find_hold(unit, self.hold_id, self.viewer)
        replayed = unit.replayed(self.key) is not None
        if hold.state is HoldState.CONFIRMED:
            own = hold.sale_id == self.request.sale_id  # an earlier attempt of this very call
            if not replayed and not own:
                check_etag(hold, self.request.etag)
                check_total(hold, self.request.expected_total)
            sale = inventory.sales.now[hold.sale_id or ""]
            return Outcome(hold, inventory.version, inventory.at, sale=sale, replayed=replayed and not own)
        confirmed, sale = confirm(inventory, hold, self.request)
        unit.record(self.key, self.hold_id)
        return Outcome(confirmed, inventory.next_version, inventory.at, sale=sale)


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """Gives a hold's places back; one that ended otherwise than by a sale is answered as it is."""

    hold_id: str
    etag: str
    viewer: Viewer
    key: RequestKey | None

    def need(self, needs: Needs) -> None:
        """Ask for the hold, its sections."""
        needs.holds.add(self.hold_id)
        if self.key is not None:
            needs.keys.add(self.key)

    def decide(self, unit: Unit) -> Outcome:
        """Give them back."""
        inventory = unit.inventory
        hold = find_hold(unit, self.hold_id, self.viewer)
        if unit.replayed(self.key) is not None:
            seen = hold.seen(inventory.at, inventory.voids)
            return Outcome(seen, inventory.version, inventory.at, replayed=True)
        released = release(inventory, hold, etag=self.etag, manages=self.viewer.manages)
        if inventory.holds.now[self.hold_id] is hold:
            return Outcome(released, inventory.version, inventory.at)
        unit.record(self.key, self.hold_id)
        return Outcome(released, inventory.next_version, inventory.at)


def find_hold(unit: Unit, hold_id: str, viewer: Viewer) -> Hold:
    """Find a hold to be changed; HOLD_NOT_FOUND also when it is not the caller's."""
    hold = unit.inventory.holds.now.get(hold_id)
    if hold is None or not viewer.acts(hold):
        raise hold_not_found(hold_id)
    return hold


async def get_hold(transaction: Transaction, hold_id: str, *, viewer: Viewer) -> Outcome:
    """Read a hold as it stands now."""
    hold = await holds.get(transaction, hold_id)
    if hold is None or not viewer.sees(hold):
        raise hold_not_found(hold_id)
    return await _as_it_stands(transaction, hold)
