"""Selling an expired hold's places after all, because its payment came late."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.checks import check_confirmable, check_etag, check_total, expired
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState, Line
from holdfast.capacity.domain.places import check_places
from holdfast.common.errors import DomainError

if TYPE_CHECKING:
    from holdfast.capacity.domain.ending import Confirmation
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sales import Sale

REACQUIRE_SECONDS_MAX: Final = 24 * 3600


def reacquire(inventory: Inventory, hold: Hold, request: Confirmation) -> tuple[Hold, Sale]:
    """Sell the places of a hold that is seen EXPIRED, at its prices, in a new CONFIRMED hold.

    HOLD_EXPIRED when it is too late, or when not all of its places are free and open. Raises TidyFirst. What a
    customer may have was counted when the hold was placed, and is not counted again.
    """
    seen = hold.seen(inventory.at, inventory.voids)
    check_etag(seen, request.etag)
    check_confirmable(inventory, paying=False)
    check_total(hold, request.expected_total)
    if inventory.at > hold.expire_time + timedelta(seconds=REACQUIRE_SECONDS_MAX):
        raise expired(seen)
    lines = tuple(_as_free_now(inventory, line) for line in hold.lines)
    if not all(_open(inventory, line) for line in lines):
        raise expired(seen)
    if hold.state in LIVE:
        inventory.end(hold, HoldState.EXPIRED, at=hold.expire_time)  # its row still counts what it does not have
    try:
        check_places(inventory, lines)
    except DomainError as error:
        raise expired(seen) from error
    controls = inventory.controls
    ttl_seconds = min(controls.hold_ttl_seconds_default, controls.hold_ttl_seconds_max)
    replacement = Hold(
        hold_id=request.replacement_id,
        event_id=hold.event_id,
        customer_id=hold.customer_id,
        placed_by=hold.placed_by,
        state=HoldState.ACTIVE,
        lines=lines,
        create_time=inventory.at,
        expire_time=inventory.at + timedelta(seconds=ttl_seconds),
        placed_version=inventory.next_version,
        order_reference=hold.order_reference,
        replaces_hold_id=hold.hold_id,
    )
    inventory.add_hold(replacement)
    return inventory.sell(replacement, sale_id=request.sale_id, order_reference=request.order_reference)


def _as_free_now(inventory: Inventory, line: Line) -> Line:
    """Give the line as it can be had: the places of a block that is over went to sale."""
    if line.block_id is None or not inventory.blocks.now[line.block_id].ended:
        return line
    return replace(line, block_id=None)


def _open(inventory: Inventory, line: Line) -> bool:
    """Whether a line's section is open, and its date neither cancelled nor over."""
    section = inventory.sections.get(line.section_id)
    if section is None or not section.active or section.delete_time is not None:
        return False
    if line.schedule_id is None:
        return True
    schedule = inventory.controls.schedule(line.schedule_id)
    return schedule is not None and schedule.live and not schedule.ended(inventory.at)
