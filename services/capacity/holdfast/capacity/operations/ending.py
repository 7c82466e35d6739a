"""Confirming and releasing holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.checks import check_etag, check_total
from holdfast.capacity.domain.ending import Confirmation, confirm, release
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.places import wanted_places
from holdfast.capacity.domain.reacquiring import reacquire
from holdfast.capacity.operations.holds import Outcome, accepted, as_it_stands, find_hold
from holdfast.capacity.store import batch_rows as rows
from holdfast.capacity.store import replacements

if TYPE_CHECKING:
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.engine.needs import Needs
    from holdfast.capacity.engine.reading import Reader
    from holdfast.capacity.engine.unit import Unit
    from holdfast.capacity.operations.access import Viewer
    from holdfast.common.database import Pipeline
    from holdfast.common.idempotency import RequestKey


@dataclass(frozen=True, slots=True)
class ConfirmHold:
    """Sells a hold's places; a hold that was confirmed, or replaced by one that was, answers the sale again."""

    hold_id: str
    request: Confirmation
    viewer: Viewer
    key: RequestKey | None

    def need(self, needs: Needs) -> None:
        """Ask for the hold, its sale, its sections; to reacquire, for what took its place or what its places need."""
        needs.holds.add(self.hold_id)
        if self.key is not None:
            needs.keys.add(self.key)
        if self.request.replacement_id:
            needs.more.append(self._load)

    async def _load(self, unit: Unit, pipeline: Pipeline, reader: Reader) -> None:
        inventory = unit.inventory
        hold = inventory.holds.now.get(self.hold_id)
        if hold is None or hold.seen(inventory.at, inventory.voids).state is not HoldState.EXPIRED:
            return
        replacement, sale = await pipeline.send(
            *replacements.of_hold(inventory.organization_id, inventory.event_id, self.hold_id)
        )
        for found in rows.holds_of(replacement):
            inventory.holds.now.setdefault(found.hold_id, found)
            unit.replacement_of[self.hold_id] = found.hold_id
        for sold in rows.sales_of(sale):
            inventory.sales.now.setdefault(sold.sale_id, sold)
        if hold.state is HoldState.EXPIRED and self.hold_id not in unit.replacement_of:
            # The places of one that is not tidied up yet are still its own.
            missing = {
                section_id: quantity - inventory.sections[section_id].counters.available
                for section_id, quantity in wanted_places(hold.lines).items()
            }
            short = {section_id: quantity for section_id, quantity in missing.items() if quantity > 0}
            seats: dict[str, set[str]] = {}
            for line in hold.lines:
                seats.setdefault(line.section_id, set()).update(line.labels)
            await reader.load_short(pipeline, inventory, short, seats)

    def decide(self, unit: Unit) -> Outcome:
        """Sell, or answer the sale that there is."""
        inventory = unit.inventory
        hold = find_hold(unit, self.hold_id, self.viewer)
        if hold.state is HoldState.CONFIRMED:
            return self._sold(unit, hold, hold, own=hold.sale_id == self.request.sale_id)
        unit.replayed(self.key)  # a key that came with other content is refused whatever the hold's state
        seen = hold.seen(inventory.at, inventory.voids)
        if seen.state is HoldState.EXPIRED and self.request.replacement_id:
            known = unit.replacement_of.get(self.hold_id)
            if known is not None:
                own = known == self.request.replacement_id
                return self._sold(unit, seen, inventory.holds.now[known], own=own)
            confirmed, sale = reacquire(inventory, hold, self.request)
            unit.replacement_of[self.hold_id] = confirmed.hold_id
        else:
            confirmed, sale = confirm(inventory, hold, self.request)
        unit.record(self.key, confirmed.hold_id)
        return Outcome(confirmed, inventory.next_version, inventory.at, sale=sale, done=True)

    def _sold(self, unit: Unit, asked: Hold, confirmed: Hold, *, own: bool) -> Outcome:
        """Answer a hold that was confirmed. `own` tells that an earlier attempt of this very call did it."""
        inventory = unit.inventory
        replayed = unit.replayed(self.key) is not None
        if not replayed and not own:
            check_etag(asked, self.request.etag)
            check_total(confirmed, self.request.expected_total)
        return Outcome(
            confirmed,
            inventory.version_of(confirmed.hold_id),
            inventory.at,
            sale=inventory.sales.now[confirmed.sale_id or ""].seen(inventory.voids),
            replayed=replayed and not own,
        )


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
        return accepted(unit, self.key, hold, released)
