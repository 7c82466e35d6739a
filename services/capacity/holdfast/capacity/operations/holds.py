"""Placing and reading holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity import convert
from holdfast.capacity.domain.placing import OtherDateError, default_schedule, place
from holdfast.capacity.engine.unit import key_reused
from holdfast.capacity.operations.access import event_not_found, hold_not_found
from holdfast.capacity.store import holds, inventories

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
    from holdfast.capacity.domain.sales import Sale
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class Outcome:
    """A hold as it stands after a call, what the call sold, and the version and time of that.

    `done` is whether the call changed anything, `replayed` whether it repeats one that did.
    """

    hold: Hold
    version: int
    at: datetime
    sale: Sale | None = None
    replayed: bool = False
    done: bool = False


async def find_replay(transaction: Transaction, request: PlaceRequest) -> Outcome | None:
    """Return the hold that the same request placed before; IDEMPOTENCY_KEY_REUSED when its content was another."""
    hold = await holds.by_request(transaction, placed_by=request.placed_by, request_id=request.request_id)
    if hold is None:
        return None
    if hold.request_hash != request.request_hash:
        raise key_reused(request.request_id)
    return await read_as_it_stands(transaction, hold, replayed=True)


async def read_as_it_stands(transaction: Transaction, hold: Hold, *, replayed: bool = False) -> Outcome:
    """Give the answer of a read: a hold that was read, as it is now."""
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
        need_lines(needs, request.customer_id, request.lines)
        if request.request_id:
            needs.hold_keys.add((request.placed_by, request.request_id))
        elif needs.again:
            needs.holds.add(request.hold_id)

    def decide(self, unit: Unit) -> Outcome | None:
        """Place it, or answer what the same request placed before; None if its price is for another date by now."""
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
            version = inventory.version_of(hold.hold_id)
            return Outcome(seen, version, inventory.at, replayed=hold.hold_id != request.hold_id)
        try:
            hold = place(inventory, request)
        except OtherDateError:
            return None
        if request.request_id:
            unit.hold_of_key[request.placed_by, request.request_id] = hold.hold_id
        return Outcome(hold, inventory.next_version, inventory.at, done=True)


def need_lines(needs: Needs, customer_id: str, lines: Sequence[LineRequest]) -> None:
    """Ask for what a customer's new lines are judged by."""
    for line in [each for wanted in lines for each in (wanted, *wanted.fallbacks)]:
        needs.sections.add(line.section_id)
        if line.wish is not None:
            needs.want_any(line.section_id)
            if line.block_id is not None:
                needs.blocks.add(line.block_id)
        elif line.block_id is not None:
            needs.want_of_block(line.block_id, line.quantity)
        elif not line.labels:
            needs.want(line.section_id, line.quantity)
        if line.labels:
            needs.want_seats(line.section_id, line.labels)
        if line.lock is not None and line.lock.limited:
            needs.claimed.add((customer_id, line.lock.price.price_tier_id))


async def default_schedule_id(transaction: Transaction, event_id: str, *, field: str) -> str | None:
    """Find the date that an event-wide section is for when none is named; VALIDATION_FAILED on `field` if several."""
    stored = await inventories.read(transaction, event_id)
    if stored is None:
        raise event_not_found(event_id)
    schedule = default_schedule(convert.stored_controls(stored.controls), stored.at, field=field)
    return None if schedule is None else schedule.schedule_id


def accepted(unit: Unit, key: RequestKey, before: Hold, now: Hold) -> Outcome:
    """Give the answer of a request on a hold that was accepted; one that changed nothing leaves no key."""
    inventory = unit.inventory
    if inventory.holds.now[before.hold_id] is before:
        return Outcome(now, inventory.version_of(before.hold_id), inventory.at)
    unit.record(key, before.hold_id)
    return Outcome(now, inventory.next_version, inventory.at, done=True)


def find_hold(unit: Unit, hold_id: str, viewer: Viewer) -> Hold:
    """Find a hold to be changed; HOLD_NOT_FOUND also when it is not the caller's."""
    hold = unit.inventory.holds.now.get(hold_id)
    if hold is None or not viewer.acts(hold):
        raise hold_not_found(hold_id)
    return hold


def as_it_stands(unit: Unit, hold: Hold) -> Outcome:
    """Give the answer of a request that repeats another: the hold as it is now."""
    inventory = unit.inventory
    seen = hold.seen(inventory.at, inventory.voids)
    return Outcome(seen, inventory.version_of(hold.hold_id), inventory.at, replayed=True)


async def get_hold(transaction: Transaction, hold_id: str, *, viewer: Viewer) -> Outcome:
    """Read a hold as it stands now."""
    hold = await holds.get(transaction, hold_id)
    if hold is None or not viewer.sees(hold):
        raise hold_not_found(hold_id)
    return await read_as_it_stands(transaction, hold)
