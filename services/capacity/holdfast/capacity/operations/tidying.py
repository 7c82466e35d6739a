"""Bringing rows up to date that only say less than the truth. Nothing that a buyer sees depends on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.inventory import CHANGES_MAX
from holdfast.capacity.domain.planning import close_sections
from holdfast.capacity.store import batch_rows as rows
from holdfast.capacity.store import tidying as store

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.capacity.domain.holds import Hold, Void
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sales import Sale
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.common.database import Pipeline


@dataclass(slots=True)
class Tidy:
    """Ends holds, marks sales and closes sections of the oldest open void; without one, expires holds.

    As many as one row of the journal takes, in one version. Stopped anywhere, it goes on from what the rows say.
    """

    _holds: list[Hold] = field(default_factory=list)
    _sales: list[Sale] = field(default_factory=list)
    _next_expiry: datetime | None = None

    def need(self, needs: Needs) -> None:
        """Ask for the rows that are behind."""
        needs.all_sections = True
        needs.more.append(self._load)

    async def _load(self, unit: Unit, pipeline: Pipeline, reader: Reader) -> None:
        inventory = unit.inventory
        mine = (inventory.organization_id, inventory.event_id)
        if inventory.voids:
            void = inventory.voids[0]
            holds, sales = await pipeline.send(
                store.ended(*mine, void, limit=CHANGES_MAX), store.cancelled(*mine, void, limit=CHANGES_MAX)
            )
            self._sales = rows.sales_of(sales) if void.cancels_sales else []
            for sale in self._sales:
                inventory.sales.now.setdefault(sale.sale_id, sale)
        else:
            holds, upcoming = await pipeline.send(
                store.expired(*mine, inventory.at, limit=CHANGES_MAX), store.next_expiry(*mine, inventory.at)
            )
            self._next_expiry = upcoming[0][0] if upcoming else None
        found = sorted(rows.holds_of(holds), key=lambda hold: (hold.expire_time, hold.hold_id))
        self._holds = [inventory.holds.now.setdefault(hold.hold_id, hold) for hold in found]
        await reader.load_places(pipeline, inventory, self._holds)

    def decide(self, unit: Unit) -> bool:
        """Do it; tells whether there may be more to do."""
        inventory = unit.inventory
        if inventory.voids:
            void = inventory.voids[0]
            if self._finish(inventory, void):
                unit.finished_voids.append(void)
                inventory.voids = inventory.voids[1:]
            unit.settled, unit.next_due = True, inventory.at
            return True
        complete = self._expire(inventory) and len(self._holds) < CHANGES_MAX
        unit.settled, unit.next_due = True, self._next_expiry if complete else inventory.at
        return not complete

    def _expire(self, inventory: Inventory) -> bool:
        for hold in self._holds:
            if inventory.full:
                return False
            if inventory.holds.now[hold.hold_id] is hold:  # no earlier command of the batch ended it
                inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)
        return True

    def _finish(self, inventory: Inventory, void: Void) -> bool:
        """Bring up to date what a void ended; False when something may be left."""
        if void.closes_sections and not close_sections(inventory):
            return False
        for hold in self._holds:
            if inventory.full:
                return False
            if inventory.holds.now[hold.hold_id] is not hold:
                continue
            if void.ends(hold):
                inventory.end(hold, HoldState.VOIDED, at=void.at, void=void)
            else:
                inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)
        if len(self._holds) == CHANGES_MAX:
            return False
        for sale in self._sales:
            if inventory.full:
                return False
            inventory.cancel(sale, void.schedule_id)
        return len(self._sales) < CHANGES_MAX
