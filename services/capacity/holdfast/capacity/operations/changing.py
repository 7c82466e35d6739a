"""Changing what holds claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.adding import OtherPriceError
from holdfast.capacity.domain.changing import ChangeRequest, change
from holdfast.capacity.domain.placing import OtherDateError
from holdfast.capacity.operations.access import hold_not_found
from holdfast.capacity.operations.holds import Outcome, as_it_stands, find_hold, need_lines, read_as_it_stands
from holdfast.capacity.store import holds
from holdfast.common import idempotency

if TYPE_CHECKING:
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey


async def hold_to_change(transaction: Transaction, *, hold_id: str, viewer: Viewer) -> Hold:
    """Read a hold as it is stored, to price a change of it; HOLD_NOT_FOUND also when it is not the caller's."""
    hold = await holds.get(transaction, hold_id)
    if hold is None or not viewer.acts(hold):
        raise hold_not_found(hold_id)
    return hold


async def find_change(transaction: Transaction, *, hold: Hold, key: RequestKey) -> Outcome | None:
    """Return the hold as it is now if the same request changed it before. Raises IDEMPOTENCY_KEY_REUSED."""
    if await idempotency.replayed(transaction, key) is None:
        return None
    return await read_as_it_stands(transaction, hold, replayed=True)


@dataclass(frozen=True, slots=True)
class ChangeHold:
    """Lets a hold claim something else."""

    hold_id: str
    customer_id: str
    request: ChangeRequest
    viewer: Viewer
    key: RequestKey

    def need(self, needs: Needs) -> None:
        """Ask for the hold, its sections, and what the new lines are judged by."""
        needs.holds.add(self.hold_id)
        needs.keys.add(self.key)
        need_lines(needs, self.customer_id, self.request.added)

    def decide(self, unit: Unit) -> Outcome | None:
        """Change it, or answer what the same request left; None if its prices are for something else by now."""
        hold = find_hold(unit, self.hold_id, self.viewer)
        if unit.replayed(self.key) is not None:
            return as_it_stands(unit, hold)
        try:
            changed = change(unit.inventory, hold, self.request)
        except (OtherPriceError, OtherDateError):
            return None
        unit.record(self.key, self.hold_id)
        return Outcome(changed, unit.inventory.next_version, unit.inventory.at, done=True)
