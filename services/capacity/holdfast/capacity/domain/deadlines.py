"""Until when holds last: extending them, and the deadline that payment gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.checks import check_active, check_confirmable, check_etag, check_live, check_total
from holdfast.capacity.domain.holds import Hold, HoldState
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.common.money import Money

PAYMENT_TTL_SECONDS_DEFAULT: Final = 1800


@dataclass(frozen=True, slots=True)
class Payment:
    """What a caller asks for who begins to pay. An empty reference keeps the hold's."""

    payment_ttl_seconds: int = PAYMENT_TTL_SECONDS_DEFAULT
    expected_total: Money | None = None
    order_reference: str = ""
    etag: str = ""


def extend(inventory: Inventory, hold: Hold, *, hold_ttl_seconds: int, etag: str) -> Hold:
    """Let a hold last so long from now on at least; one that does anyway is given as it is."""
    seen = hold.seen(inventory.at, inventory.voids)
    check_active(seen)
    check_etag(seen, etag)
    check_confirmable(inventory, paying=False)
    expire_time = inventory.at + timedelta(seconds=hold_ttl_seconds)
    if expire_time <= hold.expire_time:
        return hold
    latest = hold.create_time + timedelta(seconds=inventory.controls.hold_ttl_seconds_max)
    if expire_time > latest:
        raise DomainError(
            Reason.HOLD_LIFETIME_EXCEEDED,
            "the hold would last longer than holds may",
            metadata={"hold_id": hold.hold_id, "expire_time_max": instant(latest)},
        )
    extended = replace(hold, expire_time=expire_time, revision=hold.revision + 1)
    inventory.put_hold(hold, extended)
    return extended


def begin_payment(inventory: Inventory, hold: Hold, request: Payment) -> Hold:
    """Turn a hold into one whose payment runs; one whose payment runs already is given as it is."""
    seen = hold.seen(inventory.at, inventory.voids)
    check_live(seen)
    check_etag(seen, request.etag)
    check_confirmable(inventory, paying=seen.state is HoldState.PENDING)
    check_total(hold, request.expected_total)
    if hold.state is HoldState.PENDING:
        return hold
    for line in hold.lines:
        inventory.move(line.section_id, held=-line.quantity, pending=line.quantity)
    deadline = inventory.at + timedelta(seconds=request.payment_ttl_seconds)
    paying = replace(
        hold,
        state=HoldState.PENDING,
        expire_time=max(hold.expire_time, deadline),
        payment_time=inventory.at,
        order_reference=request.order_reference or hold.order_reference,
        revision=hold.revision + 1,
    )
    inventory.put_hold(hold, paying)
    return paying
