"""Confirming and releasing holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.checks import check_etag, check_total
from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.operations.holds import Outcome, as_it_stands, find_hold

if TYPE_CHECKING:
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.idempotency import RequestKey


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
            version = inventory.version_of(self.hold_id)
            return Outcome(hold, version, inventory.at, sale=sale, replayed=replayed and not own)
        confirmed, sale = confirm(inventory, hold, self.request)
        unit.record(self.key, self.hold_id)
        return Outcome(confirmed, inventory.next_version, inventory.at, sale=sale, done=True)


@dataclass(frozen=True, slots=True)
class ReleaseHold:
    """Gives a hold's places back; one that ended otherwise than by a sale is answered as it is."""

    hold_id: str
    etag: str
    viewer: Viewer
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the hold, its sections."""
        needs.holds.add(self.hold_id)
        needs.keys.add(self.key)

    def decide(self, unit: Unit) -> Outcome:
        """Give them back."""
        inventory = unit.inventory
        hold = find_hold(unit, self.hold_id, self.viewer)
        if unit.replayed(self.key) is not None:
            return as_it_stands(unit, hold)
        released = release(inventory, hold, etag=self.etag, manages=self.viewer.manages)
        if inventory.holds.now[self.hold_id] is hold:
            return Outcome(released, inventory.version_of(self.hold_id), inventory.at)
        unit.record(self.key, self.hold_id)
        return Outcome(released, inventory.next_version, inventory.at, done=True)
