"""Holds: temporary claims on places of one event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.common.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime


class HoldState(StrEnum):
    """Where a hold stands."""

    ACTIVE = "ACTIVE"
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"


class VoidCause(StrEnum):
    """Why holds were voided."""

    EVENT_CANCELLED = "EVENT_CANCELLED"
    EVENT_POSTPONED = "EVENT_POSTPONED"
    SCHEDULE_CANCELLED = "SCHEDULE_CANCELLED"


LIVE: Final = frozenset({HoldState.ACTIVE, HoldState.PENDING})


@dataclass(frozen=True, slots=True)
class LinePrice:
    """What a line costs for good. `body` is the locked price as pricing gave it; the rules here never look inside."""

    price_tier_id: str
    price_tier_version: int
    total: Money
    body: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """Places of one section.

    `seats` are indexes of a seated section with their `labels`, both in the same order; empty for general admission.
    `block_id` is the block that the places were taken from.
    """

    number: int
    section_id: str
    schedule_id: str | None
    quantity: int
    seats: tuple[int, ...] = ()
    price: LinePrice | None = None
    labels: tuple[str, ...] = ()
    block_id: str | None = None

    def labels_of(self, seats: Sequence[int]) -> tuple[str, ...]:
        """Give the labels of some of its seats."""
        if not seats:
            return ()
        label_of = dict(zip(self.seats, self.labels, strict=True))
        return tuple(label_of[seat] for seat in seats)


@dataclass(frozen=True, slots=True)
class Void:
    """What a change of the event ended: live holds of the event, or of one date, that were placed before it.

    It holds from the commit that noted it, for everybody, also while the rows of many holds are still being brought
    up to date. `through_version` is the last inventory version whose holds it ends, `at` the moment it took effect.
    """

    cause: VoidCause
    through_version: int
    at: datetime
    schedule_id: str | None = None

    @property
    def noted_version(self) -> int:
        """The version of the commit that noted it."""
        return self.through_version + 1

    @property
    def includes_pending(self) -> bool:
        """Whether holds whose payment runs end too."""
        return self.cause is not VoidCause.EVENT_POSTPONED

    @property
    def cancels_sales(self) -> bool:
        """Whether sales are marked."""
        return self.cause is not VoidCause.EVENT_POSTPONED

    @property
    def closes_sections(self) -> bool:
        """Whether sections are closed."""
        return self.cause is VoidCause.EVENT_CANCELLED

    def ends(self, hold: Hold) -> bool:
        """Whether it ends a hold, as the hold is stored."""
        if hold.state not in LIVE or hold.placed_version > self.through_version or hold.expire_time <= self.at:
            return False
        if hold.state is HoldState.PENDING and not self.includes_pending:
            return False
        return self.schedule_id is None or any(line.schedule_id == self.schedule_id for line in hold.lines)


@dataclass(frozen=True, slots=True)
class Hold:
    """A temporary claim. `revision` counts its changes, `placed_version` is the inventory version that placed it.

    `replaces_hold_id` is the expired hold whose places and prices a late payment took again.
    """

    hold_id: str
    event_id: str
    customer_id: str
    placed_by: str
    state: HoldState
    lines: tuple[Line, ...]
    create_time: datetime
    expire_time: datetime
    placed_version: int
    order_reference: str = ""
    request_id: str = ""
    request_hash: bytes = b""
    end_time: datetime | None = None
    void_cause: VoidCause | None = None
    sale_id: str | None = None
    replaces_hold_id: str | None = None
    payment_time: datetime | None = None
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change of the hold."""
        return str(self.revision)

    @property
    def total(self) -> Money | None:
        """Sum of the locked prices; None if a line has none, or if they are of several currencies."""
        return total_of(self.lines)

    def belongs_to(self, subject: str) -> bool:
        """Whether a caller is the customer or placed it."""
        return subject in (self.customer_id, self.placed_by)

    def expired(self, at: datetime) -> bool:
        """Whether its time is over at a moment: from `expire_time` on."""
        return self.state in LIVE and self.expire_time <= at

    def seen(self, at: datetime, voids: Iterable[Void]) -> Hold:
        """Give the hold as it truly stands at a moment, whether or not its row was brought up to date."""
        if self.state not in LIVE:
            return self
        void = next((each for each in voids if each.ends(self)), None)
        if void is not None:
            return self.ended(HoldState.VOIDED, void.at, cause=void.cause)
        return self.ended(HoldState.EXPIRED, self.expire_time) if self.expire_time <= at else self

    def ended(self, state: HoldState, at: datetime, *, cause: VoidCause | None = None) -> Hold:
        """Give the hold in a terminal state."""
        return replace(self, state=state, end_time=at, void_cause=cause, revision=self.revision + 1)


def total_of(lines: Sequence[Line]) -> Money | None:
    """Add up the prices of lines; None if a line has none, or if they are of several currencies."""
    prices = [line.price.total for line in lines if line.price is not None]
    currencies = {price.currency_code for price in prices}
    if len(prices) != len(lines) or len(currencies) != 1:
        return None
    return Money(sum(price.minor for price in prices), currencies.pop())
