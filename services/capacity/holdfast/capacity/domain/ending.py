"""Confirming and releasing holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState, VoidCause
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.sales import Sale
    from holdfast.common.money import Money

CONFIRMABLE: Final = frozenset(
    {
        EventState.RESCHEDULED,
        EventState.ON_SALE,
        EventState.SALES_PAUSED,
        EventState.SOLD_OUT,
        EventState.IN_PROGRESS,
    }
)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a confirming caller asks for. `etag` empty = unconditionally; `sale_id` is made before the first attempt."""

    sale_id: str
    expected_total: Money | None = None
    order_reference: str = ""
    etag: str = ""


def confirm(inventory: Inventory, hold: Hold, request: Confirmation) -> tuple[Hold, Sale]:
    """Sell a hold's places. The hold is not confirmed yet; a repeated confirmation is answered before this."""
    seen = hold.seen(inventory.at, inventory.voids)
    if seen.state is HoldState.EXPIRED:
        raise DomainError(
            Reason.HOLD_EXPIRED,
            "the hold's time is over",
            metadata={"hold_id": hold.hold_id, "expire_time": instant(hold.expire_time)},
        )
    if seen.state is HoldState.VOIDED:
        raise voided(seen)
    if seen.state not in LIVE:
        raise _not_active(seen)
    check_etag(seen, request.etag)
    _check_event(inventory, hold)
    check_total(hold, request.expected_total)
    return inventory.sell(hold, sale_id=request.sale_id, order_reference=request.order_reference)


def release(inventory: Inventory, hold: Hold, *, etag: str, manages: bool) -> Hold:
    """Give a hold's places back, or return it as it stands when it ended already otherwise than by a sale.

    `manages` is whether the caller may release while payment runs.
    """
    seen = hold.seen(inventory.at, inventory.voids)
    check_etag(seen, etag)
    if seen.state is HoldState.CONFIRMED or (seen.state is HoldState.PENDING and not manages):
        raise _not_active(seen)
    if seen.state not in LIVE:
        return seen
    return inventory.end(hold, HoldState.RELEASED, at=inventory.at)


def check_etag(hold: Hold, etag: str) -> None:
    """Raise ETAG_MISMATCH when the caller read another state of the hold."""
    if etag and etag != hold.etag:
        raise DomainError(Reason.ETAG_MISMATCH, "the hold changed since it was read", metadata={"etag": hold.etag})


def check_total(hold: Hold, expected: Money | None) -> None:
    """Raise TOTAL_MISMATCH when the caller expects another total."""
    if expected is not None and expected != hold.total:
        raise DomainError(
            Reason.TOTAL_MISMATCH,
            "the hold's total is another one; nothing was sold",
            metadata={"expected_total": _told(expected), "total": _told(hold.total)},
        )


def voided(hold: Hold) -> DomainError:
    """Give the error of a hold that was ended with its event, date or section."""
    cause = VoidCause.EVENT_CANCELLED if hold.void_cause is None else hold.void_cause
    return DomainError(
        Reason.HOLD_VOIDED, "the hold was ended", metadata={"hold_id": hold.hold_id, "cause": cause.value}
    )


def _check_event(inventory: Inventory, hold: Hold) -> None:
    state = inventory.controls.state_at(inventory.at)
    if state in CONFIRMABLE or (state is EventState.POSTPONED and hold.state is HoldState.PENDING):
        return
    event = {"event_id": inventory.event_id}
    if state is EventState.CANCELLED:
        raise DomainError(Reason.EVENT_CANCELLED, "the event is cancelled", metadata=event)
    if state is EventState.POSTPONED:
        raise DomainError(Reason.EVENT_POSTPONED, "the event is postponed", metadata=event)
    raise DomainError(Reason.EVENT_NOT_ON_SALE, "the event is not on sale", metadata={**event, "state": state.value})


def _not_active(hold: Hold) -> DomainError:
    return DomainError(
        Reason.HOLD_NOT_ACTIVE,
        "the hold's state does not allow this",
        metadata={"hold_id": hold.hold_id, "state": hold.state.value},
    )


def _told(money: Money | None) -> str:
    return "none" if money is None else f"{money.currency_code} {money.decimal_string()}"
