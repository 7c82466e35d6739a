"""Extending holds, and beginning to pay for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.deadlines import Payment, begin_payment, extend
from holdfast.capacity.operations.access import hold_not_found
from holdfast.capacity.operations.holds import Outcome, accepted, as_it_stands, find_hold

if TYPE_CHECKING:
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class ExtendHold:
    """Lets a hold last longer. Nobody but its customer and who placed it may, whatever else they may."""

    hold_id: str
    hold_ttl_seconds: int
    etag: str
    viewer: Viewer
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the hold."""
        needs.holds.add(self.hold_id)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> Outcome:
        """Extend it, or answer what the same request left."""
        hold = find_hold(unit, self.hold_id, self.viewer)
        if not hold.belongs_to(self.viewer.subject):
            raise hold_not_found(self.hold_id)
        if unit.replayed(self.key) is not None:
            return as_it_stands(unit, hold)
        now = extend(unit.inventory, hold, hold_ttl_seconds=self.hold_ttl_seconds, etag=self.etag)
        return accepted(unit, self.key, hold, now)


@dataclass(frozen=True, slots=True)
class BeginPayment:
    """Lets a hold wait for its payment."""

    hold_id: str
    request: Payment
    viewer: Viewer
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the hold, its sections."""
        needs.holds.add(self.hold_id)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> Outcome:
        """Begin, or answer what the same request left."""
        hold = find_hold(unit, self.hold_id, self.viewer)
        if unit.replayed(self.key) is not None:
            return as_it_stands(unit, hold)
        return accepted(unit, self.key, hold, begin_payment(unit.inventory, hold, self.request))
