"""What a hold is checked for before anything is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.controls import EventState
from holdfast.capacity.domain.holds import LIVE, Hold, HoldState, VoidCause
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory
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
"""In which states of the event existing holds go on towards a sale."""


def check_live(hold: Hold) -> None:
    """Raise HOLD_EXPIRED, HOLD_VOIDED or HOLD_NOT_ACTIVE of a hold, as it is seen, that has ended."""
    if hold.state is HoldState.EXPIRED:
        raise expired(hold)
    if hold.state is HoldState.VOIDED:
        raise _voided(hold)
    if hold.state not in LIVE:
        raise not_active(hold)


def check_active(hold: Hold) -> None:
    """Raise as `check_live`, and HOLD_NOT_ACTIVE while payment runs."""
    check_live(hold)
    if hold.state is not HoldState.ACTIVE:
        raise not_active(hold)


def check_etag(hold: Hold, etag: str) -> None:
    """Raise ETAG_MISMATCH when the caller read another state of the hold."""
    if etag and etag != hold.etag:
        raise DomainError(Reason.ETAG_MISMATCH, "the hold changed since it was read", metadata={"etag": hold.etag})


def check_total(hold: Hold, expected: Money | None) -> None:
    """Raise TOTAL_MISMATCH when the caller expects another total."""
    if expected is not None and expected != hold.total:
        raise DomainError(
            Reason.TOTAL_MISMATCH,
            "the hold's total is another one; nothing was done",
            metadata={"expected_total": told(expected), "total": told(hold.total)},
        )


def check_confirmable(inventory: Inventory, *, paying: bool) -> None:
    """Raise unless the event lets existing holds become sales. `paying`: a hold whose payment runs."""
    state = inventory.controls.state_at(inventory.at)
    if state in CONFIRMABLE or (state is EventState.POSTPONED and paying):
        return
    event = {"event_id": inventory.event_id}
    if state is EventState.CANCELLED:
        raise DomainError(Reason.EVENT_CANCELLED, "the event is cancelled", metadata=event)
    if state is EventState.POSTPONED:
        raise DomainError(Reason.EVENT_POSTPONED, "the event is postponed", metadata=event)
    raise DomainError(Reason.EVENT_NOT_ON_SALE, "the event is not on sale", metadata={**event, "state": state.value})


def expired(hold: Hold) -> DomainError:
    """Give the error of a hold whose time is over."""
    return DomainError(
        Reason.HOLD_EXPIRED,
        "the hold's time is over",
        metadata={"hold_id": hold.hold_id, "expire_time": instant(hold.expire_time)},
    )


def not_active(hold: Hold) -> DomainError:
    """Give the error of a hold that is in another state than it would have to be."""
    return DomainError(
        Reason.HOLD_NOT_ACTIVE,
        "the hold's state does not allow this",
        metadata={"hold_id": hold.hold_id, "state": hold.state.value},
    )


def _voided(hold: Hold) -> DomainError:
    cause = VoidCause.EVENT_CANCELLED if hold.void_cause is None else hold.void_cause
    return DomainError(
        Reason.HOLD_VOIDED, "the hold was ended", metadata={"hold_id": hold.hold_id, "cause": cause.value}
    )


def told(money: Money | None) -> str:
    """Give an amount as an error's metadata has it."""
    return "none" if money is None else f"{money.currency_code} {money.decimal_string()}"
