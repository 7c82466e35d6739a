"""What would have to happen before a request that is refused now is admitted, and when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.best_available import Choice, choose
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.controls import EventState, ScheduleState
from holdfast.capacity.domain.times import instant
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
        Reason.VALIDATION_FAILED,
    }
)
"""Errors that say that the question is wrong, so that there is no answer."""


def refusal_of(
    inventory: Inventory, wanted: LineRequest, error: DomainError, *, endings: Sequence[Ending] = ()
) -> Refusal:
    """Tell what would change a refusal of a line. `endings` are those of its section, in the order of their time."""
    if error.reason is Reason.INSUFFICIENT_CAPACITY:
        return _of_places(inventory, wanted, error, endings)
    controls = inventory.controls
    start = controls.sales_start_time
    if error.reason is Reason.EVENT_NOT_ON_SALE:
        state = controls.state_at(inventory.at)
        if controls.deleted or state is EventState.COMPLETED:
            return Refusal(error, Change.NOTHING)
        opens = state in {EventState.PUBLISHED, EventState.RESCHEDULED} and start is not None
        return Refusal(error, Change.SALES_START, start) if opens else Refusal(error, Change.STAFF_DECISION)
    if error.reason is Reason.SALES_WINDOW_CLOSED:
        schedule = controls.schedule(error.metadata.get("schedule_id", ""))
        if schedule is not None:
            waits = schedule.state is ScheduleState.POSTPONED
            return Refusal(error, Change.STAFF_DECISION if waits else Change.NOTHING)
        if start is not None and inventory.at < start:
            return Refusal(error, Change.SALES_START, start)
    return Refusal(error, _OTHERWISE.get(error.reason, Change.STAFF_DECISION))


_OTHERWISE: Final = {
    Reason.EVENT_CANCELLED: Change.NOTHING,
    Reason.PURCHASE_LIMIT: Change.OTHER_REQUEST,
    Reason.SEATS_TAKEN: Change.OTHER_REQUEST,
}


def _of_places(inventory: Inventory, wanted: LineRequest, error: DomainError, endings: Sequence[Ending]) -> Refusal:
    if endings:
        error = DomainError(
            error.reason,
            str(error),
            metadata={**error.metadata, "next_change_time": instant(endings[0].expire_time)},
        )
    counters = inventory.sections[wanted.section_id].counters
    missing = wanted.quantity - counters.available
    by_expiry = _time_of(inventory, wanted, [each for each in endings if not each.pending])
    if by_expiry is not None:
        return Refusal(error, Change.HOLD_EXPIRY, by_expiry)
    by_payment = _time_of(inventory, wanted, endings)
    if by_payment is not None:
        return Refusal(error, Change.PAYMENT_DEADLINE, by_payment)
    if counters.blocked >= missing > 0:
        return Refusal(error, Change.STAFF_DECISION)
    return Refusal(error, Change.OTHER_REQUEST if counters.available > 0 else Change.NOTHING)


def _time_of(inventory: Inventory, wanted: LineRequest, endings: Sequence[Ending]) -> datetime | None:
    """Tell when so many places have come back, side by side if they must be; None if they do not."""
    missing = wanted.quantity - inventory.sections[wanted.section_id].counters.available
    seating = inventory.seatings.get(wanted.section_id)
    taken = 0 if seating is None else seating.taken
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
