"""Confirming and releasing holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.capacity.domain.checks import check_confirmable, check_etag, check_live, check_total, not_active
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sales import Sale
    from holdfast.common.money import Money


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a confirming caller asks for. `etag` empty = unconditionally; ids are made before the first attempt.

    `replacement_id` is of the hold that shall take the place of an expired one; empty = an expired one is not sold.
    """

    sale_id: str
    expected_total: Money | None = None
    order_reference: str = ""
    etag: str = ""
    replacement_id: str = ""


def confirm(inventory: Inventory, hold: Hold, request: Confirmation) -> tuple[Hold, Sale]:
    """Sell a hold's places. The hold is not confirmed yet; a repeated confirmation is answered before this."""
    seen = hold.seen(inventory.at, inventory.voids)
    check_live(seen)
    check_etag(seen, request.etag)
    check_confirmable(inventory, paying=hold.state is HoldState.PENDING)
    check_total(hold, request.expected_total)
    return inventory.sell(hold, sale_id=request.sale_id, order_reference=request.order_reference)


def release(inventory: Inventory, hold: Hold, *, etag: str, manages: bool) -> Hold:
    """Give a hold's places back, or return it as it stands when it ended already otherwise than by a sale.

    `manages` is whether the caller may release while payment runs.
    """
    seen = hold.seen(inventory.at, inventory.voids)
    check_etag(seen, etag)
    if seen.state is HoldState.CONFIRMED or (seen.state is HoldState.PENDING and not manages):
        raise not_active(seen)
    if seen.state not in LIVE:
        return seen
    return inventory.end(hold, HoldState.RELEASED, at=inventory.at)
