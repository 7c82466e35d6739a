"""What would have to happen before a request that is refused now is admitted, and when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.best_available import Choice, choose
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.controls import EventState, ScheduleState
from holdfast.capacity.domain.times import instant, moment_told
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.capacity.domain.inventory import Inventory
    from holdfast.capacity.domain.placing import LineRequest


class Change(StrEnum):
    """What has to happen."""

    SALES_START = "SALES_START"
    HOLD_EXPIRY = "HOLD_EXPIRY"
    PAYMENT_DEADLINE = "PAYMENT_DEADLINE"
    STAFF_DECISION = "STAFF_DECISION"
    OTHER_REQUEST = "OTHER_REQUEST"
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class Ending:
    """Places that come back to sale at a time unless somebody confirms or extends their hold."""

    expire_time: datetime
    pending: bool
    quantity: int
    seats: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Keeper:
    """What keeps a seat from being held: a hold until a time, after which it comes back to sale, a sale, or a block."""

    until: datetime | None = None
    pending: bool = False
    sold: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal as an answer. `time` is when the change comes at the earliest, None = not known."""

    error: DomainError
    change: Change
    time: datetime | None = None


ENDINGS_TRIED_MAX: Final = 200
"""Endings after which best available is tried: what comes later is told as not known."""
FAILURES: Final = frozenset(
    {
        Reason.SECTION_NOT_FOUND,
        Reason.SCHEDULE_NOT_FOUND,
        Reason.SEAT_NOT_FOUND,
        Reason.BLOCK_NOT_FOUND,
        Reason.VALIDATION_FAILED,
    }
)
"""Errors that say that the question is wrong, so that there is no answer."""
REFUSED_PRICES: Final = frozenset({Reason.PRICE_TIER_NOT_APPLICABLE, Reason.SALES_WINDOW_CLOSED})
"""What pricing says of a price tier that is there and cannot be had."""


def refusal_of(
    inventory: Inventory,
    wanted: LineRequest,
    error: DomainError,
    *,
    endings: Sequence[Ending] = (),
    keepers: Sequence[Keeper] = (),
) -> Refusal:
    """Tell what would change a refusal of a line.

    `endings`, in the order of their time, are of holds that have what is short: places of the line's section or block,
    or the customer's tickets of its tier. `keepers` are of the seats that are taken.
    """
    if error.reason is Reason.INSUFFICIENT_CAPACITY:
        return _of_places(inventory, wanted, error, endings)
    if error.reason is Reason.SEATS_TAKEN:
        return _of_seats(error, keepers)
    if error.reason is Reason.PURCHASE_LIMIT:
        return _of_limit(wanted, error, endings)
    if error.reason is Reason.EVENT_NOT_ON_SALE:
        return _of_state(inventory, error)
    if error.reason is Reason.SALES_WINDOW_CLOSED:
        return _of_window(inventory, error)
    return Refusal(error, _OTHERWISE.get(error.reason, Change.STAFF_DECISION))


def _of_state(inventory: Inventory, error: DomainError) -> Refusal:
    controls = inventory.controls
    state, start = controls.state_at(inventory.at), controls.sales_start_time
    if controls.deleted or state is EventState.COMPLETED:
        return Refusal(error, Change.NOTHING)
    if state in {EventState.PUBLISHED, EventState.RESCHEDULED} and start is not None:
        return Refusal(error, Change.SALES_START, start)
    return Refusal(error, Change.STAFF_DECISION)


def _of_window(inventory: Inventory, error: DomainError) -> Refusal:
    schedule = inventory.controls.schedule(error.metadata.get("schedule_id", ""))
    if schedule is not None:
        waits = schedule.state is ScheduleState.POSTPONED
        return Refusal(error, Change.STAFF_DECISION if waits else Change.NOTHING)
    opens = error.metadata.get("next_change_time")
    if opens is not None:
        return Refusal(error, Change.SALES_START, moment_told(opens))
    return Refusal(error, Change.OTHER_REQUEST if "price_tier_id" in error.metadata else Change.STAFF_DECISION)


_OTHERWISE: Final = {
    Reason.EVENT_CANCELLED: Change.NOTHING,
    Reason.PRICE_TIER_NOT_APPLICABLE: Change.OTHER_REQUEST,
    Reason.PRICE_LOCK_EXPIRED: Change.OTHER_REQUEST,
}


def _of_seats(error: DomainError, keepers: Sequence[Keeper]) -> Refusal:
    if not keepers or any(keeper.sold for keeper in keepers):
        return Refusal(error, Change.OTHER_REQUEST)
    ends = [keeper.until for keeper in keepers if keeper.until is not None]
    if len(ends) < len(keepers):
        return Refusal(error, Change.STAFF_DECISION)
    paying = any(keeper.pending for keeper in keepers)
    return Refusal(error, Change.PAYMENT_DEADLINE if paying else Change.HOLD_EXPIRY, max(ends))


def _of_limit(wanted: LineRequest, error: DomainError, endings: Sequence[Ending]) -> Refusal:
    limit = int(error.metadata["value"])
    if wanted.quantity <= limit:  # the customer's own holds are in the way, if they end unconfirmed
        missing = int(error.metadata.get("current", "0")) + wanted.quantity - limit
        for ending in endings:
            missing -= ending.quantity
            if missing <= 0:
                change = Change.PAYMENT_DEADLINE if ending.pending else Change.HOLD_EXPIRY
                return Refusal(error, change, ending.expire_time)
    return Refusal(error, Change.OTHER_REQUEST)


def _of_places(inventory: Inventory, wanted: LineRequest, error: DomainError, endings: Sequence[Ending]) -> Refusal:
    if endings and wanted.block_id is None:
        error = DomainError(
            error.reason,
            str(error),
            metadata={**error.metadata, "next_change_time": instant(endings[0].expire_time)},
        )
    by_expiry = _time_of(inventory, wanted, [each for each in endings if not each.pending])
    if by_expiry is not None:
        return Refusal(error, Change.HOLD_EXPIRY, by_expiry)
    by_payment = _time_of(inventory, wanted, endings)
    if by_payment is not None:
        return Refusal(error, Change.PAYMENT_DEADLINE, by_payment)
    counters = inventory.sections[wanted.section_id].counters
    if wanted.block_id is None and counters.blocked >= wanted.quantity - counters.available > 0:
        return Refusal(error, Change.STAFF_DECISION)
    return Refusal(error, Change.OTHER_REQUEST if counters.available > 0 else Change.NOTHING)


def _time_of(inventory: Inventory, wanted: LineRequest, endings: Sequence[Ending]) -> datetime | None:
    """Tell when so many places have come back, side by side if they must be; None if they do not."""
    seating = inventory.seatings.get(wanted.section_id)
    if wanted.block_id is None:
        missing = wanted.quantity - inventory.sections[wanted.section_id].counters.available
        taken = 0 if seating is None else seating.taken
    else:
        block = inventory.blocks.now[wanted.block_id]
        missing = wanted.quantity - block.quantity
        taken = 0 if seating is None else seating.layout.all_seats & ~mask_of(block.seats)
    for ending in endings:
        missing -= ending.quantity
        taken &= ~mask_of(ending.seats)
        if missing <= 0 and (
            wanted.wish is None
            or seating is None
            or isinstance(choose(seating.layout, taken=taken, wish=wanted.wish), Choice)
        ):
            return ending.expire_time
    return None
